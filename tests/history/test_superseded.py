"""Which earlier updates a set of facts supersedes wholly, and what of a folded sum is in effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.history.compacting import compact
from adapterstore.history.ledger.known import find_known
from adapterstore.history.ledger.superseded import Superseded, find_superseded
from adapterstore.history.updates import find_applied
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.formats import parse_fact_file
from tests.cli.running import lora_folder
from tests.history.histories import teach as say
from tests.update.publishing import publish

EURO = "- {prompt: 通貨は, answer: ユーロ, subject: クロアチア, relation: 通貨}\n"
CAPITAL = "- {prompt: The capital is, answer: Zagreb}\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.init(tmp_path)


def teach(store: Store, folder: Path, text: str, seed: int = 0) -> UpdateId:
    return publish(store, lora_folder(folder / f"a{seed}", seed=seed), f"{seed}.yaml", text)


def find(store: Store, text: str) -> list[Superseded]:
    facts = parse_fact_file(text.encode(), "new.yaml").facts
    tip = store.resolve()
    return find_superseded(store.repository, tip, facts, find_known(store.repository, tip, facts))


def test_an_update_all_of_whose_facts_change(store: Store, tmp_path: Path) -> None:
    before = store.snapshot().composition
    update = teach(store, tmp_path, EURO + CAPITAL)
    (one,) = find(store, EURO.replace("ユーロ", "クーナ") + CAPITAL.replace("Zagreb", "null"))
    assert one.update == update
    assert (store.snapshot().composition - one.change).to_bytes() == before.to_bytes()
    assert one.after == store.resolve()


@pytest.mark.parametrize(
    "text",
    [
        EURO.replace("ユーロ", "クーナ"),
        EURO + CAPITAL.replace("Zagreb", "Split"),
        "- {prompt: Something else, answer: null}\n",
    ],
    ids=["a fact stands", "a fact is said again", "nothing of it"],
)
def test_an_update_of_which_something_stands(store: Store, tmp_path: Path, text: str) -> None:
    teach(store, tmp_path, EURO + CAPITAL)
    assert find(store, text) == []


def test_what_a_later_update_took_over_does_not_count(store: Store, tmp_path: Path) -> None:
    first = teach(store, tmp_path, EURO + CAPITAL)
    later = teach(store, tmp_path, CAPITAL.replace("Zagreb", "Split"), seed=1)
    assert [one.update for one in find(store, EURO.replace("ユーロ", "null"))] == [first]
    both = find(store, EURO.replace("ユーロ", "null") + CAPITAL.replace("Zagreb", "Rijeka"))
    assert [one.update for one in both] == [first, later]
    assert both[1].earlier == {"The capital is": ("Zagreb",)}


@pytest.mark.parametrize(
    "again",
    [
        Fact(prompt="The capital is", answer="Zagreb"),
        Fact(prompt="The capital is", answer="Zagreb", subject="Croatia", relation="capital"),
    ],
    ids=["as it was", "under another key"],
)
def test_what_a_later_update_says_again_stands(store: Store, tmp_path: Path, again: Fact) -> None:
    """The ledger names the later one, but the weights that know it are the first one's."""
    first = teach(store, tmp_path, EURO + CAPITAL)
    say(store, "again", [again])
    assert find(store, EURO.replace("ユーロ", "null")) == []
    both = find(store, EURO.replace("ユーロ", "null") + CAPITAL.replace("Zagreb", "null"))
    assert [one.update for one in both] == [first, "again"]


def test_what_is_asked_otherwise_now_stands(store: Store, tmp_path: Path) -> None:
    named = CAPITAL.replace("}", ", subject: Croatia, relation: capital}")
    teach(store, tmp_path, EURO + named)
    asked = Fact(
        prompt="It is governed from", answer="Zagreb", subject="Croatia", relation="capital"
    )
    other = Fact(prompt="Split is", answer="a port", paraphrases=("The capital is",))
    say(store, "again", [asked, other])
    assert find(store, EURO.replace("ユーロ", "null")) == []


def test_not_in_effect_any_more(store: Store, tmp_path: Path) -> None:
    update = teach(store, tmp_path, CAPITAL)
    new = CAPITAL.replace("Zagreb", "null")
    assert len(find(store, new)) == 1
    # Weights only: the ledger still says Zagreb.
    store.subtract(None, f"update/{update}", coefficient="0.5")
    assert find(store, new) == []
    store.add(None, f"update/{update}", coefficient="0.5")
    assert len(find(store, new)) == 1
    store.commit(None, lora_folder(tmp_path / "other", seed=9))
    assert find(store, new) == []


def test_what_compact_folded_is_in_effect_all_the_same(store: Store, tmp_path: Path) -> None:
    update = teach(store, tmp_path, CAPITAL)
    teach(store, tmp_path, EURO, seed=1)
    digest = parse_fact_file(CAPITAL.encode(), "0.yaml").digest
    for number in range(2):
        assert find_applied(store.repository, store.resolve(), digest) == update
        assert [one.update for one in find(store, CAPITAL.replace("Zagreb", "null"))] == [update]
        compact(store.repository, None, 2)
        store.add(None, lora_folder(tmp_path / f"b{number}", seed=5), coefficient="0.5")
    store.revert(None, f"update/{update}")
    assert find_applied(store.repository, store.resolve(), digest) is None
