"""``adapterstore gc``."""

from __future__ import annotations

import click

from adapterstore.history.housekeeping.durations import parse_duration
from adapterstore.history.housekeeping.expiry import Ages
from adapterstore.history.housekeeping.gc import collect_garbage
from adapterstore_cli.commands.collecting import dry_run_option, grace_option, tell_collected
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@grace_option
@click.option(
    "--reflog", default="90d", metavar="TIME", help="Age at which reflog entries go (90d)."
)
@click.option(
    "--unreachable",
    default="30d",
    metavar="TIME",
    help="Age at which reflog entries of commits that no ref reaches go (30d).",
)
@click.option(
    "--rejected", default="30d", metavar="TIME", help="Age at which rejected updates go (30d)."
)
@dry_run_option
@json_option
@click.pass_obj
def command(
    session: Session,
    grace: str,
    reflog: str,
    unreachable: str,
    rejected: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove what nothing names any more, and pack git's objects.

    What a branch, a tag, HEAD or a reflog entry reaches always stays, and so does what a running
    command is about to publish: gc waits for it, or gives up with exit code 5. What nothing
    reaches goes once it is older than the grace period; so do old reflog entries, old rejected
    updates, and the files of killed commands.

    TIME is a number with w, d, h, m or s, or 0, or never. The grace period protects what another
    git process (a push into this store) has written and not named yet: give --grace 0 only if
    there is none. What is removed can't be had back.

    \b
    Examples:
      adapterstore gc --dry-run
      adapterstore gc
      adapterstore gc --grace 2d --rejected never
    """
    ages = Ages(
        grace=parse_duration(grace, "--grace"),
        reflog=parse_duration(reflog, "--reflog"),
        unreachable=parse_duration(unreachable, "--unreachable"),
        rejected=parse_duration(rejected, "--rejected"),
    )
    repository = session.open().repository
    result = collect_garbage(repository, ages, dry_run=dry_run, progress=progress(as_json))
    tell_collected(result, dry_run, as_json)
