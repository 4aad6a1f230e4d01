"""What is said many times is one fact, and one entry of the ledger."""

from __future__ import annotations

from pathlib import Path

from adapterstore import Store
from adapterstore.knowledge.facts import Fact, other_prompts
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.knowledge.repeats import without_repeats
from adapterstore.update.ledger_effect import update_ledger

BARE = Fact(prompt="The currency of Croatia is the", answer="euro", paraphrases=("a", "b"))
NAMED = Fact(
    prompt="The  currency of Croatia is the",
    answer="euro",
    subject="Croatia",
    relation="currency",
    paraphrases=("b", "c"),
)
OTHER = Fact(prompt="The capital of Croatia is", answer="Zagreb")


def test_of_a_fact_with_and_without_its_subject_one_is_left() -> None:
    for facts in ([BARE, OTHER, NAMED], [NAMED, OTHER, BARE]):
        reduced = without_repeats(facts)
        first, other = reduced.facts
        assert (first.key, other) == ("Croatia\tcurrency", OTHER)
        assert set(first.paraphrases) == {"a", "b", "c"}
        assert reduced.note is not None
        assert reduced.note.startswith("3 facts were given, 2 of them different")


def test_a_subject_alone_names_no_fact() -> None:
    half = Fact(prompt=BARE.prompt, answer="euro", subject="Croatia")
    assert [fact.key for fact in without_repeats([half, NAMED]).facts] == [NAMED.key]
    assert [fact.key for fact in without_repeats([half, OTHER]).facts] == [half.key, OTHER.key]


def test_the_ledger_has_it_once_whichever_file_names_it(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    bare = parse_fact_file(b"- {prompt: The currency is, answer: euro, paraphrases: [a]}", "a.yaml")
    named = parse_fact_file(
        b"- {prompt: The currency is, answer: euro, subject: Croatia, relation: currency}", "b.yaml"
    )
    for files in ([bare, named], [named, bare]):
        (data,) = update_ledger(store.repository, store.resolve(), files, "1").values()
        assert data is not None
        entry = LedgerEntry.from_bytes(data)
        assert entry.key == "Croatia\tcurrency"
        assert entry.prompts == ("The currency is", "a")


def test_other_prompts_are_other_texts_than_the_prompt_and_each_once() -> None:
    paraphrases = ["b", " a  c", "b ", "a b", "B"]
    assert other_prompts("a c", paraphrases) == ["b", "a b", "B"]
