"""What ``gc`` and ``prune`` have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import click

from adapterstore.counting import counted, plural
from adapterstore.history.housekeeping.gc import Collected
from adapterstore_cli.output import print_json, print_table, size

grace_option = click.option(
    "--grace",
    default="2w",
    metavar="TIME",
    help="Age at which unreachable objects and leftover files go (2w).",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="List what would go, with sizes and reasons; change nothing."
)


def tell_collected(result: Collected, dry_run: bool, as_json: bool) -> None:
    """Print what went, or would go."""
    if as_json:
        print_json({"dry_run": dry_run, **asdict(result)})
        return
    if dry_run and result.removals:
        rows = [[r.kind, r.name, size(r.size), r.reason] for r in result.removals]
        print_table(["kind", "what", "size", "why"], rows)
    counts = Counter(removal.kind for removal in result.removals)
    total = sum(removal.size for removal in result.removals)
    listed = ", ".join(counted(n, plural(kind)) for kind, n in counts.items())
    verb = "would remove" if dry_run else "removed"
    click.echo(f"{verb} {listed or 'nothing'}" + (f" ({size(total)})" if total else ""))
    if result.packed:
        verb = "would pack" if dry_run else "packed"
        click.echo(f"{verb} {counted(result.packed, 'git objects')}")
    if result.size_after is not None:
        click.echo(f"size: {size(result.size_before)} before, {size(result.size_after)} after")
