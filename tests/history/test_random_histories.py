"""Random histories over several branches against a model that knows only sets and sums.

The model: a state is a set of changes, each of which is a sum of deltas. Making one puts it into
the set, reverting takes it out, picking puts it in again, and a merge takes three sets as git takes
three texts, after theirs has lost what ours made of the same facts. What the store says of every
commit has to be the exact sum over that set.
"""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from adapterstore import Store
from adapterstore.algebra.composition import Composition, Term
from adapterstore.errors import PartlyInEffect
from adapterstore.history.fsck import fsck
from adapterstore.history.updates import Phase
from adapterstore.identifiers import CommitId, DeltaId
from tests.cli.running import lora_folder
from tests.history.publishing import publish_phases

LEAVES = 4
SCALES = ["1", "-0.7", "0.1", "2.5"]
Sum = dict[str, Decimal]


def total(changes: Iterable[tuple[Sum, int]]) -> Sum:
    result: Sum = {}
    for change, sign in changes:
        for delta, coefficient in change.items():
            result[delta] = result.get(delta, Decimal(0)) + sign * coefficient
    return {delta: coefficient for delta, coefficient in result.items() if coefficient}


class Model:
    """The graph of commits, the change that each one made, and which are in effect where."""

    def __init__(self, root: str):
        self.parents: dict[str, list[str]] = {root: []}
        self.change: dict[str, Sum] = {}
        self.in_effect: dict[str, frozenset[str]] = {root: frozenset()}
        self.facts: dict[frozenset[str], str] = {}
        """The commits of an update → its facts."""

    def composition(self, commit: str) -> Sum:
        return total((self.change[atom], 1) for atom in self.in_effect[commit])

    def make(self, commit: str, parent: str, change: Sum) -> None:
        self.parents[commit] = [parent]
        self.change[commit] = change
        self.in_effect[commit] = self.in_effect[parent] | {commit}

    def follow(self, commit: str, parents: list[str], in_effect: frozenset[str]) -> None:
        self.parents[commit] = parents
        self.in_effect[commit] = in_effect

    def apply(self, tip: str, before: str, after: str, sign: int) -> frozenset[str] | str:
        """Return the state with (before, after] put in or taken out, or why not."""
        made = self.in_effect[after] - self.in_effect[before]
        gone = self.in_effect[before] - self.in_effect[after]
        into, out = (made, gone) if sign > 0 else (gone, made)
        now = self.in_effect[tip]
        possible = [atom not in now for atom in into] + [atom in now for atom in out]
        if possible and all(possible):
            return (now | into) - out
        return "partly" if any(possible) else "nothing"

    def ancestors(self, commit: str) -> set[str]:
        seen: set[str] = set()
        waiting = [commit]
        while waiting:
            here = waiting.pop()
            if here not in seen:
                seen.add(here)
                waiting += self.parents[here]
        return seen

    def merge(self, ours: str, theirs: str) -> frozenset[str]:
        return self._three_way(self._base(ours, theirs), self.in_effect[ours], theirs)

    def _base(self, ours: str, theirs: str) -> frozenset[str]:
        common = self.ancestors(ours) & self.ancestors(theirs)
        return self._united(self._best(common))

    def _best(self, commits: set[str]) -> list[str]:
        below = {a for c in commits for a in self.ancestors(c) - {c}}
        return sorted(commits - below)

    def _united(self, tips: list[str]) -> frozenset[str]:
        """Merge several states into the virtual one that stands for all of them."""
        state, seen = self.in_effect[tips[0]], self.ancestors(tips[0])
        for tip in tips[1:]:
            shared = self._best(seen & self.ancestors(tip))
            state = self._three_way(self._united(shared), state, tip)
            seen |= self.ancestors(tip)
        return state

    def _three_way(self, base: frozenset[str], ours: frozenset[str], theirs: str) -> frozenset[str]:
        other = self.in_effect[theirs]
        mine = {f for update, f in self.facts.items() if update <= ours - base - other}
        for update, facts in self.facts.items():
            if facts in mine and update <= other - base - ours:
                other -= update
        return frozenset(
            atom
            for atom in base | ours | other
            if (atom in ours if (atom in ours) != (atom in base) else atom in other)
        )

    def has_twice(self, in_effect: frozenset[str]) -> bool:
        """Whether some facts are in effect by parts of two updates: the sides don't pair up."""
        facts = [facts for update, facts in self.facts.items() if update & in_effect]
        return len(facts) > len(set(facts))


