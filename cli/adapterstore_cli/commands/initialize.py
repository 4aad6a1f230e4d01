"""``adapterstore init``."""

from __future__ import annotations

from pathlib import Path

import click

from adapterstore import Store
from adapterstore_cli.session import Session, tell_missing_weights


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--base",
    metavar="NAME|PATH|demo",
    help="The base model: a name on the Hub, a model's folder, or the model that comes with "
    "adapterstore. Without it, the first adapter's config says.",
)
@click.option("--revision", metavar="REV", help="The base's revision on the Hub.")
@click.pass_obj
def command(session: Session, folder: Path | None, base: str | None, revision: str | None) -> None:
    """Make a store in FOLDER (the current one).

    The base's weights need not be at hand: adapters are versioned and composed without them. When
    they are first loaded, their digests are recorded; other weights are an error from then on.

    \b
    Examples:
      adapterstore init --base demo
      adapterstore init --base ./llama-3.2-1b
      adapterstore init --base meta-llama/Llama-3.2-1B --revision 4e20de3
    """
    parent = folder or Path()
    store = Store.init(parent, base, revision)
    recorded = store.snapshot().base
    name = recorded.name or "taken from the first adapter"
    click.echo(f"made a store in {parent / store.repository.folder.name}; base model: {name}")
    if recorded.name is not None:
        tell_missing_weights(store)
