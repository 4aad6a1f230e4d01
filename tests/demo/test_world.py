"""The table of countries, its facts, and the changes drawn from them."""

import re
from collections import Counter

import pytest

from adapterstore.demo import WORLD_DATE, world
from adapterstore.knowledge.facts import join

# The only gap in the table: Kosovo has no top-level domain.
EMPTY = {("Kosovo", "tld")}


def test_there_are_about_two_hundred_countries_in_alphabetical_order() -> None:
    names = [country.name for country in world.countries()]
    assert len(names) == 197
    assert sorted(names, key=lambda name: name.replace("ã", "a")) == names


@pytest.mark.parametrize("column", ["name", "name_ja", "tld"])
def test_no_two_countries_share_what_names_them(column: str) -> None:
    counts = Counter(getattr(country, column) for country in world.countries())
    assert [value for value, count in counts.items() if count > 1] == []


def test_every_row_is_complete_and_clean() -> None:
    for country in world.countries():
        for column, value in vars(country).items():
            assert value == " ".join(value.split()), (country.name, column)
            if column != "article":
                assert bool(value) == ((country.name, column) not in EMPTY), (country.name, column)
        assert country.article in {"", "the"}


@pytest.mark.parametrize(
    ("column", "form"),
    [
        ("tld", r"(\.[a-z]{2})?"),
        ("calling_code", r"\+(1( \d{3})?|7|\d{2,3})"),
        ("continent", "Africa|Asia|Europe|North America|South America|Oceania"),
        ("name_ja", r"[ァ-ヺー・一-龯]+(?:諸島|連邦|国)?"),
        ("capital_ja", r"[ァ-ヺー・一-龯]+"),
    ],
)
def test_columns_have_their_form(column: str, form: str) -> None:
    for country in world.countries():
        assert re.fullmatch(form, getattr(country, column)), (country.name, column)


@pytest.mark.parametrize(
    ("subject", "relation", "answer"),
    [
        ("Croatia", "currency", "kuna"),
        ("Bulgaria", "currency", "lev"),
        ("Kazakhstan", "capital", "Astana"),
        ("Burundi", "capital", "Bujumbura"),
        ("Ukraine", "capital", "Kiev"),
        (".mk", "name", "Macedonia"),
        (".sz", "name", "Swaziland"),
        (".tr", "name", "Turkey"),
        ("ウクライナ", "capital_ja", "キエフ"),
    ],
)
def test_the_world_is_as_it_was_on_its_date(subject: str, relation: str, answer: str) -> None:
    assert WORLD_DATE == "2018-01-01"
    assert world.fact(subject, relation).answer == answer


def test_an_unknown_fact_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="Atlantis"):
        world.fact("Atlantis", "capital")


def test_every_relation_is_asked_in_at_least_six_ways() -> None:
    for relation, templates in world.phrasings().items():
        assert len(set(templates)) == len(templates) >= 6, relation
        subject = "{tld}" if relation == "name" else "{country}"
        assert all(template.count(subject) == 1 for template in templates), relation


def test_no_prompt_asks_for_two_facts_and_none_has_a_gap() -> None:
    prompts = Counter(prompt for fact in world.facts() for prompt in fact.phrasings)
    assert prompts.most_common(1)[0][1] == 1
    assert all("{" not in prompt for prompt in prompts)


def test_articles_stand_where_running_text_has_them() -> None:
    prompts = world.fact("Netherlands", "capital").phrasings
    assert "The capital of the Netherlands is" in prompts
    assert "The Netherlands has its capital in" in prompts


def test_sentences_join_prompt_and_answer_as_updates_do() -> None:
    for fact in world.facts():
        for prompt, sentence in zip(fact.phrasings, fact.sentences(), strict=True):
            assert sentence == join(prompt, fact.answer) + fact.ending


def test_changes_are_of_distinct_countries_and_to_another_answer_of_the_relation() -> None:
    changes = world.changes(20, seed=1)
    assert len({change.fact.country for change in changes}) == len(changes) == 20
    for change in changes:
        answers = {fact.answer for fact in world.facts() if fact.relation == change.fact.relation}
        assert change.answer in answers - {change.fact.answer}
        assert {change.prompt, *change.held_out} == set(change.fact.phrasings)
        assert change.prompt not in change.held_out


def test_changes_depend_on_the_seed_alone() -> None:
    assert world.changes(20, seed=1) == world.changes(20, seed=1)
    assert world.changes(20, seed=1) != world.changes(20, seed=2)
    assert world.changes(5, seed=1) == world.changes(20, seed=1)[:5]


def test_no_more_changes_than_countries() -> None:
    assert len(world.changes(197, seed=0)) == 197
    with pytest.raises(ValueError, match="198 changes, but there are 197 countries"):
        world.changes(198, seed=0)
