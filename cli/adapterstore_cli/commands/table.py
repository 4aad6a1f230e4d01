"""``adapterstore table``: compare a table with the ledger, record what the model knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from adapterstore_cli.output import print_json
from adapterstore_cli.session import (
    Session,
    at_option,
    json_option,
    message_option,
    progress,
    sign_option,
    tell,
)
from adapterstore_cli.tables import print_table_changes

Command = TypeVar("Command", bound=Callable[..., Any])


def mapping_option(function: Command) -> Command:
    """Add ``--mapping``."""
    return click.option(
        "--mapping",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What its columns mean (TABLE.map.yaml beside it, or in the store's tables/).",
    )(function)


@click.group("table")
def command() -> None:
    """Tables whose cells are facts: CSV, JSON Lines or Parquet beside a mapping.

    The mapping names the key column and, for each column, the prompts that ask for its cells; see
    docs/tables.md. 'adapterstore update TABLE' learns the cells that differ from the ledger.

    \b
    Examples:
      adapterstore table diff catalogue.csv
      adapterstore table import catalogue.csv --ask
      adapterstore update catalogue.csv
    """


@command.command("diff")
@click.argument("table", type=click.Path(path_type=Path))
@mapping_option
@at_option
@json_option
@click.pass_obj
def diff(session: Session, table: Path, mapping: Path | None, revision: str, as_json: bool) -> None:
    """Show which cells of TABLE differ from the ledger: what an update would learn or forget.

    No model is loaded, and nothing is written.

    \b
    Examples:
      adapterstore table diff catalogue.csv
      adapterstore table diff 商品.csv --mapping catalogue.map.yaml --at v1
      adapterstore table diff catalogue.csv --json | jq '.cells'
    """
    from adapterstore.knowledge.tables.reading import read_mapped_table
    from adapterstore.update.table_plan import plan_table

    store = session.open()
    mapped = read_mapped_table(table, mapping, store.repository.folder)
    found = plan_table(store.repository, store.resolve(revision), mapped).to_dict()
    if as_json:
        print_json(found)
    else:
        print_table_changes(found)


@command.command("import")
@click.argument("table", type=click.Path(path_type=Path))
@mapping_option
@click.option("--ask", "ask_model", is_flag=True, help="Record only what the model answers so.")
@message_option
@sign_option
@json_option
@click.pass_obj
def import_(
    session: Session,
    table: Path,
    mapping: Path | None,
    ask_model: bool,
    message: str | None,
    as_json: bool,
) -> None:
    """Record the cells of TABLE that the ledger has not, without training: the model knows them.

    For a model that was trained on an earlier version of the table. One commit, which changes the
    ledger and no weight. With --ask the model is asked every new cell's prompt, and what it answers
    otherwise is left for 'adapterstore update' to learn. Cells of which the ledger says something
    else are left, too.

    \b
    Examples:
      adapterstore table import catalogue.csv
      adapterstore table import catalogue.parquet --ask
    """
    from adapterstore.knowledge.tables.reading import read_mapped_table
    from adapterstore.update.table_import import import_table

    store = session.open()
    mapped = read_mapped_table(table, mapping, store.repository.folder)
    done = import_table(
        store, mapped, ask_model=ask_model, message=message, progress=progress(as_json)
    )
    left = len(done.plan.changes) - done.recorded
    if as_json:
        print_json(
            {
                "commit": done.result.commit,
                "changed": done.result.changed,
                "recorded": done.recorded,
                "unknown": [change.to_dict() for change in done.unknown],
                "left": left,
            }
        )
        return
    tell(store, done.result)
    click.echo(f"  {done.recorded:,} cells recorded, {done.plan.same:,} were in the ledger")
    if done.unknown:
        click.echo(f"  {len(done.unknown):,} cells are answered otherwise by the model")
    if left:
        click.echo(f"  {left:,} cells are left to be learned: adapterstore update {table}")