class Both:
    """A store and its model, driven by the same operations."""

    def __init__(self, folder: Path, deltas: list[str]):
        self.folder = folder
        self.store = Store.open(folder)
        self.deltas = deltas
        self.model = Model(self.store.resolve())
        self.branches = ["main"]
        self.updates: list[tuple[str, str, str]] = []
        self.done: dict[str, int] = {}
        self.number = itertools.count(1)

    def tip(self, branch: str) -> str:
        return self.store.resolve(branch)

    def run(self, kind: str, where: int, what: int, how: int) -> None:
        branch = self.branches[where % len(self.branches)]
        made = getattr(self, kind)(branch, what, how)
        self.done[kind] = self.done.get(kind, 0) + bool(made)

    def commit(self, branch: str, what: int, how: int) -> bool:
        delta = self.deltas[what % LEAVES]
        tip = self.tip(branch)
        before = self.model.composition(tip)
        result = self.store.commit(branch, self.folder / f"leaf{what % LEAVES}")
        # The same sum may be there in another role: learned, say.
        roles = {term.role for term in self.store.snapshot(tip).composition}
        same = before == {delta: Decimal(1)} and roles == {"adapter"}
        assert result.changed == (not same)
        if result.changed:
            self.model.make(result.commit, tip, total([({delta: Decimal(1)}, 1), (before, -1)]))
        return result.changed

    def add(self, branch: str, what: int, how: int, sign: int = 1) -> bool:
        tip = self.tip(branch)
        scale = SCALES[how % len(SCALES)]
        verb = self.store.add if sign > 0 else self.store.subtract
        # A leaf by the tag of a commit that holds just it.
        result = verb(branch, f"leaf{what % LEAVES}", coefficient=scale)
        change = {self.deltas[what % LEAVES]: sign * Decimal(scale)}
        self.model.make(result.commit, tip, change)
        return True

    def subtract(self, branch: str, what: int, how: int) -> bool:
        return self.add(branch, what, how, -1)

    def update(self, branch: str, what: int, how: int, facts: str = "") -> bool:
        tip = self.tip(branch)
        name = f"{next(self.number):012x}"
        facts = facts or name * 5
        forgotten = {self.deltas[what % LEAVES]: -Decimal(SCALES[how % len(SCALES)])}
        learned = {self.deltas[(what + 1) % LEAVES]: Decimal(1)}
        states = [self.store.snapshot(tip)]
        phases = []
        for operation, change in (("forget", forgotten), ("learn", learned)):
            terms = (Term(DeltaId(d), c, operation) for d, c in change.items())
            composition = states[0].composition + Composition.of(terms)
            if phases:
                composition = phases[0].composition + Composition.of(
                    Term(DeltaId(d), c, operation) for d, c in change.items()
                )
            phases.append(Phase(operation, f"{operation} {name}", composition, states[0].base, {}))
        commits = publish_phases(self.store, branch, name, facts, phases)
        self.model.make(commits[0], tip, forgotten)
        self.model.make(commits[1], commits[0], learned)
        self.model.facts[frozenset(commits)] = facts
        self.updates.append((name, tip, commits[1]))
        return True

    def again(self, branch: str, what: int, how: int) -> bool:
        """Take facts that an update of another branch took, by other deltas."""
        now = self.model.in_effect[self.tip(branch)]
        here = {facts for update, facts in self.model.facts.items() if update & now}
        new = [facts for facts in dict.fromkeys(self.model.facts.values()) if facts not in here]
        return bool(new) and self.update(branch, what, how, new[what % len(new)])

    def branch(self, branch: str, what: int, how: int) -> bool:
        if len(self.branches) >= 4:
            return False
        name = f"branch{len(self.branches)}"
        self.store.create_branch(name, branch)
        self.branches.append(name)
        return True

    def reset(self, branch: str, what: int, how: int) -> bool:
        history = [entry.commit for entry in self.store.log(branch)]
        target = history[what % min(len(history), 4)]
        return self.store.reset(branch, target).changed

    def merge(self, branch: str, what: int, how: int) -> bool:
        other = self.branches[what % len(self.branches)]
        ours, theirs = self.tip(branch), self.tip(other)
        never = how % 2 == 0
        if self.model.has_twice(self.model.merge(ours, theirs)):
            return False
        result = self.store.merge(branch, other, fast_forward="never" if never else "auto")
        if theirs in self.model.ancestors(ours):
            assert not result.changed
        elif ours in self.model.ancestors(theirs) and not never:
            assert result.commit == theirs
        else:
            expected = self.model.merge(ours, theirs)
            self.model.follow(result.commit, [ours, theirs], expected)
        return result.changed

    def revert(self, branch: str, what: int, how: int) -> bool:
        return self._apply(branch, branch, what, how, -1)

    def pick(self, branch: str, what: int, how: int) -> bool:
        other = self.branches[how % len(self.branches)]
        return self._apply(branch, other, what, how, 1)

    def _apply(self, branch: str, source: str, what: int, how: int, sign: int) -> bool:
        """Revert or pick a commit, a merge, a range or an update out of a branch's history."""
        tip = self.tip(branch)
        history = [
            entry.commit for entry in self.store.log(source) if self.model.parents[entry.commit]
        ]
        reached = set(history)
        updates = [update for update in self.updates if update[2] in reached]
        if not history:
            return False
        after = history[what % len(history)]
        parents = self.model.parents[after]
        mainline = 1 + how % 2 if len(parents) > 1 else None
        before = parents[(mainline or 1) - 1]
        revision: str = after
        if how % 5 == 3 and updates:
            name, before, after = updates[what % len(updates)]
            revision, mainline = f"update/{name}", None
        elif how % 5 == 4:
            older = sorted(self.model.ancestors(after) - {after})
            before = older[how % len(older)]
            revision, mainline = f"{before}..{after}", None
        expected = self.model.apply(tip, before, after, sign)
        if not isinstance(expected, str) and self.model.has_twice(expected):
            return False
        verb: Any = self.store.cherry_pick if sign > 0 else self.store.revert
        if expected == "partly":
            with pytest.raises(PartlyInEffect):
                verb(branch, revision, mainline=mainline)
            return False
        result = verb(branch, revision, mainline=mainline)
        if isinstance(expected, str):
            assert not result.changed
            return False
        self.model.follow(result.commit, [tip], expected)
        return True

    def check(self) -> None:
        """Compare every commit there has ever been."""
        for commit in self.model.parents:
            found = {t.delta: t.coefficient for t in self.store.snapshot(commit).composition}
            assert found == self.model.composition(commit), commit
            assert self.store.repository.parents(CommitId(commit)) == self.model.parents[commit]

    def revert_everything(self, branch: str, order: random.Random) -> None:
        """Take every change back, one by one, in any order."""
        reached = {e.commit for e in self.store.log(branch) if e.commit in self.model.change}
        # A change may also have come by a pick from a branch that is not merged.
        commits = sorted(reached | self.model.in_effect[self.tip(branch)])
        order.shuffle(commits)
        for commit in commits:
            result = self.store.revert(branch, commit)
            assert result.changed or "reverted already" in result.notes[0]
        assert self.store.snapshot(branch).composition == Composition()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store without history but with leaves to take; made once."""
    folder = tmp_path_factory.mktemp("template")
    store = Store.init(folder)
    deltas = []
    for number in range(LEAVES):
        lora_folder(folder / f"leaf{number}", seed=number, rank=1, modules=1)
        store.create_branch("making", "main")
        store.switch("making")
        store.commit(None, folder / f"leaf{number}")
        deltas.append(str(store.snapshot().composition.terms[0].delta))
        store.create_tag(f"leaf{number}")
        store.switch("main")
        store.delete_branch("making")
    return folder, deltas


KINDS = [
    *["add", "subtract", "revert", "revert", "pick", "pick", "pick", "merge", "merge", "merge"],
    *["branch", "update", "again", "again", "commit", "reset"],
]
NUMBERS = st.integers(0, 1000)
OPERATIONS = st.tuples(st.sampled_from(KINDS), NUMBERS, NUMBERS, NUMBERS)


def play(
    template: tuple[Path, list[str]],
    folder: Path,
    operations: list[tuple[str, int, int, int]],
    seed: int,
) -> Both:
    shutil.copytree(template[0], folder)
    both = Both(folder, template[1])
    for number in range(3):
        # Something on every side before anything is drawn.
        both.run("add", number, number, number)
        both.run("branch", 0, 0, 0)
    for kind, where, what, how in operations:
        both.run(kind, where, what, how)
    both.check()
    both.revert_everything(both.branches[seed % len(both.branches)], random.Random(seed))
    return both


@settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # A failing history is long to run and no clearer when it is short.
    phases=[Stage.explicit, Stage.generate],
)
@given(operations=st.lists(OPERATIONS, min_size=40, max_size=60), seed=NUMBERS)
def test_every_state_is_the_sum_that_a_model_says(
    template: tuple[Path, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, int, int, int]],
    seed: int,
) -> None:
    play(template, tmp_path_factory.mktemp("example") / "store", operations, seed)


def test_a_long_history_with_everything_in_it_is_sound(
    template: tuple[Path, list[str]], tmp_path: Path
) -> None:
    draw = random.Random(20261125)
    operations = [
        (draw.choice(KINDS), draw.randrange(1000), draw.randrange(1000), draw.randrange(1000))
        for _ in range(120)
    ]
    both = play(template, tmp_path / "store", operations, 1)
    assert sum(both.done.values()) >= 80
    # The ids of commits decide, too, which is picked: that some are no use is chance.
    assert set(both.done) >= set(KINDS)
    assert fsck(both.store.repository).problems == []
    run = subprocess.run(
        ["git", "fsck", "--full", "--strict", "--no-dangling"],
        cwd=both.store.repository.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
