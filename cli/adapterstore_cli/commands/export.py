"""``adapterstore export``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from adapterstore_cli.session import Session, progress

if TYPE_CHECKING:
    from adapterstore.history.export import ExportKind


@click.command()
@click.argument("revision", metavar="REV")
@click.argument("target", metavar="DIR")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["lora", "delta", "model"]),
    help="One PEFT adapter, one dense delta, or the merged model (default: lora where every term "
    "is one, else delta).",
)
@click.option(
    "--rank", type=click.IntRange(min=1), metavar="R", help="Fold the lora to rank R at most."
)
@click.pass_obj
def command(
    session: Session, revision: str, target: str, kind: str | None, rank: int | None
) -> None:
    """Write a state into a new folder DIR, for peft, transformers or a server to load.

    As lora, ranks are concatenated, which is exact; the scaling is 1 and every module has one rank,
    so that servers read it right. As model, each weight is summed in float64 and rounded once.

    A lora's adapter_config.json names the base as peft finds it: by its name on the Hub, or, where
    the store was made with a local folder, by that folder's path on this machine. To share such an
    adapter, put the base's name on the Hub there.

    Where a server takes no such rank, --rank folds the sum to the best adapter of that rank and
    says what is lost; up to rounding, nothing is where R is the numerical rank.

    \b
    Examples:
      adapterstore export HEAD ./serve
      adapterstore export HEAD ./serve-16 --rank 16
      adapterstore export main~1 ./merged --as model
    """
    store = session.open()
    chosen = cast("ExportKind | None", kind)
    written = store.export(revision, target, chosen, progress(), rank)
    click.echo(f"wrote {revision} as {written.kind} to {target}")
    if written.relative_error is not None:
        click.echo(f"  rank {written.rank}, relative error {written.relative_error:.3g}")
