"""``adapterstore show``."""

from __future__ import annotations

import click

from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.history.leaves import DeltaSummary, summarize_delta
from adapterstore.history.reverting import changed_facts
from adapterstore_cli.commands.log import entry_json
from adapterstore_cli.output import print_json, print_report, print_table, size
from adapterstore_cli.session import Session, json_option


@click.command()
@click.argument("revision", default="HEAD", metavar="[REV|update/ID]")
@json_option
@click.pass_obj
def command(session: Session, revision: str, as_json: bool) -> None:
    """Show a commit: what made it, the sum that it is, and the facts that it changed.

    For an update, also what was measured and how λ was found; for a refused one, why.

    \b
    Examples:
      adapterstore show
      adapterstore show update/5ca2598a2a59
      adapterstore show main~2 --json
    """
    from adapterstore.update.result import read_report

    store = session.open()
    entry, snapshot = store.entry(revision), store.snapshot(revision)
    terms = [(term, summarize_delta(store.repository, term.delta)) for term in snapshot.composition]
    facts = changed_facts(store.repository, entry.commit)
    has_report = store.repository.read(entry.commit, "update/report.json") is not None
    report = read_report(store.repository, entry.commit) if has_report else None
    if as_json:
        print_json(
            {
                **entry_json(entry),
                "base": snapshot.base.name,
                "terms": [
                    {
                        "delta": term.delta,
                        "coefficient": format_coefficient(term.coefficient),
                        "role": term.role,
                        "kind": delta.kind,
                        "rank": delta.rank,
                        "bytes": delta.size,
                    }
                    for term, delta in terms
                ],
                "facts": [fact.to_dict() for fact in facts],
                "report": report,
            }
        )
        return
    click.echo(f"commit {entry.commit}")
    click.echo(f"Author: {entry.author}")
    click.echo(f"Date:   {entry.time.isoformat(sep=' ')}")
    click.echo(f"\n    {entry.subject}\n")
    for name, value in entry.trailers.items():
        click.echo(f"    {name}: {value}")
    click.echo(f"\nstate: {snapshot.base.name or 'a base yet to be named'}")
    rows = [_term_row(format_coefficient(t.coefficient), t.delta, t.role, d) for t, d in terms]
    if rows:
        print_table(["coefficient", "delta", "role", "kind", "rank", "size"], rows, "  ")
    if facts:
        click.echo("\nfacts:")
    for fact in facts:
        click.echo(f"  {fact.prompt!r}: {fact.before!r} → {fact.after!r}")
    if report is not None:
        _print_update(report)


def _term_row(coefficient: str, delta: str, role: str, summary: DeltaSummary) -> list[str]:
    sign = coefficient if coefficient.startswith("-") else f"+{coefficient}"
    rank = str(summary.rank) if summary.rank is not None else "full"
    return [sign, delta[:12], role, summary.kind, rank, size(summary.size)]


def _print_update(report: dict[str, object]) -> None:
    from adapterstore.evaluation.metrics import Report

    click.echo("\nmeasured:")
    figures = report.get("report")
    if isinstance(figures, dict):
        print_report(Report.from_dict(figures), "  ")
    curve = report.get("curve")
    if isinstance(curve, list) and curve:
        click.echo(f"\nλ = {report.get('coefficient')}, found in:")
        rows = [
            [str(r["coefficient"]), f"{r['old_answers']:.2f}", f"{r['control']:.2f}"] for r in curve
        ]
        print_table(["λ", "old answers", "control"], rows, "  ")
    reasons = report.get("reasons")
    if isinstance(reasons, list) and reasons:
        click.echo("\nrefused:")
        for reason in reasons:
            click.echo(f"  {reason}")
