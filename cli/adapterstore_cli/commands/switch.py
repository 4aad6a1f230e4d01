"""``adapterstore switch``."""

from __future__ import annotations

import click

from adapterstore_cli.session import Session


@click.command()
@click.argument("branch")
@click.argument("start", required=False, metavar="[REV]")
@click.option("-c", "--create", is_flag=True, help="Make the branch first, at REV (HEAD).")
@click.pass_obj
def command(session: Session, branch: str, start: str | None, create: bool) -> None:
    """Make BRANCH the current one: what the verbs read and move when no other is named.

    No tensor is read or written; the change takes effect at once. '-' is the branch before.

    \b
    Examples:
      adapterstore switch main
      adapterstore switch -c experiment main~2
      adapterstore switch -
    """
    store = session.open()
    if start is not None and not create:
        raise click.UsageError("REV is for -c")
    if create:
        store.create_branch(branch, start or "HEAD")
    tip = store.switch(branch)
    name = store.tip()[0].removeprefix("refs/heads/")
    click.echo(f"on branch {name} at {tip[:12]} {store.entry(tip).subject}")
