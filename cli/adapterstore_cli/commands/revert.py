"""``adapterstore revert``."""

from __future__ import annotations

import click

from adapterstore_cli.output import print_report
from adapterstore_cli.session import (
    Session,
    expect_option,
    message_option,
    progress,
    sign_option,
    tell,
)


@click.command()
@click.argument("revision", metavar="REV|update/ID")
@click.option("--check", is_flag=True, help="Evaluate the facts that are left in the ledger.")
@message_option
@expect_option
@sign_option
@click.pass_obj
def command(
    session: Session, revision: str, check: bool, message: str | None, expect: str | None
) -> None:
    """Take a commit, a range A..B or an update back: the state becomes current − (after − before).

    Whatever came later stays. The ledger goes back too, but for facts that a later update changed;
    those are listed. Reverting what was reverted already does nothing.

    \b
    Examples:
      adapterstore revert update/5ca2598a2a59
      adapterstore revert HEAD
      adapterstore revert main~3 --check
    """
    store = session.open()
    tell(store, store.revert(None, revision, message=message, expect=expect))
    if check:
        from adapterstore.update.asking import evaluate_facts

        print_report(evaluate_facts(store, "HEAD", None, progress()))
