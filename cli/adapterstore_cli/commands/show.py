"""``adapterstore show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterstore.history.update_report import count_origins
from adapterstore.history.viewing.description import CommitDescription, describe_commit
from adapterstore_cli.output import (
    drift_line,
    print_facts,
    print_json,
    print_report,
    print_table,
    size,
)
from adapterstore_cli.session import Session, json_option
from adapterstore_cli.tables import print_table_changes

if TYPE_CHECKING:
    from adapterstore.knowledge.suite import SuitePrompt

MOST_OLD_ANSWERS = 20
_OWN_LINES = {"Operation", "Merged", "Dropped", "Resolved-Ours", "Resolved-Theirs"}
"""Trailers that are told in words."""


@click.command()
@click.argument("revision", default="HEAD", metavar="[REV|update/ID]")
@json_option
@click.pass_obj
def command(session: Session, revision: str, as_json: bool) -> None:
    """Show a commit: what made it, what it changed, and the sum that its state is.

    For an update, also what was measured, how λ was found and what each phase took; for a refused
    one, why; for a merge, how each conflict was settled.

    \b
    Examples:
      adapterstore show
      adapterstore show update/5ca2598a2a59
      adapterstore show main~2 --json
    """
    store = session.open()
    shown = describe_commit(store.repository, store.resolve(revision))
    if as_json:
        print_json(shown.to_dict())
        return
    _print_head(shown)
    if shown.facts:
        click.echo("\nfacts:")
        print_facts(shown.facts, "  ")
    if shown.suite:
        click.echo("\nsuite:")
        for changed in shown.suite:
            _print_suite_change(changed.before, changed.after)
    if shown.conflicts:
        click.echo("\nconflicts, and which side was kept:")
        for conflict in shown.conflicts:
            click.echo(
                f"  {conflict.prompt!r}: ours {conflict.ours!r}, theirs {conflict.theirs!r} "
                f"→ {conflict.kept}"
            )
    if shown.entry.trailers.get("Dropped"):
        click.echo("\nleft out, as all of their facts lost or both sides did it:")
        for name in shown.entry.trailers["Dropped"].replace(",", " ").split():
            click.echo(f"  commit {name}" if len(name) == 40 else f"  update/{name}")
    _print_sum(shown)
    if shown.report is not None:
        _print_update(shown.report)


def _print_head(shown: CommitDescription) -> None:
    entry = shown.entry
    names = f" ({', '.join(shown.names)})" if shown.names else ""
    click.echo(f"commit {entry.commit}{names}")
    if len(entry.parents) > 1:
        click.echo(f"Merge:  {' '.join(parent[:12] for parent in entry.parents)}")
    click.echo(f"Author: {entry.author}")
    click.echo(f"Date:   {entry.time.isoformat(sep=' ')}")
    if shown.files:
        click.echo(f"Facts:  {', '.join(shown.files)}")
    click.echo(f"\n    {entry.subject}\n")
    if entry.body:
        for line in entry.body.splitlines():
            click.echo(f"    {line}".rstrip())
        click.echo()
    told = _OWN_LINES if len(entry.parents) > 1 else set()
    for name, value in entry.trailers.items():
        if name not in told or name == "Operation":
            click.echo(f"    {name}: {value}")


def _print_suite_change(before: SuitePrompt | None, after: SuitePrompt | None) -> None:
    mark = "+" if before is None else "-" if after is None else "~"
    shown = after or before
    if shown is not None:
        answer = "(as before)" if shown.answer is None else shown.answer
        click.echo(f"  {mark} {shown.prompt!r}: {answer}")


def _print_sum(shown: CommitDescription) -> None:
    if shown.changed_terms:
        click.echo("\nchanged in the sum:")
        rows = [[t.before, t.after, t.term.delta[:12], t.term.role] for t in shown.changed_terms]
        print_table(["from", "to", "delta", "role"], rows, "  ")
    click.echo(f"\nstate: {shown.snapshot.base.name or 'a base yet to be named'}")
    rows = [
        [
            row["coefficient"] if row["coefficient"].startswith("-") else f"+{row['coefficient']}",
            row["delta"][:12],
            row["role"],
            row["kind"],
            "full" if row["rank"] is None else str(row["rank"]),
            size(row["bytes"]),
        ]
        for row in shown.to_dict()["terms"]
    ]
    if rows:
        print_table(["coefficient", "delta", "role", "kind", "rank", "size"], rows, "  ")


def _print_update(report: dict[str, Any]) -> None:
    from adapterstore.evaluation.metrics import Report

    table = report.get("table")
    if isinstance(table, dict):
        click.echo()
        print_table_changes(table)
    figures = report.get("report")
    if isinstance(figures, dict):
        click.echo("\nmeasured:")
        refused = report.get("refused")
        rows = refused if isinstance(refused, list) else []
        names = {str(row.get("metric")) for row in rows if isinstance(row, dict)}
        print_report(Report.from_dict(figures), "  ", names)
    curve = report.get("curve")
    if isinstance(curve, list) and curve:
        click.echo(f"\nforgetting: λ = {report.get('coefficient') or 'none'}, found in:")
        rows = [
            [
                str(r["coefficient"]),
                f"{r['old_answers']:.2f}",
                f"{r['control']:.2f}",
                "←" if r["coefficient"] == report.get("coefficient") else "",
            ]
            for r in curve
        ]
        print_table(["λ", "old answers", "control", ""], rows, "  ")
    _print_old_answers(report)
    _print_work(report)
    _print_drift(report)
    for title, key in (("noted", "notes"), ("refused", "reasons")):
        lines = report.get(key)
        if isinstance(lines, list) and lines:
            click.echo(f"\n{title}:")
            for line in lines:
                click.echo(f"  {line}")


def _print_old_answers(report: dict[str, Any]) -> None:
    """Print what was forgotten, and who said what the old answer is."""
    rows = report.get("old_answers")
    if not isinstance(rows, list) or not rows:
        return
    click.echo(f"\nold answers: {count_origins(rows)}")
    for row in rows[:MOST_OLD_ANSWERS]:
        click.echo(f"  {row['prompt']!r}: {row['old_answer']!r} ({row['origin']})")
    if len(rows) > MOST_OLD_ANSWERS:
        click.echo(f"  … and {len(rows) - MOST_OLD_ANSWERS} more (--json)")


def _print_drift(report: dict[str, Any]) -> None:
    section = report.get("drift")
    if isinstance(section, dict):
        click.echo(f"\ndrift: {drift_line(section)}")
        for alarm in section.get("alarms") or []:
            click.echo(f"  alarm: {alarm}")


def _print_work(report: dict[str, Any]) -> None:
    """Print what the update took: steps by phase, seconds by stage."""
    steps, seconds = report.get("training_steps") or {}, report.get("seconds") or {}
    told = [f"{phase} {count} steps" for phase, count in steps.items()]
    told += [f"{stage} {value:.1f} s" for stage, value in seconds.items()]
    if told:
        click.echo(f"\nwork: {', '.join(told)}")
