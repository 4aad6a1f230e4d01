"""``adapterstore prune``."""

from __future__ import annotations

import click

from adapterstore.history.housekeeping.durations import parse_duration
from adapterstore.history.housekeeping.expiry import Ages
from adapterstore.history.housekeeping.gc import collect_garbage
from adapterstore_cli.commands.collecting import dry_run_option, grace_option, tell_collected
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@grace_option
@dry_run_option
@json_option
@click.pass_obj
def command(session: Session, grace: str, dry_run: bool, as_json: bool) -> None:
    """Remove what nothing names any more, and do nothing else that gc does.

    No reflog entry and no rejected update expires, and nothing is packed. What is unreachable
    inside a pack stays until 'adapterstore gc' writes the pack anew.

    \b
    Examples:
      adapterstore prune --dry-run
      adapterstore prune --grace 1h
    """
    seconds = parse_duration(grace, "--grace")
    ages = Ages(grace=seconds, reflog=None, unreachable=None, rejected=None)
    repository = session.open().repository
    result = collect_garbage(
        repository, ages, pack=False, dry_run=dry_run, progress=progress(as_json)
    )
    tell_collected(result, dry_run, as_json)
