"""The arithmetic of every operation, on histories written by hand: no git, no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from adapterstore.algebra.coefficient import parse_coefficient
from adapterstore.algebra.composition import Composition, Term
from adapterstore.history.audit.arithmetic import (
    OPERATIONS,
    CannotCompute,
    Record,
    expected_composition,
    merge_base,
)
from adapterstore.identifiers import CommitId, DeltaId

A, B, C, D = (DeltaId(letter * 40) for letter in "abcd")


def total(terms: Mapping[DeltaId, str], role: str = "adapter") -> Composition:
    return Composition.of(Term(d, parse_coefficient(c), role) for d, c in terms.items())


def commit_id(name: str) -> CommitId:
    return CommitId(name.encode().hex().ljust(40, "0"))


class Written:
    """A history of which every commit's composition is said, not computed."""

    def __init__(self) -> None:
        self._compositions: dict[CommitId, Composition] = {}
        self._records: dict[CommitId, Record] = {}

    def add(
        self, name: str, parents: Sequence[str], terms: Mapping[DeltaId, str], **trailers: str
    ) -> CommitId:
        commit = commit_id(name)
        self._compositions[commit] = total(terms)
        self._records[commit] = Record(
            [commit_id(parent) for parent in parents],
            {name.replace("_", "-"): value for name, value in trailers.items()},
        )
        return commit

    def composition(self, commit: CommitId) -> Composition:
        return self._compositions[commit]

    def parents(self, commit: CommitId) -> Sequence[CommitId]:
        return self._records[commit].parents

    def record(self, commit: CommitId) -> Record:
        return self._records[commit]

    def update_commits(self, update: str, tips: Sequence[CommitId]) -> Sequence[CommitId]:
        return [c for c, r in self._records.items() if r.trailers.get("Update") == update]


@pytest.fixture
def history() -> Written:
    written = Written()
    written.add("root", [], {})
    written.add("one", ["root"], {A: "1"})
    written.add("two", ["one"], {A: "1", B: "0.5"})
    return written


def computed(history: Written, parents: Sequence[str], **trailers: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in trailers.items()}
    record = Record([commit_id(parent) for parent in parents], named)
    return {
        term.delta: format(term.coefficient, "f") for term in expected_composition(record, history)
    }


@pytest.mark.parametrize("operation", ["record-base", "protect"])
def test_what_changes_no_weight_has_the_parents_sum(history: Written, operation: str) -> None:
    assert computed(history, ["two"], Operation=operation) == {A: "1", B: "0.5"}


def test_a_store_begins_with_the_empty_sum(history: Written) -> None:
    assert computed(history, [], Operation="init") == {}
    with pytest.raises(CannotCompute, match="has a parent"):
        computed(history, ["one"], Operation="init")


def test_commit_begins_anew(history: Written) -> None:
    assert computed(history, ["two"], Operation="commit", Delta=C) == {C: "1"}


@pytest.mark.parametrize("operation", ["add", "cherry-pick", "forget", "learn"])
def test_what_adds(history: Written, operation: str) -> None:
    given = computed(history, ["one"], Operation=operation, Scale="-0.7", Delta=C)
    assert given == {A: "1", C: "-0.7"}
    # A change from elsewhere: two − one = 0.5·B.
    change = {"Change_From": commit_id("one"), "Change_To": commit_id("two")}
    assert computed(history, ["one"], Operation=operation, **change) == {A: "1", B: "0.5"}
    # A whole state, three times; exact: 3 × 0.5.
    whole = {"Change_To": commit_id("two"), "Scale": "3"}
    assert computed(history, ["one"], Operation=operation, **whole) == {A: "4", B: "1.5"}


@pytest.mark.parametrize("operation", ["subtract", "revert"])
def test_what_subtracts(history: Written, operation: str) -> None:
    change = {"Change_From": commit_id("one"), "Change_To": commit_id("two")}
    assert computed(history, ["two"], Operation=operation, **change) == {A: "1"}
    assert computed(history, ["two"], Operation=operation, Scale="2", Delta=B) == {
        A: "1",
        B: "-1.5",
    }


def test_the_role_is_that_of_the_operation(history: Written) -> None:
    for operation, role in {"forget": "forget", "learn": "learn", "add": "adapter"}.items():
        record = Record([commit_id("root")], {"Operation": operation, "Delta": C})
        assert [term.role for term in expected_composition(record, history)] == [role]


def test_a_merge_is_both_sides_without_what_they_share(history: Written) -> None:
    history.add("left", ["two"], {A: "1", B: "0.5", C: "1"})
    right = history.add("right", ["two"], {B: "0.5", D: "2"})
    merged = computed(history, ["left", "right"], Operation="merge", Merged=right)
    assert merged == {B: "0.5", C: "1", D: "2"}
    with pytest.raises(CannotCompute, match="not the second parent"):
        computed(history, ["left", "right"], Operation="merge", Merged=commit_id("left"))
    with pytest.raises(CannotCompute, match="1 parents, not 2"):
        computed(history, ["left"], Operation="merge", Merged=right)


