"""``adapterstore reflog``."""

from __future__ import annotations

import click

from adapterstore_cli.output import print_json, print_table
from adapterstore_cli.session import Session, json_option


@click.command()
@click.argument("branch", default="HEAD", metavar="[BRANCH]")
@click.option("-n", "count", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@json_option
@click.pass_obj
def command(session: Session, branch: str, count: int | None, as_json: bool) -> None:
    """Show where HEAD or a branch has been, newest first.

    Each name, such as main@{2}, can be used as a revision. What an entry names stays in the store
    until gc removes the entry: after 90 days, or 30 if no branch, tag or other ref reaches it.

    \b
    Examples:
      adapterstore reflog
      adapterstore reflog main -n 5
      adapterstore reset main@{1}
    """
    entries = session.open().reflog(branch)[:count]
    if as_json:
        print_json(
            [
                {
                    "name": f"{branch}@{{{number}}}",
                    "before": entry.before,
                    "after": entry.after,
                    "author": entry.author,
                    "time": entry.time.isoformat(),
                    "message": entry.message,
                }
                for number, entry in enumerate(entries)
            ]
        )
        return
    rows = [
        [
            f"{branch}@{{{number}}}",
            entry.after[:12],
            entry.time.strftime("%Y-%m-%d %H:%M"),
            entry.message,
        ]
        for number, entry in enumerate(entries)
    ]
    print_table(["name", "commit", "time", "what moved it"], rows)
