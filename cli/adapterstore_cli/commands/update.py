"""``adapterstore update``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterstore.errors import UpdateRejected
from adapterstore.history.update_report import count_origins
from adapterstore_cli.output import print_json, print_report
from adapterstore_cli.session import Session, json_option, progress, sign_option
from adapterstore_cli.tables import print_table_changes, read_table

if TYPE_CHECKING:
    from adapterstore.update import UpdateResult


METHODS = click.Choice(["lora", "full"])


@click.command()
@click.argument("facts", nargs=-1, required=True, metavar="FACTS...")
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="FACTS is a table. What its columns mean (TABLE.map.yaml beside it, or in the store's "
    "tables/).",
)
@click.option("--dry-run", is_flag=True, help="Train and measure, but publish nothing.")
@click.option("--method", type=METHODS, help="How both phases are trained (lora).")
@click.option("--forget-method", type=METHODS, help="How forgetting is trained, if not alike.")
@click.option("--learn-method", type=METHODS, help="How learning is trained, if not alike.")
@click.option("--no-forget", is_flag=True, help="Learn only; train nothing on the old answers.")
@click.option("--scale", metavar="λ", help="Forget with this λ instead of searching one.")
@click.option(
    "--seed", type=int, help="Of training, and of what is drawn from ledger and suite (0)."
)
@sign_option
@json_option
@click.pass_obj
def command(
    session: Session,
    facts: tuple[str, ...],
    mapping: Path | None,
    dry_run: bool,
    method: str | None,
    forget_method: str | None,
    learn_method: str | None,
    no_forget: bool,
    scale: str | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Forget the old answers of some facts, learn the new ones, and keep the rest.

    FACTS are files: YAML, JSON, JSON Lines or CSV, and CounterFact or zsRE records as they are.
    Several files make one update. Both commits appear at once, if what was measured passes the
    gate (adapterstore config); else the branch stays where it is, the update remains readable as
    update/ID, and the exit code is 13. Facts that are in effect already are not learned again.

    A table (CSV, JSON Lines, Parquet) with a mapping beside it is compared with the ledger, and
    only the cells that differ are learned; see 'adapterstore table diff' and docs/tables.md.

    Each phase is a LoRA adapter or a full fine-tune, in any mix. A fact whose answer is null is
    forgotten only. Where nothing of an earlier update stands any more, it is forgotten by
    subtracting what it learned, exactly and without training; --scale trains all the same.

    An old answer is the file's, else the ledger's, else what the model says itself.

    \b
    Examples:
      adapterstore update croatia-euro.yaml
      adapterstore update drops/*.jsonl --method full --dry-run
      adapterstore update catalogue.csv --mapping catalogue.map.yaml
      adapterstore update prices.csv --forget-method lora --learn-method full
    """
    from adapterstore.knowledge.contradictions import check_contradictions
    from adapterstore.knowledge.formats import read_fact_file
    from adapterstore.update import read_update_settings, run_update

    table = read_table(session, facts, mapping)
    files = [read_fact_file(Path(name)) for name in facts] if table is None else []
    check_contradictions(files)
    store = session.open()
    given: dict[str, Any] = {
        "method": method,
        "forget_method": forget_method,
        "learn_method": learn_method,
        "forget": False if no_forget else None,
        "coefficient": scale,
        "seed": seed,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    recipe, gate = read_update_settings(store.settings, overrides)
    told = progress(as_json)
    if table is not None:
        from adapterstore.update.table_update import update_from_table

        result = update_from_table(
            store, table, recipe=recipe, gate=gate, dry_run=dry_run, progress=told
        )
    else:
        result = run_update(store, files, recipe=recipe, gate=gate, dry_run=dry_run, progress=told)
    if as_json:
        print_json(_as_json(result))
    else:
        _print(result)
    if result.status == "rejected":
        raise UpdateRejected(result.update, result.reasons)


def _as_json(result: UpdateResult) -> dict[str, object]:
    return {
        # Where nothing of a table differs, there is no update.
        "update": None if _did_nothing(result) else result.update,
        "status": result.status,
        "commits": list(result.commits),
        "reasons": result.reasons,
        "refused": result.refused,
        "coefficient": result.coefficient,
        "curve": result.curve,
        "report": result.report.to_dict() if result.report is not None else None,
        "seconds": result.seconds,
        "notes": result.notes,
        **({"table": result.table} if result.table is not None else {}),
        "old_answers": result.old_answers,
        "drift": result.drift,
    }


def _print(result: UpdateResult) -> None:
    says = {
        "applied": "applied",
        "already-applied": "is in effect already; nothing was done",
        "rejected": "was refused",
        "dry-run": "would be refused" if result.reasons else "would be applied",
    }
    if result.table is not None:
        print_table_changes(result.table)
    if _did_nothing(result):
        click.echo("nothing was done")
        return
    click.echo(f"update/{result.update} {says[result.status]}")
    for commit in result.commits:
        click.echo(f"  commit {commit}")
    if result.coefficient is not None:
        click.echo(f"  λ = {result.coefficient}")
    if origins := count_origins(result.old_answers):
        click.echo(f"  old answers: {origins}")
    for note in [*result.notes, *result.reasons]:
        click.echo(f"  {note}")
    for alarm in result.alarms:
        click.echo(f"  alarm: {alarm}")
    if result.report is not None:
        print_report(result.report, "  ", {row["metric"] for row in result.refused})


def _did_nothing(result: UpdateResult) -> bool:
    return result.status == "already-applied" and not result.commits