def test_a_merge_leaves_a_dropped_update_out(history: Written) -> None:
    history.add("left", ["two"], {A: "1", B: "0.5", C: "1"})
    phase = {"Operation": "learn", "Update": "5ca2"}
    history.add("forget", ["two"], {A: "0.4", B: "0.5"}, **phase)
    right = history.add("learn", ["forget"], {A: "0.4", B: "0.5", D: "1"}, **phase)
    trailers = {"Operation": "merge", "Merged": right}
    assert computed(history, ["left", "learn"], **trailers) == {
        A: "0.4",
        B: "0.5",
        C: "1",
        D: "1",
    }
    dropped = computed(history, ["left", "learn"], **trailers, Dropped="5ca2")
    assert dropped == {A: "1", B: "0.5", C: "1"}
    by_commit = computed(history, ["left", "learn"], **trailers, Dropped=commit_id("forget"))
    assert by_commit == {A: "1", B: "0.5", C: "1", D: "1"}
    with pytest.raises(CannotCompute, match="update/ffff is not below"):
        computed(history, ["left", "learn"], **trailers, Dropped="ffff")


def test_a_merge_puts_back_what_both_sides_took_out(history: Written) -> None:
    history.add("left", ["two"], {B: "0.5"})
    right = history.add("right", ["two"], {B: "0.5"})
    trailers = {"Operation": "merge", "Merged": right}
    assert computed(history, ["left", "right"], **trailers) == {A: "-1", B: "0.5"}
    restored = computed(history, ["left", "right"], **trailers, Restored=commit_id("one"))
    assert restored == {B: "0.5"}


def crossed(history: Written) -> None:
    """Two branches that merged each other: the next merge has two bases."""
    history.add("left", ["two"], {A: "1", B: "0.5", C: "1"})
    history.add("right", ["two"], {A: "1", B: "0.5", D: "1"})
    both = {A: "1", B: "0.5", C: "1", D: "1"}
    history.add("cross-left", ["left", "right"], both)
    history.add("cross-right", ["right", "left"], both)
    history.add("more-left", ["cross-left"], {**both, A: "2"})
    history.add("more-right", ["cross-right"], {**both, B: "0.1"})


def test_of_several_bases_their_own_merge_is_the_base(history: Written) -> None:
    crossed(history)
    base = merge_base(history, commit_id("more-left"), commit_id("more-right"))
    assert base == total({A: "1", B: "0.5", C: "1", D: "1"})
    merged = computed(
        history,
        ["more-left", "more-right"],
        Operation="merge",
        Merged=commit_id("more-right"),
    )
    assert merged == {A: "2", B: "0.1", C: "1", D: "1"}


def test_what_one_of_the_bases_left_out_stays_out(history: Written) -> None:
    crossed(history)
    # One of the crossed merges dropped D: in the next merge that counts as its change.
    history.add("cross-left", ["left", "right"], {A: "1", B: "0.5", C: "1"})
    history.add("more-left", ["cross-left"], {A: "2", B: "0.5", C: "1"})
    merged = computed(
        history,
        ["more-left", "more-right"],
        Operation="merge",
        Merged=commit_id("more-right"),
    )
    assert merged == {A: "2", B: "0.1", C: "1"}


def test_unrelated_histories_share_nothing(history: Written) -> None:
    other = history.add("other", [], {D: "1"})
    merged = computed(history, ["one", "other"], Operation="merge", Merged=other)
    assert merged == {A: "1", D: "1"}


def test_a_lossy_merge_is_the_base_and_one_leaf(history: Written) -> None:
    history.add("left", ["one"], {A: "1", C: "1"})
    right = history.add("right", ["one"], {A: "1", D: "1"})
    trailers = {"Operation": "merge", "Merged": right, "Method": "ties", "Delta": B}
    assert computed(history, ["left", "right"], **trailers) == {A: "1", B: "1"}


def test_compact_replaces_the_folded_terms(history: Written) -> None:
    trailers = {"Operation": "compact", "Delta": D}
    assert computed(history, ["two"], **trailers, Folded=f"{A},{B}") == {D: "1"}
    assert computed(history, ["two"], **trailers, Folded=B) == {A: "1", D: "1"}
    with pytest.raises(CannotCompute, match="does not hold"):
        computed(history, ["two"], **trailers, Folded=C)


@pytest.mark.parametrize(
    ("trailers", "message"),
    [
        ({}, "Operation is missing"),
        ({"Operation": "rebase"}, "'rebase' is no operation"),
        ({"Operation": "add"}, "exactly one"),
        ({"Operation": "add", "Delta": A, "Change_To": "x"}, "exactly one"),
        ({"Operation": "add", "Delta": A, "Scale": "NaN"}, "not a finite decimal"),
        ({"Operation": "commit"}, "Delta is missing"),
    ],
)
def test_trailers_that_do_not_say_enough(
    history: Written, trailers: dict[str, str], message: str
) -> None:
    with pytest.raises(CannotCompute, match=message):
        computed(history, ["one"], **trailers)


def test_every_operation_has_its_arithmetic() -> None:
    assert set(OPERATIONS) == {
        *("init", "record-base", "commit", "add", "subtract", "revert", "cherry-pick"),
        *("merge", "forget", "learn", "protect", "suite", "compact"),
    }
