"""``adapterstore reset``."""

from __future__ import annotations

import click

from adapterstore_cli.session import Session, expect_option, tell


@click.command()
@click.argument("revision", metavar="REV")
@expect_option
@click.pass_obj
def command(session: Session, revision: str, expect: str | None) -> None:
    """Move the current branch to REV, forward or back.

    Nothing is lost: the commits that it leaves stay in the store until gc finds them older than the
    reflog's expiry, and 'adapterstore reflog' names them. To take a change back and keep what came
    after it, use 'adapterstore revert'.

    \b
    Examples:
      adapterstore reset HEAD~1
      adapterstore reset main@{1}              undo the last reset, merge or commit
    """
    store = session.open()
    tell(store, store.reset(None, revision, expect=expect), made=False)
