"""``adapterstore revert``."""

from __future__ import annotations

import click

from adapterstore_cli.output import print_report
from adapterstore_cli.session import (
    Session,
    expect_option,
    long_message_option,
    mainline_option,
    progress,
    sign_option,
    tell,
)


@click.command()
@click.argument("revision", metavar="REV|A..B|update/ID")
@mainline_option
@click.option("--check", is_flag=True, help="Evaluate the facts that are left in the ledger.")
@long_message_option
@expect_option
@sign_option
@click.pass_obj
def command(
    session: Session,
    revision: str,
    mainline: int | None,
    check: bool,
    message: str | None,
    expect: str | None,
) -> None:
    """Take a commit, a range A..B or an update back: the state becomes current − (after − before).

    It may lie anywhere in the history; whatever came later stays. The ledger goes back too, but for
    facts that a later update changed; those are listed. Reverting what was reverted already does
    nothing. A merge is reverted against one of its parents: -m 1 takes back what it brought to the
    branch that it was made on. To undo a revert, revert it.

    \b
    Examples:
      adapterstore revert update/5ca2598a2a59
      adapterstore revert main~6..main~3
      adapterstore revert HEAD -m 1            where HEAD is a merge
      adapterstore revert main~3 --check
    """
    store = session.open()
    result = store.revert(None, revision, mainline=mainline, message=message, expect=expect)
    tell(store, result)
    if check:
        from adapterstore.update.asking import evaluate_facts

        print_report(evaluate_facts(store, "HEAD", None, progress()))
