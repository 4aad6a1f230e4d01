"""Reading the ledger costs what is asked for, and a draw from it is fair and bounded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import Contradiction, CorruptStore
from adapterstore.history.ledger.index import use_index
from adapterstore.history.ledger.known import Known, Retained, draw_retained, find_known
from adapterstore.history.ledger.protecting import protect_facts
from adapterstore.history.ledger.reading import (
    draw_entries,
    iterate_ledger,
    read_entries,
    read_ledger,
)
from adapterstore.knowledge.contradictions import check_against_ledger
from adapterstore.knowledge.facts import Fact, digest_key
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import LedgerEntry, ledger_path
from adapterstore.store.refs import move_ref
from tests.history.histories import teach, write_update
from tests.history.reading import open_counted

COUNT = 600
NOTHING = Known({}, {})


def fact(number: int, answer: str = "a") -> Fact:
    return Fact(prompt=f"{number}番の答えは", answer=answer, paraphrases=(f"番号 {number}:",))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A ledger of 600 facts, of which every tenth is forgotten, in two updates."""
    store = Store.init(tmp_path_factory.mktemp("large"))
    facts = [
        fact(n) if n % 10 else Fact(prompt=f"{n}番の答えは", answer=None) for n in range(COUNT)
    ]
    teach(store, "aaaa", facts[:-5])
    teach(store, "bbbb", facts[-5:])
    return store


def test_all_of_it_comes_in_the_order_of_the_digests(store: Store) -> None:
    entries = list(iterate_ledger(store.repository, store.resolve()))
    digests = [digest_key(entry.key) for entry in entries]
    assert digests == sorted(digests)
    assert len(entries) == COUNT
    assert read_ledger(store.repository, store.resolve()) == {e.key: e for e in entries}


def test_reading_some_keys_reads_a_folder_and_a_file_each(store: Store) -> None:
    counted, backend = open_counted(store)
    keys = [fact(n).key for n in range(5)]
    found = read_entries(counted.repository, store.resolve(), [*keys, "no such key"])
    assert set(found) == set(keys)
    # Commit, its tree and facts/, a folder for each key, a file (looked at twice) for each found.
    assert backend.reads <= 3 + 6 + 2 * 5


def test_what_an_update_asks_of_a_ledger_does_not_grow_with_it(
    store: Store, tmp_path: Path
) -> None:
    small = Store.init(tmp_path)
    teach(small, "aaaa", [fact(n) for n in range(20)])
    asked = [fact(3, "b"), Fact(prompt="番号 4:", answer="b"), fact(COUNT + 1)]
    reads = []
    for one in (small, store):
        # What earlier updates have indexed; this is the ledger that the next one finds.
        find_known(one.repository, one.resolve(), [])
        counted, backend = open_counted(one)
        known = find_known(counted.repository, one.resolve(), asked)
        assert [entry.answer for entry in known.of(fact(3).key)] == ["a"]
        assert known.elsewhere["番号 4:"][0].key == fact(4).key
        draw_retained(counted.repository, one.resolve(), known, 10, "seed")
        reads.append(backend.reads)
    assert reads[1] <= 1.5 * reads[0], reads
    assert reads[1] < COUNT / 5


def test_a_draw_is_the_seeds_and_has_no_forgotten_facts(store: Store) -> None:
    tip = store.resolve()
    draws = [draw_entries(store.repository, tip, 50, seed, ()) for seed in ("1", "1", "2")]
    assert draws[0] == draws[1] != draws[2]
    for draw in draws:
        assert len({entry.key for entry in draw}) == 50
        assert all(entry.answer is not None for entry in draw)
    without = {digest_key(entry.key) for entry in draws[0]}
    rest = draw_entries(store.repository, tip, COUNT, "1", without)
    assert len(rest) == COUNT * 9 // 10 - 50
    assert not without & {digest_key(entry.key) for entry in rest}


def test_over_many_seeds_every_fact_is_drawn(store: Store) -> None:
    tip = store.resolve()
    seen = {
        entry.key
        for seed in range(60)
        for entry in draw_entries(store.repository, tip, 60, str(seed), ())
    }
    # 60 draws of 60 among 540: a given fact is missed with probability (1 - 1/9)^60 < 0.001.
    assert len(seen) > 530


def test_below_the_limit_the_draw_is_the_ledger_whatever_the_seed(store: Store) -> None:
    tip = store.resolve()
    draws = [draw_retained(store.repository, tip, NOTHING, COUNT, seed) for seed in "12"]
    assert draws[0] == draws[1]
    assert draws[0].total == COUNT
    known = [e for e in iterate_ledger(store.repository, tip) if e.answer is not None]
    assert list(draws[0].entries) == known


