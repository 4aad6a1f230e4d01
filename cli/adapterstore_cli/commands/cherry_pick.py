"""``adapterstore cherry-pick``."""

from __future__ import annotations

import click

from adapterstore_cli.session import (
    Session,
    expect_option,
    long_message_option,
    mainline_option,
    sign_option,
    tell,
)


@click.command("cherry-pick")
@click.argument("revision", metavar="REV|A..B|update/ID")
@mainline_option
@long_message_option
@expect_option
@sign_option
@click.pass_obj
def command(
    session: Session,
    revision: str,
    mainline: int | None,
    message: str | None,
    expect: str | None,
) -> None:
    """Bring a change from another branch, with its facts: the state becomes + (after − before).

    A range A..B is what B has and A does not; it makes one commit. Facts come under the update that
    taught them. If this branch has another answer to one of them, nothing is done and the exit code
    is 16. What is in effect here already is not brought again; a merge later counts it once.

    \b
    Examples:
      adapterstore cherry-pick update/5ca2598a2a59
      adapterstore cherry-pick experiment~2
      adapterstore cherry-pick main..experiment
    """
    store = session.open()
    tell(
        store,
        store.cherry_pick(None, revision, mainline=mainline, message=message, expect=expect),
    )
