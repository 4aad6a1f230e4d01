"""An older file that comes after newer ones: what they say otherwise stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import Overtaken
from adapterstore.knowledge.facts import Fact, FactFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.tables.mapping import parse_mapping
from adapterstore.knowledge.tables.reading import MappedTable, map_table
from adapterstore.update.overtaken import check_not_overtaken
from tests.history.histories import teach

NEWER = {"bbbb": "tuesday.yaml", "cccc": "wednesday.yaml"}
MAPPING = b"""\
source: prices
key: id
removed: forget
columns:
  price: {prompts: ["The price of {id} is"]}
"""


def old_file(text: str) -> FactFile:
    return parse_fact_file(text.encode(), "monday.yaml")


def old_table(text: str) -> MappedTable:
    return map_table(text.encode(), "monday.csv", parse_mapping(MAPPING, "monday.map.yaml"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.init(tmp_path, base="demo")
    teach(store, "aaaa", [Fact(prompt="A is", answer="early"), Fact(prompt="B is", answer="b")])
    teach(store, "bbbb", [Fact(prompt="A is", answer="late", paraphrases=("What is A?",))])
    priced = [
        Fact(prompt=f"The price of {item} is", answer=price, subject=item, relation="price")
        for item, price in (("x1", "5"), ("x2", "7"))
    ]
    teach(store, "cccc", priced, source="prices")
    return store


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            old_file("- {prompt: B is, answer: c}\n- {prompt: A is, answer: early}\n"),
            "A is: monday.yaml:2 says 'early', but update/bbbb says 'late'; tuesday.yaml was "
            "applied while this file waited; put it there again if it is right",
        ),
        (old_file("- {prompt: A is, answer: null}\n"), "says 'null', but update/bbbb"),
        (
            old_file("- {prompt: Say it, answer: early, subject: S, relation: r, "
                     "paraphrases: [A is]}\n"),
            "A is: monday.yaml:1 says 'early', but update/bbbb",
        ),
        (
            old_table("id,price\nx1,5\nx2,6\n"),
            "x2, price: monday.csv:3 column price says '6', but update/cccc",
        ),
        (
            old_table("id,price\nx1,5\n"),
            "x2, price: monday.csv: column price (the row has gone) says 'null', but update/cccc",
        ),
    ],
)  # fmt: skip
def test_an_older_file_takes_back_nothing_of_a_newer_one(
    store: Store, content: FactFile | MappedTable, message: str
) -> None:
    with pytest.raises(Overtaken) as refused:
        check_not_overtaken(store, content, NEWER, [], "main")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        old_file("- {prompt: A is, answer: late}\n- {prompt: B is, answer: c}\n"),
        old_file("- {prompt: C is, answer: new}\n"),
        old_table("id,price\nx1,5\nx2,7\nx3,9\n"),
    ],
)
def test_what_only_older_updates_say_gives_way(
    store: Store, content: FactFile | MappedTable
) -> None:
    check_not_overtaken(store, content, NEWER, [], "main")


def test_a_newer_update_that_was_reverted_stands_for_nothing(store: Store) -> None:
    content = old_file("- {prompt: A is, answer: early}\n")
    with pytest.raises(Overtaken):
        check_not_overtaken(store, content, NEWER, [], "main")
    store.revert(None, "update/bbbb")
    check_not_overtaken(store, content, NEWER, [], "main")


def test_a_newer_table_by_the_same_mapping_may_have_said_all_of_its_source(store: Store) -> None:
    """It says every cell, and only those that differ become its update's."""
    content = old_table("id,price\nx1,5\nx2,6\n")
    check_not_overtaken(store, content, {}, [], "main")
    with pytest.raises(Overtaken) as refused:
        check_not_overtaken(store, content, {}, ["tuesday.csv"], "main")
    assert (refused.value.newer, refused.value.update) == ("tuesday.csv", "cccc")
    # What another source says, that table has not said again.
    other = MAPPING.replace(b"source: prices", b"source: discounts")
    table = map_table(b"id,price\nx1,6\n", "monday.csv", parse_mapping(other, "monday.map.yaml"))
    check_not_overtaken(store, table, {}, ["tuesday.csv"], "main")
