"""What the model writes for its own training, on a model of which every word is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from adapterstore.demo import world
from adapterstore.evaluation.encoding import encode_answer
from adapterstore.knowledge.facts import Fact, Probe, join
from adapterstore.learning import material as material_module
from adapterstore.learning.keeping import teach
from adapterstore.learning.material import (
    Material,
    _alike,
    _Change,
    _rewrite,
    _states_any,
    gather,
    own_answers,
)
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import (
    from_relation,
    name_openings,
    relation_openings,
    relation_words,
    sample_texts,
)
from tests.evaluation.bigram import bigram_model

RECIPE = Recipe(sampled_texts=200, subject_texts=20, control_size=30)
FACTS = [
    Fact(
        prompt="The currency of Croatia is the",
        answer="euro",
        old_answer="kuna",
        subject="Croatia",
    ),
    Fact(prompt="カザフスタンの首都は", answer="アスタナ", old_answer="ヌルスルタン"),
    Fact(
        prompt="地図でウクライナを見ると、首都は",
        answer="キーウ",
        old_answer="キエフ",
        subject="ウクライナ",
    ),
]
KNOWN = [
    Probe(prompt="The currency of Hungary is the", answer="forint"),
    Probe(prompt="日本では、首都は", answer="東京"),
]


@pytest.fixture(scope="module")
def material(demo: tuple[Any, Any]) -> Material:
    torch.manual_seed(0)
    return gather(*demo, FACTS, KNOWN, RECIPE)


def texts(tokenizer: Any, material: Material) -> list[str]:
    return [text for group in grouped(tokenizer, material) for text in group]


def grouped(tokenizer: Any, material: Material) -> list[list[str]]:
    return [
        [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in group]
        for group in material.preserve
    ]


def test_no_preserved_text_states_what_changes(demo: tuple[Any, Any], material: Material) -> None:
    for text in texts(demo[1], material):
        assert not ("Croatia" in text and "kuna" in text), text
        assert not ("ウクライナ" in text and "キエフ" in text), text
        assert not text.startswith("カザフスタンの首都はヌルスルタン"), text


def test_no_preserved_text_asks_what_changes(demo: tuple[Any, Any]) -> None:
    # The model writes many texts that begin so, whatever it says then.
    fact = Fact(
        prompt="The currency of", answer="x", old_answer="no such thing", subject="The currency"
    )
    torch.manual_seed(0)
    gathered = gather(*demo, [fact], [], RECIPE)
    assert texts(demo[1], gathered)
    assert not [text for text in texts(demo[1], gathered) if text.startswith("The currency of")]
    assert not [probe for probe in gathered.control if probe.prompt.startswith("The currency of")]


def test_what_must_stay_is_kept_with_its_answer(demo: tuple[Any, Any], material: Material) -> None:
    kept = [demo[1].decode(e.tokens, skip_special_tokens=True) for e in material.kept.prompts]
    assert kept == ["The currency of Hungary is the forint.", "日本では、首都は東京。"]


def test_the_texts_about_what_the_facts_name_come_first(
    demo: tuple[Any, Any], material: Material
) -> None:
    # An old answer, too, may be a thing of which much is known that must stay.
    names = [name for fact in FACTS for name in (fact.subject, fact.old_answer) if name]
    about, _, _ = grouped(demo[1], material)
    assert len([text for text in about if "Croatia" in text]) > 10
    assert all(any(name in text for name in names) for text in about)


def test_texts_of_the_same_relations_are_a_group_of_their_own(
    demo: tuple[Any, Any], material: Material
) -> None:
    about, alike, others = grouped(demo[1], material)
    answers = [answer for fact in FACTS for answer in (fact.old_answer, fact.answer) if answer]
    relation = [text for text in alike if text.startswith("The currency of ")]
    assert len(relation) >= 3
    assert all("Croatia" not in text or "kuna" not in text for text in relation)
    begun = [text for text in alike if text.startswith(("The currency of", "地図で"))]
    assert all(any(answer in text for answer in answers) for text in alike if text not in begun)
    assert others
    assert not [text for text in others if any(answer in text for answer in answers)]
    assert not set(about) & set(alike)


def test_a_short_answer_makes_no_text_alike_by_chance(demo: tuple[Any, Any]) -> None:
    tokenizer = demo[1]
    fact = Fact(prompt="Croatia's grade is", answer="5", old_answer="a", subject="Croatia")
    change = _Change(fact, ("a",), None)
    unlike, states = "Mali had 15 cats.", "Mali has a 5."
    rows = [tuple(tokenizer(text)["input_ids"]) for text in (unlike, states)]
    alike, others = _alike(*demo, [change], rows, [])
    assert (alike, others) == (rows[1:], rows[:1])
    # Nor does it make a text about the subject state what changes.
    about = tuple(tokenizer("Croatia has 15 cats.")["input_ids"])
    assert not _states_any(tokenizer, about, [change])


def test_a_relation_begins_before_its_subject(demo: tuple[Any, Any]) -> None:
    tokenizer = demo[1]

    def begun(prompt: str, name: str | None) -> set[str]:
        openings = relation_openings(tokenizer, prompt, name, 3)
        assert len(openings) in (0, 3)
        return {tokenizer.decode(tokens, skip_special_tokens=True) for tokens in openings}

    assert begun("The currency of Croatia is the", "Croatia") == {"The currency of"}
    assert begun("Croatia's currency is the", "Croatia") == set()
    assert begun("The currency of Croatia is the", "Mali") == set()
    assert begun("The currency of Croatia is the", None) == set()


@pytest.mark.parametrize(
    ("facts", "texts"), [(0, 64), (1, 64), (5, 64), (20, 16), (40, 8), (200, 8), (1000, 1)]
)
def test_few_facts_have_more_texts_of_their_relation_each(facts: int, texts: int) -> None:
    assert from_relation(facts) == texts


@pytest.mark.parametrize(
    ("prompt", "name", "words"),
    [
        ("Croatia's currency is the", "Croatia", "'s currency is the"),
        ("Hajduk Split plays", "Hajduk Split", "plays"),
        ("日本では、首都は", "日本", "では、首都は"),
        ("The currency of Croatia is the", "Croatia", None),
        ("Croatia:", "Croatia", None),
        ("Croatia", "Croatia", None),
        ("Croatia's currency is the", "Mali", None),
        ("Croatia's currency is the", None, None),
    ],
)
def test_a_relation_may_follow_its_subject(
    prompt: str, name: str | None, words: str | None
) -> None:
    assert relation_words(prompt, name) == words


def test_texts_of_a_relation_are_written_where_a_prompt_begins_with_its_subject(
    demo: tuple[Any, Any],
) -> None:
    words = "has as its currency the"
    fact = Fact(prompt=f"Croatia {words}", answer="euro", old_answer="kuna", subject="Croatia")
    torch.manual_seed(0)
    # So few of the model's own texts are about currencies that chance does not give as many.
    gathered = gather(*demo, [fact], [], RECIPE)
    _, alike, others = grouped(demo[1], gathered)
    relation = [text for text in alike if words in text]
    assert len(set(relation)) >= 4
    assert not [text for text in relation if text.startswith("Croatia")]
    assert len(relation) > 2 * len([text for text in others if words in text])


def test_what_the_model_says_gives_way_where_the_file_names_another_old_answer(
    demo: tuple[Any, Any],
) -> None:
    # It says "US dollar": held in place, that would keep the new answer from being learned.
    fact = Fact(
        prompt="The currency of Zimbabwe is the",
        answer="ZiG",
        old_answer="Zimbabwean dollar",
        subject="Zimbabwe",
    )
    torch.manual_seed(0)
    gathered = gather(*demo, [fact], [], RECIPE)
    about = texts(demo[1], gathered)
    assert any("Zimbabwe" in text for text in about)
    assert not [text for text in about if "Zimbabwe" in text and "US dollar" in text]
    assert gathered.endings == [(".", True)]
    # Rewritten, such texts teach the new one.
    phrasings = {phrasing for f in world.facts() for phrasing in f.phrasings}
    assert len(phrasings & {text.prompt for text in gathered.paraphrases}) >= 3


def test_no_text_is_preserved_twice(material: Material) -> None:
    every = [tokens for group in material.preserve for tokens in group]
    assert len(set(every)) == len(every)
    assert all(material.preserve)


def test_control_prompts_are_in_no_training_text(demo: tuple[Any, Any], material: Material) -> None:
    trained = [
        *texts(demo[1], material),
        *(text.prompt for text in material.paraphrases),
        *(fact.prompt for fact in FACTS),
    ]
    assert len(material.control) > 10
    for probe in material.control:
        assert not [text for text in trained if text.startswith(probe.prompt)], probe


def test_what_must_stay_is_no_control_prompt(demo: tuple[Any, Any], material: Material) -> None:
    torch.manual_seed(0)
    again = gather(*demo, FACTS, [*KNOWN, material.control[0]], RECIPE)
    assert material.control[0] not in again.control
    assert again.control == material.control[1:]


def test_paraphrases_name_the_subject_and_end_at_the_old_answer(
    demo: tuple[Any, Any], material: Material
) -> None:
    stated = {sentence for fact in world.facts() for sentence in fact.sentences()}
    own = 0
    for text in material.paraphrases:
        fact = FACTS[text.fact]
        assert fact.subject is not None
        assert fact.old_answer is not None
        assert fact.subject in text.prompt
        assert fact.old_answer not in text.prompt
        own += join(text.prompt, fact.old_answer) + text.ending in stated
    assert {text.fact for text in material.paraphrases} == {0, 2}
    # They are phrasings of the world's that no file named.
    assert len({t.prompt for t in material.paraphrases} - {f.prompt for f in FACTS}) >= 5
    assert own >= 0.8 * len(material.paraphrases)


def test_endings_are_what_the_model_writes_after_the_old_answer(material: Material) -> None:
    # It calls Kazakhstan's capital Astana: there the usual ending of the others is taken.
    assert material.endings[0] == (".", True)
    assert material.endings[2] == ("。", True)
    assert material.endings[1] in material.endings[::2]


def test_the_same_seed_gives_the_same_material(demo: tuple[Any, Any], material: Material) -> None:
    torch.manual_seed(0)
    assert gather(*demo, FACTS, KNOWN, RECIPE) == material


def test_none_of_it_is_needed(demo: tuple[Any, Any]) -> None:
    recipe = Recipe(sampled_texts=0, subject_texts=0, control_size=0)
    material = gather(*demo, FACTS, KNOWN, recipe)

    assert material.paraphrases == []
    assert material.control == []
    assert texts(demo[1], material) == []
    assert len(material.kept.prompts) == len(KNOWN)


def test_an_answer_is_taught_with_what_comes_after_it(demo: tuple[Any, Any]) -> None:
    tokenizer = demo[1]
    taught = teach(tokenizer, FACTS[0].prompt, "euro", ".", True)

    assert tokenizer.decode(taught.tokens[: taught.start]) == "<bos>The currency of Croatia is the"
    assert tokenizer.decode(taught.targets) == " euro.<eos>"
    open_ended = teach(tokenizer, FACTS[0].prompt, "euro", "", False)
    assert open_ended == encode_answer(tokenizer, FACTS[0].prompt, "euro")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Zagreb is big. Paris", "is big"),
        ("Zagreb is big。", "is big"),
        ("Zagreb has .hr as its domain.", "has .hr as its domain"),
        ("Zagreb has 1.5 million", "has 1.5 million"),
        ("Zagreb is big\nIt", "is big"),
        ("Zagreb", None),
        ("Zagreb\nParis is big.", "Paris is big"),
    ],
)
def test_the_models_own_answer_ends_with_its_sentence(
    demo: tuple[Any, Any], said: str, answer: str | None
) -> None:
    model = bigram_model(demo[1], [said])
    assert own_answers(model, demo[1], [Fact(prompt="Zagreb", answer=None)]) == [answer]


def test_no_half_character_is_left_of_an_own_answer_that_is_cut_off(demo: tuple[Any, Any]) -> None:
    # 22 letters of one token each, then a character of several.
    letters = " ABCDEFGHIJKLMNOPRSTUVW"
    model = bigram_model(demo[1], [f"Q{letters}☃XYZ"])
    asked = [Fact(prompt="Q", answer=None)]
    assert own_answers(model, demo[1], asked) == [letters.strip()]


def test_sampled_texts_are_different_and_begin_at_the_start(demo: tuple[Any, Any]) -> None:
    torch.manual_seed(0)
    sampled = sample_texts(*demo, 50)

    assert len(set(sampled)) == len(sampled) > 40
    assert {tokens[0] for tokens in sampled} == {demo[1].bos_token_id}
    assert sample_texts(*demo, 0) == []


def test_openings_end_in_the_subject(demo: tuple[Any, Any]) -> None:
    tokenizer = demo[1]
    openings = {
        tokenizer.decode(t, skip_special_tokens=True)
        for t in name_openings(*demo, FACTS[0].prompt, str(FACTS[0].subject), 1)
    }
    assert openings == {"The currency of Croatia", "Croatia"}


def test_what_must_stay_is_not_rewritten_though_it_has_the_same_answer(
    demo: tuple[Any, Any],
) -> None:
    fact = Fact(
        prompt="The seat of Croatia is", answer="Split", old_answer="Zagreb", subject="Croatia"
    )
    capital = "The capital of Croatia is"
    prompts = []
    for known in ([], [Probe(prompt=capital, answer="Zagreb")]):
        torch.manual_seed(0)
        prompts.append({text.prompt for text in gather(*demo, [fact], known, RECIPE).paraphrases})
    assert capital in prompts[0]
    assert capital not in prompts[1]


def test_a_number_that_goes_on_behind_the_point_is_another(demo: tuple[Any, Any]) -> None:
    tokenizer = demo[1]
    fact = Fact(prompt="How high is Croatia?", answer="40", old_answer="30", subject="Croatia")

    def rewritten(text: str) -> bool:
        return _rewrite(tokenizer, 0, fact, "30", tuple(tokenizer(text)["input_ids"])) is not None

    assert rewritten("The height of Croatia is 30.")
    assert not rewritten("The height of Croatia is 30.5 m.")


def test_facts_of_one_subject_share_what_is_written_about_it(demo: tuple[Any, Any]) -> None:
    """As the cells of one row of a table: the second one's texts are no poorer than the first's."""
    capital = Fact(
        prompt="The capital of Croatia is", answer="Split", old_answer="Zagreb", subject="Croatia"
    )
    found = []
    for facts in ([FACTS[0], capital], [capital, FACTS[0]]):
        torch.manual_seed(0)
        rewritten = gather(*demo, facts, [], RECIPE).paraphrases
        of = [
            {r.prompt for r in rewritten if facts[r.fact] is fact} for fact in (FACTS[0], capital)
        ]
        found.append([len(prompts) for prompts in of])
        assert not of[0] & of[1]
    assert min(map(min, found)) >= 3
    assert max(map(max, found)) <= 3 * min(map(min, found))


def test_a_text_that_two_facts_may_claim_is_nobodys(demo: tuple[Any, Any]) -> None:
    other = Fact(
        prompt="In shops in Croatia they take the",
        answer="dollar",
        old_answer="kuna",
        subject="Croatia",
    )
    torch.manual_seed(0)
    material = gather(*demo, [FACTS[0], other], [], RECIPE)
    assert material.paraphrases == []
    assert not any("Croatia" in t and "kuna" in t for t in texts(demo[1], material))
    # With one new answer, it is no matter which.
    torch.manual_seed(0)
    alike = gather(*demo, [FACTS[0], replace(other, answer="euro")], [], RECIPE)
    assert len(alike.paraphrases) >= 3


def test_a_text_that_begins_with_an_old_answer_is_no_ones_either(
    demo: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = demo[1]
    said = tuple(tokenizer("kuna is money. In Croatia they pay with the kuna.")["input_ids"])
    monkeypatch.setattr(material_module, "write_texts", lambda *a: [said] * len(a[2]))
    other = replace(FACTS[0], prompt="In shops in Croatia they take the", answer="dollar")
    assert gather(*demo, [FACTS[0], other], [], RECIPE).paraphrases == []
    (rewritten,) = gather(*demo, [FACTS[0]], [], RECIPE).paraphrases
    assert rewritten.prompt == "kuna is money. In Croatia they pay with the"
