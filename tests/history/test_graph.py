"""The graph: every line that is drawn is a parent, and every parent has its line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.history.viewing.graph import continuation, draw, lay_out, simplify
from adapterstore.identifiers import CommitId

History = list[tuple[CommitId, list[CommitId]]]
LAW = settings(derandomize=True, deadline=None, max_examples=300)


def history(*commits: str) -> History:
    """Return a history from texts such as ``m a b``: a commit and its parents."""
    return [
        (CommitId(name), [CommitId(parent) for parent in parents])
        for name, *parents in (text.split() for text in commits)
    ]


def picture(
    commits: Sequence[tuple[CommitId, Sequence[CommitId]]], first: str | None = None
) -> str:
    lines = []
    for row in lay_out(commits, CommitId(first) if first else None):
        head, *sideways = draw(row)
        lines += [f"{head} {row.commit}", *sideways]
    return "\n".join(lines)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Commits in an order in which children come before parents, with up to three parents."""
    size = draw(st.integers(1, 14))
    commits: History = []
    for number in range(size):
        older = list(range(number + 1, size))
        parents = draw(st.lists(st.sampled_from(older), max_size=3, unique=True)) if older else []
        commits.append((CommitId(f"c{number}"), [CommitId(f"c{p}") for p in parents]))
    return commits


def test_a_line_of_commits() -> None:
    assert picture(history("b a", "a")) == "● b\n● a"


def test_a_merge_and_its_branch() -> None:
    expected = "● m\n├─╮\n│ ● t\n● │ o\n├─╯\n● b"
    assert picture(history("m o t", "t b", "o b", "b")) == expected


def test_a_fast_branch_joins_to_the_left() -> None:
    assert picture(history("m o t", "o b", "t b", "b")) == "● m\n├─╮\n● │ o\n│ ● t\n├─╯\n● b"


def test_a_line_crosses_others() -> None:
    commits = history("x r", "y r", "m a b", "a r", "b r", "r")
    assert picture(commits).splitlines()[:4] == ["● x", "│ ● y", "├─╯", "│ ● m"]
    crossed = history("m1 a s", "m2 b c", "s a", "b r", "c a", "a r", "r")
    assert "┼" in picture(crossed)


def test_unrelated_histories_stand_below_each_other() -> None:
    assert picture(history("a", "b")) == "● a\n● b"


def test_the_first_tip_keeps_the_leftmost_lane() -> None:
    commits = history("refused main", "main root", "root")
    assert picture(commits, "main") == "  ● refused\n╭─╯\n● main\n● root"


def test_text_below_a_commit_stands_beside_the_lines_that_go_on() -> None:
    (row, *_) = lay_out(history("m o t", "t b", "o b", "b"))
    assert continuation(row) == "│ │"


def follow(commits: History) -> dict[CommitId, set[CommitId]]:
    """Return each commit's parents, read off the rows alone as an eye does: by following lines."""
    # lane → the commits whose lines run down it at this height
    lines: dict[int, set[CommitId]] = {}
    found: dict[CommitId, set[CommitId]] = {commit: set() for commit, _ in commits}
    for row in lay_out(commits):
        arriving = lines.pop(row.lane, set()) if row.from_above else set()
        assert row.from_above or row.lane not in lines
        for child in arriving:
            found[child].add(row.commit)
        below = {lane: lines.pop(lane) for lane in row.passing}
        for lane in row.joining:
            below.setdefault(row.lane, set()).update(lines.pop(lane))
        assert not lines, "a line ends in nothing"
        for target in row.targets:
            below.setdefault(target, set()).add(row.commit)
        lines = below
    assert not lines
    return found


@given(histories())
@LAW
def test_following_the_lines_gives_the_parents_back(commits: History) -> None:
    assert follow(commits) == {commit: set(parents) for commit, parents in commits}


@given(histories())
@LAW
def test_rows_of_text_fit_each_other(commits: History) -> None:
    up, down = set("│├┤╯╰┼"), set("│├┤╮╭┼●")
    lines = [line for row in lay_out(commits) for line in draw(row)]
    for above, below in pairwise(lines):
        for column in range(max(len(above), len(below))):
            top = above[column] if column < len(above) else " "
            bottom = below[column] if column < len(below) else " "
            assert bottom not in up or top in down, lines
            assert top not in down - {"●"} or bottom in up | {"●"}, lines


@given(histories(), st.data())
@LAW
def test_leaving_commits_out_keeps_who_descends_from_whom(
    commits: History, data: st.DataObject
) -> None:
    shown = data.draw(st.sets(st.sampled_from([commit for commit, _ in commits])))
    parents = simplify(commits, shown)
    assert set(parents) == shown
    all_of, of_shown = (
        ancestors(commits),
        ancestors([(c, parents[c]) for c, _ in commits if c in shown]),
    )
    for commit in shown:
        assert of_shown[commit] == all_of[commit] & shown


def ancestors(commits: History) -> dict[CommitId, set[CommitId]]:
    found: dict[CommitId, set[CommitId]] = {}
    for commit, parents in reversed(commits):
        found[commit] = {ancestor for p in parents for ancestor in {p, *found[p]}}
    return found
