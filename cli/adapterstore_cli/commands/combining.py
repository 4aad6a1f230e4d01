"""What ``add`` and ``subtract`` have in common: all but the sign."""

from __future__ import annotations

from typing import Literal

import click

from adapterstore_cli.session import Session, commit_options, progress, tell

HELP = """{sentence}

OPERAND is a revision (its whole state), a range A..B (what changed between two states),
update/ID (what an update changed), or a path as for 'adapterstore commit'. No tensor is
computed; the sum is kept as a formula, and can be undone to the last bit.

\b
Examples:
  adapterstore {verb} ./style-adapter --scale 0.5
  adapterstore {verb} update/5ca2598a2a59
  adapterstore {verb} main~3..main~1 --scale -0.7
"""


def combining_command(verb: Literal["add", "subtract"], sentence: str) -> click.Command:
    """Return the command of a verb; ``sentence`` says what it does."""

    @click.command(verb, help=HELP.format(verb=verb, sentence=sentence))
    @click.argument("operand")
    @click.option(
        "--scale", default="1", metavar="c", help="The coefficient, an exact decimal (1)."
    )
    @commit_options
    @click.pass_obj
    def command(
        session: Session, operand: str, scale: str, message: str | None, expect: str | None
    ) -> None:
        store = session.open()
        combine = store.add if verb == "add" else store.subtract
        result = combine(
            None,
            operand,
            coefficient=scale,
            message=message,
            expect=expect,
            progress=progress(),
        )
        tell(store, result)

    return command
