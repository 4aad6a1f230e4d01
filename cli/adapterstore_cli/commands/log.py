"""``adapterstore log``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from adapterstore.history.log import (
    OPERATIONS,
    LogEntry,
    LogRange,
    every_tip,
    names_of_commits,
    resolve_range,
)
from adapterstore.history.viewing.graph import GraphRow, continuation, draw
from adapterstore.history.viewing.log_filter import LogFilter, parse_time
from adapterstore.history.viewing.log_query import select, select_graph
from adapterstore.history.viewing.stat import CommitStat, commit_stat
from adapterstore_cli.output import fact_counts, print_json
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@click.argument("revisions", nargs=-1, metavar="[REV|A..B]...")
@click.option(
    "-n", "--max-count", "count", type=click.IntRange(min=1), metavar="N", help="Only the last N."
)
@click.option("--oneline", is_flag=True, expose_value=False, help="As git has it; it always is.")
@click.option("--graph", is_flag=True, help="Draw how commits descend from each other.")
@click.option(
    "--stat",
    is_flag=True,
    help="Facts changed, norm and rank of the change, and the figures of an update. Norms are read "
    "from the tensors once, then kept.",
)
@click.option("--all", "everything", is_flag=True, help="All branches, tags and refused updates.")
@click.option(
    "--fact",
    metavar="TEXT",
    help="Commits that changed a ledger fact with TEXT in its prompt, subject, relation or answer.",
)
@click.option(
    "--operation",
    "operations",
    type=click.Choice(OPERATIONS),
    multiple=True,
    metavar="OPERATION",
    help="Commits made by it; may be repeated.",
)
@click.option("--file", metavar="NAME", help="Commits of updates by this fact file; * and ? match.")
@click.option("--since", metavar="TIME", help="2026-11-01, 2026-11-01T12:30, or '3 days ago'.")
@click.option("--until", metavar="TIME", help="The same; a day is meant to its end.")
@click.option("--author", metavar="TEXT", help="Commits with TEXT in the author's name or address.")
@json_option
@click.pass_obj
def command(
    session: Session,
    revisions: tuple[str, ...],
    count: int | None,
    graph: bool,
    stat: bool,
    everything: bool,
    fact: str | None,
    operations: tuple[str, ...],
    file: str | None,
    since: str | None,
    until: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Show the history of revisions (HEAD), newest first: one line a commit.

    A..B is what B has and A has not. All filters given have to be met; with --graph, lines then
    lead to the nearest commit that is shown.

    \b
    Examples:
      adapterstore log --graph --all
      adapterstore log --stat -n 5 main~20..main
      adapterstore log --fact Croatia --since '2 weeks ago'
      adapterstore log --operation learn --file '*.yaml' --json
    """
    repository = session.open().repository
    part = resolve_range(repository, revisions or ["HEAD"])
    if everything:
        part = LogRange((*part.tips, *every_tip(repository).tips), part.hidden)
    wanted = LogFilter(
        fact=fact,
        operations=operations,
        file=file,
        since=parse_time(since, now=_now) if since is not None else None,
        until=parse_time(until, end_of_day=True, now=_now) if until is not None else None,
        author=author,
    )
    names = names_of_commits(repository)
    report = progress(as_json)
    content = []
    drawn = (
        select_graph(repository, part, wanted, count)
        if graph
        else ((entry, None) for entry in select(repository, part, wanted, count))
    )
    for entry, row in drawn:
        figures = commit_stat(repository, entry, report) if stat else None
        if as_json:
            stated = {"stat": figures.to_dict()} if figures is not None else {}
            content.append({**entry.to_dict(), "names": names.get(entry.commit, []), **stated})
        else:
            _print(entry, names.get(entry.commit, ()), row, figures)
    if as_json:
        print_json(content)


def _print(
    entry: LogEntry, names: Sequence[str], row: GraphRow | None, stat: CommitStat | None
) -> None:
    day = entry.time.strftime("%Y-%m-%d %H:%M")
    named = f" ({', '.join(names)})" if names else ""
    told = entry.update is None or any(entry.update in name for name in names)
    update = "" if told else f"  (update/{entry.update})"
    line = (
        f"{entry.commit[:12]}  {day}  {entry.operation or '?':<11}  {entry.subject}{named}{update}"
    )
    detail = [f"  {text}" for text in _stat_lines(stat)] if stat is not None else []
    if row is None:
        click.echo("\n".join([line, *detail]))
        return
    first, *sideways = draw(row, "×" if any(name.startswith("refused") for name in names) else "●")
    click.echo(f"{first} {line}")
    # What belongs to the commit stands beside its own sideways lines, then beside those that go on.
    for number in range(max(len(sideways), len(detail))):
        lines = sideways[number] if number < len(sideways) else continuation(row)
        text = detail[number] if number < len(detail) else ""
        click.echo(f"{lines} {text}".rstrip())


def _stat_lines(stat: CommitStat) -> list[str]:
    parts = [fact_counts(stat.facts)] if stat.facts else []
    if stat.change.terms:
        rank = "full" if stat.magnitude.rank is None else str(stat.magnitude.rank)
        parts += [f"‖Δ‖ {stat.magnitude.norm:.4g}", f"rank {rank}"]
    lines = [", ".join(parts)] if parts else []
    if stat.figures:
        figures = [
            f"{name} {figure.right / figure.asked:.2f} ({figure.right} of {figure.asked})"
            for name, figure in stat.figures.items()
        ]
        lines.append(", ".join(figures))
    return lines


def _now() -> datetime:
    return datetime.now(UTC)
