"""``adapterstore drift``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapterstore_cli.output import drift_line, number, print_json, print_table
from adapterstore_cli.session import Session, json_option, progress

if TYPE_CHECKING:
    from adapterstore.history.viewing.drift import DriftPoint


@click.command()
@click.argument("revision", default="HEAD", metavar="[REV]")
@click.option("--model", is_flag=True, help="Compute the held text's perplexity (loads the base).")
@click.option(
    "-n", "limit", type=click.IntRange(min=0), default=20, metavar="N", help="Updates shown (20)."
)
@json_option
@click.pass_obj
def command(session: Session, revision: str, model: bool, limit: int, as_json: bool) -> None:
    """Show how far a state is from the base, and how the updates led there.

    The norm of the change, its ranks, the figures of each update, and the perplexity of a text
    that no update holds (drift.held_text, else texts sampled from the base). An alarm is raised
    where the perplexity rises, the norm grows faster than linearly, or retention or locality sink
    (adapterstore config, section drift). It stops nothing, unless gate.drift is true.

    \b
    Examples:
      adapterstore drift
      adapterstore drift main~10 --model
      adapterstore drift --json | jq .alarms
    """
    from adapterstore.update.drift import read_drift

    store = session.open()
    found = read_drift(store, revision, with_model=model, limit=limit, progress=progress(as_json))
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(f"{revision}: {drift_line(found.now.to_dict())}")
    for alarm in found.alarms:
        click.echo(f"alarm: {alarm}")
    if found.trend:
        click.echo()
        header = ["update", "‖ΔW‖", "of base", "rank", "eff. rank"]
        header += ["retention", "locality", "perplexity"]
        print_table(header, [_row(point) for point in found.trend])


def _row(point: DriftPoint) -> list[str]:
    relative = point.relative_norm
    return [
        str(point.update),
        number(point.norm),
        "-" if relative is None else f"{relative:.2%}",
        str(point.rank),
        number(point.effective_rank, 3),
        number(point.retention, 3),
        number(point.locality, 3),
        number(point.perplexity),
    ]
