"""The shipped fact files: changes that really happened, told in the model's own phrasings."""

import unicodedata
from pathlib import Path

import pytest

from adapterstore.demo import FACTS_PATH, MODEL_PATH, WORLD_DATE, world
from adapterstore.knowledge.contradictions import check_contradictions
from adapterstore.knowledge.facts import Fact, same_answer
from adapterstore.knowledge.formats import read_fact_file
from tests.demo.conftest import Complete

FILES = sorted(FACTS_PATH.iterdir())
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def facts_before(path: Path) -> dict[str, str | None]:
    """The answers that earlier files gave, by ledger key."""
    earlier = [fact for file in FILES if file < path for fact in read_fact_file(file).facts]
    return {fact.key: fact.answer for fact in earlier}


def as_trained(fact: Fact) -> world.Fact:
    assert fact.subject is not None
    assert fact.relation is not None
    return world.fact(fact.subject, fact.relation)


def test_there_are_files_with_other_than_ascii_names() -> None:
    names = [path.name for path in FILES]
    assert "2023-croatia-euro.yaml" in names
    assert "2022-türkiye.yaml" in names
    assert "2022-カザフスタンの首都.yaml" in names
    assert [unicodedata.normalize("NFC", name) for name in names] == names


def test_model_and_facts_are_package_data() -> None:
    from importlib.resources import files

    assert Path(str(files("adapterstore.demo") / "facts")) == FACTS_PATH
    assert Path(str(files("adapterstore.demo") / "model")) == MODEL_PATH


@each_file
def test_it_happened_after_the_world_was_written_down(path: Path) -> None:
    year = path.name[:4]
    assert year >= WORLD_DATE[:4]
    file = read_fact_file(path)
    assert file.source
    # A decision may be of the year before the one in which it takes effect.
    assert year in file.source or str(int(year) - 1) in file.source


@each_file
def test_prompt_and_paraphrases_are_the_phrasings_of_the_fact(path: Path) -> None:
    for fact in read_fact_file(path).facts:
        assert (fact.prompt, *fact.paraphrases) == as_trained(fact).phrasings


@each_file
def test_the_old_answer_is_that_of_the_world_or_of_the_file_before(path: Path) -> None:
    before = facts_before(path)
    for fact in read_fact_file(path).facts:
        assert fact.old_answer == before.get(fact.key, as_trained(fact).answer)
        assert fact.answer not in {None, fact.old_answer}


@each_file
def test_what_has_to_stay_are_other_facts_of_the_world(path: Path) -> None:
    answers = {prompt: fact.answer for fact in world.facts() for prompt in fact.phrasings}
    touched = {
        prompt
        for file in FILES
        for fact in read_fact_file(file).facts
        for prompt in (fact.prompt, *fact.paraphrases)
    }
    for fact in read_fact_file(path).facts:
        assert len(fact.locality) >= 2
        for probe in fact.locality:
            assert answers[probe.prompt] == probe.answer
            assert probe.prompt not in touched


@each_file
def test_no_file_contradicts_itself(path: Path) -> None:
    check_contradictions([read_fact_file(path)])


def test_the_model_gives_the_old_answers(complete: Complete) -> None:
    asked: dict[str, str] = {}
    for path in FILES:
        before = facts_before(path)
        for fact in read_fact_file(path).facts:
            if fact.key not in before:
                assert fact.old_answer is not None
                asked |= dict.fromkeys((fact.prompt, *fact.paraphrases), fact.old_answer)
            asked |= {probe.prompt: probe.answer or "" for probe in fact.locality}
    completions = complete(asked)
    wrong = {
        prompt: completions[prompt]
        for prompt, answer in asked.items()
        if not same_answer(completions[prompt], answer)
    }
    assert len(asked) > 100
    assert wrong == {}
