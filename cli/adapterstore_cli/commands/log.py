"""``adapterstore log``."""

from __future__ import annotations

from itertools import islice

import click

from adapterstore.history.log import LogEntry
from adapterstore_cli.output import print_json
from adapterstore_cli.session import Session, json_option


@click.command()
@click.argument("revision", default="HEAD", metavar="[REV]")
@click.option("-n", "count", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@json_option
@click.pass_obj
def command(session: Session, revision: str, count: int | None, as_json: bool) -> None:
    """Show the history of a revision (HEAD), newest first: one line a commit.

    \b
    Examples:
      adapterstore log
      adapterstore log -n 5 main~2
      adapterstore log --json | jq -r '.[] | select(.update) | .update' | sort -u
    """
    entries = islice(session.open().log(revision), count)
    if as_json:
        print_json([entry_json(entry) for entry in entries])
        return
    for entry in entries:
        update = f"  (update/{entry.update})" if entry.update else ""
        operation = entry.operation or "?"
        day = entry.time.strftime("%Y-%m-%d %H:%M")
        click.echo(f"{entry.commit[:12]}  {day}  {operation:<11}  {entry.subject}{update}")


def entry_json(entry: LogEntry) -> dict[str, object]:
    """Return what ``--json`` prints of one commit."""
    return {
        "commit": entry.commit,
        "parents": list(entry.parents),
        "author": entry.author,
        "time": entry.time.isoformat(),
        "subject": entry.subject,
        "operation": entry.operation,
        "update": entry.update,
        "trailers": entry.trailers,
    }
