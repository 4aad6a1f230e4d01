"""``adapterstore subtract``."""

from __future__ import annotations

import click

from adapterstore_cli.session import Session, expect_option, message_option, progress, tell


@click.command()
@click.argument("operand")
@click.option("--scale", default="1", metavar="c", help="The coefficient, an exact decimal (1).")
@message_option
@expect_option
@click.pass_obj
def command(
    session: Session, operand: str, scale: str, message: str | None, expect: str | None
) -> None:
    """Subtract an operand from the state, exactly: θ becomes θ − c·operand.

    OPERAND is a revision (its whole state), a range A..B (what changed between two states),
    update/ID (what an update changed), or a path as for 'adapterstore commit'. No tensor is
    computed; the sum is kept as a formula, and can be undone to the last bit.

    \b
    Examples:
      adapterstore subtract ./style-adapter --scale 0.5
      adapterstore subtract update/5ca2598a2a59
      adapterstore subtract main~3..main~1 --scale -0.7
    """
    store = session.open()
    result = store.subtract(
        None,
        session.path(operand),
        coefficient=scale,
        message=message,
        expect=expect,
        progress=progress(),
    )
    tell(store, result)