def test_protected_facts_are_drawn_first_and_changed_ones_never(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    teach(store, "aaaa", [fact(n) for n in range(40)])
    protect_facts(store.repository, None, [fact(n).key for n in (7, 8, 9)])
    tip = store.resolve()
    known = find_known(store.repository, tip, [fact(9), Fact(prompt="番号 8:", answer="a")])
    for seed in "123":
        drawn = draw_retained(store.repository, tip, known, 5, seed)
        keys = {entry.key for entry in drawn.entries}
        assert len(keys) == 5
        assert drawn.total == 38
        assert fact(7).key in keys
        assert not keys & {fact(8).key, fact(9).key}


def test_however_many_are_protected_half_of_the_draw_is_left_for_the_others(
    tmp_path: Path,
) -> None:
    store = Store.init(tmp_path)
    forgotten = [Fact(prompt=f"{n}番の答えは", answer=None) for n in (12, 13, 14)]
    teach(store, "aaaa", [*(fact(n) for n in range(12)), *forgotten])
    protected = {fact(n).key for n in range(10)}
    protect_facts(store.repository, None, sorted(protected))
    tip = store.resolve()
    others = {fact(n).key for n in (10, 11)}

    def drawn(limit: int, seed: str) -> set[str]:
        entries = draw_retained(store.repository, tip, NOTHING, limit, seed).entries
        return {entry.key for entry in entries}

    few = [drawn(3, seed) for seed in map(str, range(20))]
    assert {(len(keys & protected), len(keys & others)) for keys in few} == {(2, 1)}
    assert set.union(*few) == protected | others
    # Two others have an answer: the rest of the room is not left empty.
    assert len(drawn(8, "1") & protected) == 6
    assert drawn(8, "1") > others
    assert drawn(12, "1") == protected | others


def test_other_phrasings_of_what_is_retained_fill_up_the_limit(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    phrased = [
        Fact(
            prompt=f"番号 {n}:",
            answer="a" if n else None,
            # Prompt and paraphrases again, which are no phrasings more.
            paraphrases=(f"{n}?", f"{n} is", f" 番号  {n}:", f"{n}  is"),
        )
        for n in range(5)
    ]
    teach(store, "aaaa", phrased)
    drawn = draw_retained(store.repository, store.resolve(), NOTHING, 10, "1")
    assert len(drawn.entries) == 4
    every = {(prompt, "a") for n in range(1, 5) for prompt in (f"{n}?", f"{n} is")}
    assert {(probe.prompt, probe.answer) for probe in drawn.phrasings(12, 0)} == every
    few = drawn.phrasings(10, 0)
    assert len(few) == 6
    assert {(probe.prompt, probe.answer) for probe in few} < every
    assert few == drawn.phrasings(10, 0)
    assert drawn.phrasings(3, 0) == []


def test_of_what_was_forgotten_a_quarter_of_the_limit_is_drawn(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    gone = [Fact(prompt=f"{n}番", answer=None, paraphrases=(f"{n}?",)) for n in range(6)]
    rows = [{"prompt": f"{n}?" if n == 1 else f"{n}番", "old_answer": f"a{n}"} for n in range(5)]
    report = json.dumps({"format": 1, "old_answers": rows}).encode()
    teach(store, "aaaa", [Fact(prompt="0番", answer="東京")])
    teach(store, "bbbb", gone, files={"report.json": report})
    teach(store, "cccc", [fact(n) for n in range(100, 130)])

    drawn = draw_retained(store.repository, store.resolve(), NOTHING, 200, "1")
    # The report says what was forgotten, by any prompt of the fact; the ledger, what was known.
    # Of the last one, nothing is known to come back.
    old = {one.entry.prompt: one.old for one in drawn.forgotten}
    assert old == {"0番": ("a0", "東京"), **{f"{n}番": (f"a{n}",) for n in range(1, 5)}}
    assert (len(drawn.entries), drawn.drawn, drawn.total) == (30, 35, 36)

    # What the others leave room for goes to them, and a quarter at least.
    assert len(draw_retained(store.repository, store.resolve(), NOTHING, 34, "1").forgotten) == 5
    few = draw_retained(store.repository, store.resolve(), NOTHING, 12, "1")
    # Three were drawn; of the one of which nothing is known, nothing can be asked.
    assert 2 <= len(few.forgotten) <= 3
    assert few.drawn == 12
    # What an update says later, and another takes back, leaves what was forgotten first.
    teach(store, "dddd", [Fact(prompt="3番", answer="京都")])
    teach(store, "eeee", [Fact(prompt="3番", answer=None)])
    drawn = draw_retained(store.repository, store.resolve(), NOTHING, 200, "1")
    assert {one.entry.prompt: one.old for one in drawn.forgotten}["3番"] == ("a3", "京都")
    known = find_known(store.repository, store.resolve(), gone[:3])
    rest = draw_retained(store.repository, store.resolve(), known, 200, "1")
    assert {one.entry.prompt for one in rest.forgotten} == {"3番", "4番"}


def answers(store: Store) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    ledger = read_ledger(store.repository, store.resolve())
    return {entry.prompt: (entry.answer, entry.paraphrases) for entry in ledger.values()}


CROATIA = Fact(
    prompt="The currency of Croatia is the",
    answer="kuna",
    subject="Croatia",
    relation="currency",
    paraphrases=("People pay with the",),
)
HUNGARY = Fact(
    prompt="The currency of Hungary is the",
    answer="forint",
    subject="Hungary",
    relation="currency",
    paraphrases=("People pay with the", "Hungary pays with the"),
)


def test_a_phrasing_that_two_facts_share_takes_neither_out_of_the_ledger(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    teach(store, "aaaa", [CROATIA, HUNGARY])
    new = Fact(prompt="People pay with the", answer="card")
    known = find_known(store.repository, store.resolve(), [new])
    assert not known.every
    # Nor is either held to its own answer by that phrasing meanwhile.
    retained = draw_retained(store.repository, store.resolve(), known, 10, "0")
    asked = [probe.prompt for probe in retained.phrasings(10, 0)]
    assert (len(retained.entries), asked) == (2, ["Hungary pays with the"])
    teach(store, "bbbb", [new])
    assert answers(store) == {
        CROATIA.prompt: ("kuna", CROATIA.paraphrases),
        HUNGARY.prompt: ("forint", HUNGARY.paraphrases),
        new.prompt: ("card", ()),
    }


def test_a_phrasing_that_one_fact_has_is_that_fact(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    teach(store, "aaaa", [CROATIA, HUNGARY])
    teach(store, "bbbb", [Fact(prompt="Hungary pays with the", answer="euro")])
    assert answers(store) == {
        CROATIA.prompt: ("kuna", ("People pay with the",)),
        "Hungary pays with the": ("euro", (HUNGARY.prompt, "People pay with the")),
    }


def test_a_fact_whose_other_phrasing_has_an_entry_of_its_own_is_one_with_it(
    tmp_path: Path,
) -> None:
    store = Store.init(tmp_path)
    own = Fact(prompt="Croatia pays with the", answer="kuna")
    teach(store, "aaaa", [own])
    protect_facts(store.repository, None, [own.prompt], [])
    new = dataclasses.replace(CROATIA, answer="euro", paraphrases=(own.prompt,))
    known = find_known(store.repository, store.resolve(), [new])
    (file,) = [parse_fact_file(b"- {prompt: P, answer: a}\n", "f.yaml")]
    with pytest.raises(Contradiction, match="protected"):
        check_against_ledger([dataclasses.replace(file, facts=(new,))], known.every)
    same = dataclasses.replace(new, answer="kuna")
    teach(store, "bbbb", [same])
    (entry,) = read_ledger(store.repository, store.resolve()).values()
    assert (entry.key, entry.answer, entry.protected) == (new.key, "kuna", True)
    assert entry.prompts == (CROATIA.prompt, own.prompt)


def test_a_fact_with_a_name_is_not_taken_over_by_a_paraphrase(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    teach(store, "aaaa", [CROATIA])
    protect_facts(store.repository, None, [CROATIA.prompt], [])
    other = Fact(
        prompt="Croatians earn",
        answer="kuna",
        subject="Croatia",
        relation="wages",
        paraphrases=(CROATIA.prompt,),
    )
    teach(store, "bbbb", [other])
    assert answers(store) == {
        CROATIA.prompt: ("kuna", CROATIA.paraphrases),
        other.prompt: ("kuna", other.paraphrases),
    }
    # But what is protected can't get another answer by it.
    euro = dataclasses.replace(parse_fact_file(b"- {prompt: P, answer: a}\n", "f.yaml"), facts=())
    files = [dataclasses.replace(euro, facts=(dataclasses.replace(other, answer="euro"),))]
    known = find_known(store.repository, store.resolve(), files[0].facts)
    with pytest.raises(Contradiction, match="protected"):
        check_against_ledger(files, known.every, known.contrary)


def test_a_paraphrase_that_asks_for_what_another_fact_says_otherwise(tmp_path: Path) -> None:
    """Such an update can't pass: one prompt would have to get two answers."""
    store = Store.init(tmp_path)
    teach(store, "aaaa", [CROATIA])
    text = (
        f"- {{prompt: Croatians earn, answer: euro, paraphrases: [{CROATIA.prompt}]}}\n"
        "- {prompt: Its money is, answer: euro, subject: Croatia, relation: currency}\n"
    )
    file = parse_fact_file(text.encode(), "f.yaml")

    def check(facts: tuple[Fact, ...]) -> None:
        known = find_known(store.repository, store.resolve(), facts)
        check_against_ledger([dataclasses.replace(file, facts=facts)], known.every, known.contrary)

    with pytest.raises(Contradiction) as refused:
        check(file.facts[:1])
    assert str(refused.value) == (
        "Croatia, currency: f.yaml:1 (paraphrase) says 'euro', but the ledger (since update/aaaa) "
        "says 'kuna'; put the one right that is wrong"
    )
    check((dataclasses.replace(file.facts[0], answer="kuna"),))
    # The files change that fact as well.
    check(file.facts)


def test_an_entry_under_a_key_that_is_not_its_own_is_corruption(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    tip = store.resolve()
    entry = LedgerEntry(
        prompt="p", answer="x", subject=None, relation=None, paraphrases=(), update="u", source=None
    )
    path = ledger_path(digest_key("q"))
    commit = write_update(store, tip, "u", {path: entry.to_bytes()}, {})
    move_ref(store.repository, "refs/heads/main", tip, commit, "by hand")
    with pytest.raises(CorruptStore, match=f"{path}: is filed under another key"):
        read_ledger(store.repository, commit)


def test_the_index_counts_without_reading(store: Store) -> None:
    tip = store.resolve()
    assert use_index(store.repository, tip, lambda index: index.count(tip)) == COUNT
    counted, backend = open_counted(store)
    assert use_index(counted.repository, tip, lambda index: index.count(tip)) == COUNT
    assert backend.reads == 0


def test_what_was_forgotten_on_other_branches_leaves_no_room_for_more(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    teach(store, "aaaa", [fact(1), fact(2)])
    start = store.resolve()
    empty = [dataclasses.replace(fact(n), answer=None) for n in (1, 2, 3)]
    elsewhere = teach(store, "bbbb", [empty[0], empty[2]])
    draw_retained(store.repository, elsewhere, NOTHING, 5, "seed")  # is in the index now
    store.reset(None, start)
    teach(store, "cccc", [empty[1]])
    for limit in (0, 1, 2):
        drawn = draw_retained(store.repository, store.resolve(), NOTHING, limit, "seed")
        assert drawn.drawn <= limit


def test_what_comes_later_and_elsewhere_changes_no_draw(tmp_path: Path) -> None:
    """A replay draws what the update drew, whatever was forgotten since."""
    store = Store.init(tmp_path)
    teach(store, "aaaa", [fact(n) for n in range(20)])
    empty = [dataclasses.replace(fact(n), answer=None) for n in range(20)]
    start = teach(store, "bbbb", empty[:10])

    def draw() -> Retained:
        return draw_retained(store.repository, start, NOTHING, 8, "seed")

    before = draw()
    assert len(before.forgotten) == 2
    teach(store, "cccc", empty[10:14])
    store.create_branch("side", start)
    store.switch("side")
    teach(store, "dddd", empty[14:16])
    assert draw() == before


def test_a_draw_says_whether_the_seed_decided_it(tmp_path: Path) -> None:
    store = Store.init(tmp_path)
    # Of what was forgotten here, nothing is known to come back: it can't be asked at all.
    teach(store, "aaaa", [fact(1), fact(2), Fact(prompt="q", answer=None)])
    tip = store.resolve()
    by_seed = {n: draw_retained(store.repository, tip, NOTHING, n, "1").by_seed for n in (0, 1, 3)}
    assert by_seed == {0: False, 1: True, 3: False}
    (known, one) = find_known(store.repository, tip, [fact(2)]), fact(1)
    drawn = draw_retained(store.repository, tip, known, 2, "1")
    assert ([entry.prompt for entry in drawn.entries], drawn.by_seed) == ([one.prompt], False)
