"""The ledger: what a state is meant to know, and what an update makes of it."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.errors import CorruptStore
from adapterstore.knowledge.facts import Fact, digest_key
from adapterstore.knowledge.ledger import (
    LedgerEntry,
    key_candidates,
    ledger_changes,
    ledger_path,
    old_answer,
    show_key,
)

ENTRY = LedgerEntry(
    prompt="カザフスタンの首都は",
    answer="アスタナ",
    subject=None,
    relation=None,
    paraphrases=("首都:",),
    update="u1",
    source=None,
)
CANONICAL = """\
{
 "answer": "アスタナ",
 "paraphrases": [
  "首都:"
 ],
 "prompt": "カザフスタンの首都は",
 "protected": false,
 "relation": null,
 "source": null,
 "subject": null,
 "update": "u1"
}
"""


def known(*facts: Fact) -> dict[str, LedgerEntry]:
    """Return the ledger after an update of these facts."""
    changes = ledger_changes({}, facts, "u1", ["s"] * len(facts))
    entries = [LedgerEntry.from_bytes(data) for data in changes.values()]
    return {entry.key: entry for entry in entries}


def test_entries_are_canonical_json() -> None:
    assert ENTRY.to_bytes().decode() == CANONICAL


text = st.text(st.characters(codec="utf-8"))
optional = st.none() | text


@given(
    st.builds(
        LedgerEntry,
        prompt=text,
        answer=optional,
        subject=optional,
        relation=optional,
        paraphrases=st.lists(text).map(tuple),
        update=text,
        source=optional,
        protected=st.booleans(),
    )
)
@settings(derandomize=True)
def test_reading_an_entry_gives_what_was_written(entry: LedgerEntry) -> None:
    assert LedgerEntry.from_bytes(entry.to_bytes()) == entry


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [
        (CANONICAL[:-3], "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "does not have exactly the fields prompt, answer"),
        (CANONICAL.replace("source", "sauce"), "does not have exactly the fields"),
        (CANONICAL.replace('"u1"', "null"), "update is not what it should be"),
        (CANONICAL.replace('"アスタナ"', "5"), "answer is not what it should be"),
        (CANONICAL.replace("false", "0"), "protected is not what it should be"),
        (CANONICAL.replace('"首都:"', "null"), "paraphrases is not what it should be"),
    ],
)
def test_anything_else_in_its_place_is_corruption(damaged: str, problem: str) -> None:
    with pytest.raises(CorruptStore, match=f"facts/x: {problem}"):
        LedgerEntry.from_bytes(damaged.encode(), "facts/x")


def test_bytes_that_are_no_text_are_corruption() -> None:
    with pytest.raises(CorruptStore, match="not JSON"):
        LedgerEntry.from_bytes(b"\xff\xfe\xfd")


def test_an_entry_is_filed_by_its_keys_digest() -> None:
    fact = Fact(prompt="p", answer="x", subject="Croatia", relation="currency")
    digest = fact.key_digest
    assert ledger_path(digest) == f"facts/{digest[:2]}/{digest}.json"
    assert list(ledger_changes({}, [fact], "u1", [None])) == [ledger_path(digest)]
    assert known(fact)[fact.key].key == fact.key


def test_an_update_writes_what_it_was_told() -> None:
    fact = Fact(prompt="p", answer="x", old_answer="w", subject="s", paraphrases=("q",))
    assert known(fact) == {
        "p": LedgerEntry(
            prompt="p",
            answer="x",
            subject="s",
            relation=None,
            paraphrases=("q",),
            update="u1",
            source="s",
        )
    }


def test_what_is_forgotten_only_stays_on_record() -> None:
    assert known(Fact(prompt="p", answer=None))["p"].answer is None


def test_a_superseded_entry_hands_its_prompts_on() -> None:
    first = Fact(prompt="p", answer="x", subject="s", relation="r", paraphrases=("q", "o"))
    second = Fact(prompt="q", answer="y", subject="s", relation="r", paraphrases=("n",))
    (data,) = ledger_changes(known(first), [second], "u2", [None]).values()
    entry = LedgerEntry.from_bytes(data)
    assert (entry.prompt, entry.answer, entry.update) == ("q", "y", "u2")
    assert entry.paraphrases == ("n", "p", "o")


def test_facts_of_one_key_in_one_update_make_one_entry() -> None:
    first = Fact(prompt="p", answer="x", subject="s", relation="r")
    second = dataclasses.replace(first, prompt="q")
    (entry,) = known(first, second).values()
    assert (entry.prompt, entry.paraphrases) == ("q", ("p",))


def test_what_to_forget_is_the_facts_own_old_answer_else_the_ledgers() -> None:
    ledger = known(Fact(prompt="p", answer="x"), Fact(prompt="gone", answer=None))
    assert old_answer(ledger, Fact(prompt="p", answer="y", old_answer="w")) == "w"
    assert old_answer(ledger, Fact(prompt=" p ", answer="y")) == "x"
    assert old_answer(ledger, Fact(prompt="p", answer=None)) == "x"
    assert old_answer(ledger, Fact(prompt="p", answer="x ")) is None
    assert old_answer(ledger, Fact(prompt="gone", answer="y")) is None
    assert old_answer(ledger, Fact(prompt="unknown", answer="y")) is None


def elsewhere(*entries: LedgerEntry, fact: Fact) -> dict[str, list[LedgerEntry]]:
    """Return what `ledger_changes` takes for one fact: other entries that its prompt asks for."""
    return {fact.key: [entry for entry in entries if fact.prompt in entry.prompts]}


def test_a_fact_by_its_prompt_alone_keeps_the_subject_that_the_ledger_knows() -> None:
    entry = dataclasses.replace(ENTRY, subject="カザフスタン", relation="首都")
    fact = Fact(prompt="カザフスタンの首都は", answer="ヌルスルタン")
    changes = ledger_changes({}, [fact], "u2", [None], elsewhere(entry, fact=fact))
    path = ledger_path(digest_key("カザフスタン\t首都"))
    assert list(changes) == [path]
    new = LedgerEntry.from_bytes(changes[path] or b"")
    assert (new.answer, new.update, new.paraphrases) == ("ヌルスルタン", "u2", ("首都:",))


def test_a_named_fact_takes_the_place_of_the_entry_of_its_prompt() -> None:
    fact = Fact(prompt="首都:", answer="アスタナ", subject="カザフスタン", relation="首都")
    changes = ledger_changes({}, [fact], "u2", [None], elsewhere(ENTRY, fact=fact))
    assert changes[ledger_path(digest_key(ENTRY.key))] is None
    new = LedgerEntry.from_bytes(changes[ledger_path(fact.key_digest)] or b"")
    assert (new.prompt, new.paraphrases) == ("首都:", ("カザフスタンの首都は",))
    assert len(changes) == 2


def test_what_is_protected_stays_so_under_whatever_key() -> None:
    entry = dataclasses.replace(ENTRY, protected=True)
    same = Fact(prompt=entry.prompt, answer="アスタナ")
    (kept,) = ledger_changes({entry.key: entry}, [same], "u2", [None]).values()
    assert LedgerEntry.from_bytes(kept or b"").protected
    named = dataclasses.replace(same, subject="s", relation="r")
    changes = ledger_changes({}, [named], "u2", [None], elsewhere(entry, fact=named))
    moved = changes[ledger_path(named.key_digest)]
    assert moved is not None
    assert LedgerEntry.from_bytes(moved).protected


def test_each_source_of_a_fact_is_named_once() -> None:
    facts = [Fact(prompt="p", answer="x")] * 4
    (data,) = ledger_changes({}, facts, "u1", ["A", "B", None, "A"]).values()
    assert LedgerEntry.from_bytes(data or b"").source == "A; B"


def test_two_facts_do_not_inherit_one_prompt() -> None:
    entry = dataclasses.replace(ENTRY, prompt="p", paraphrases=("q", "o"))
    facts = [Fact(prompt="p", answer="x"), Fact(prompt="q", answer="y")]
    changes = ledger_changes({"p": entry}, facts, "u2", [None] * 2, {"q": [entry]})
    new = [LedgerEntry.from_bytes(data) for data in changes.values() if data is not None]
    assert {e.prompt: e.paraphrases for e in new} == {"p": ("o",), "q": ()}


def test_a_text_names_a_fact_by_prompt_or_by_subject_and_relation() -> None:
    assert list(key_candidates("  The capital  is ")) == ["The capital is"]
    assert list(key_candidates("Washington, D.C., mayor")) == [
        "Washington, D.C., mayor",
        "Washington\tD.C., mayor",
        "Washington, D.C.\tmayor",
    ]
    assert "カザフスタン\t首都" in list(key_candidates("カザフスタン、首都"))
    assert show_key("カザフスタン\t首都") == "カザフスタン, 首都"


def test_an_entry_holds_a_text_whatever_the_case_and_the_form() -> None:
    entry = dataclasses.replace(ENTRY, subject="Tu\u0308rkiye", source="Catalogue 7")
    for text in ("TÜRKIYE", "アスタ", "首都:", "catalogue  7"):
        assert entry.holds(text)
    assert not entry.holds("Ankara")


def test_an_entry_says_where_it_stands() -> None:
    assert ENTRY.place == "the ledger (since update/u1)"
    protected = dataclasses.replace(ENTRY, protected=True)
    assert protected.place == "the ledger (protected, since update/u1)"
    assert dataclasses.replace(protected, update="").place == "the ledger (protected)"
