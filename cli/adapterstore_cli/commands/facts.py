"""``adapterstore facts``: list the ledger, protect facts of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterstore.history.ledger.reading import iterate_ledger
from adapterstore.knowledge.ledger import LedgerEntry, show_key
from adapterstore_cli.output import print_json_list, print_rows, shorten
from adapterstore_cli.session import Session, at_option, commit_options, json_option, tell

if TYPE_CHECKING:
    from adapterstore.knowledge.facts import FactFile

_COLUMNS = 60


@click.group("facts", invoke_without_command=True)
@click.option("--search", metavar="TEXT", help="Only facts that hold TEXT, in any of their fields.")
@click.option("--update", metavar="ID", help="Only facts that this update said last.")
@click.option("--protected", is_flag=True, help="Only protected facts.")
@click.option(
    "--forgotten", is_flag=True, help="Only facts that were forgotten, without an answer."
)
@click.option("-n", "count", type=click.IntRange(min=1), metavar="N", help="Only the first N.")
@at_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    search: str | None,
    update: str | None,
    protected: bool,
    forgotten: bool,
    count: int | None,
    revision: str,
    as_json: bool,
) -> None:
    """List the ledger: the facts that a state is meant to know, and which update said so.

    TEXT is looked for in prompts, answers, subjects, relations, paraphrases and sources, whatever
    the case. P marks a protected fact: no update may change its answer.

    \b
    Examples:
      adapterstore facts
      adapterstore facts --search アスタナ
      adapterstore facts --update 5ca2598a2a59 --at main~3
      adapterstore facts --json | jq -r '.[] | select(.source == null) | .prompt'
    """
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    store = session.open()
    entries = iterate_ledger(store.repository, store.resolve(revision))
    chosen = islice(_select(entries, search, update, protected, forgotten), count)
    if as_json:
        print_json_list({"key": show_key(entry.key), **asdict(entry)} for entry in chosen)
    else:
        print_rows(["", "prompt", "answer", "update", "source"], map(_row, chosen))


@command.command("protect")
@click.argument("facts", nargs=-1, required=True, metavar="KEY|FILE...")
@commit_options
@click.pass_obj
def protect(
    session: Session, facts: tuple[str, ...], message: str | None, expect: str | None
) -> None:
    """Let no update change these facts to another answer, or forget them.

    KEY is a fact's prompt, "subject, relation", or any prompt that the ledger knows it by. A FILE
    protects all of its facts with their answers, also those that no update ever taught: the model
    is taken to know them. An update that contradicts a protected fact is refused before it trains.

    \b
    Examples:
      adapterstore facts protect "The currency of Croatia is the"
      adapterstore facts protect "Croatia, currency" must-hold.yaml
    """
    from adapterstore.history.ledger.protecting import protect_facts

    store = session.open()
    keys, files = _sort_out(facts)
    tell(
        store,
        protect_facts(store.repository, None, keys, files, message=message, expect=expect),
    )


@command.command("unprotect")
@click.argument("facts", nargs=-1, required=True, metavar="KEY|FILE...")
@commit_options
@click.pass_obj
def unprotect(
    session: Session, facts: tuple[str, ...], message: str | None, expect: str | None
) -> None:
    """Let updates change these facts again.

    A fact that is in the ledger only because a FILE protected it leaves the ledger.

    \b
    Examples:
      adapterstore facts unprotect "Croatia, currency"
      adapterstore facts unprotect must-hold.yaml
    """
    from adapterstore.history.ledger.protecting import unprotect_facts

    store = session.open()
    keys, files = _sort_out(facts)
    tell(
        store,
        unprotect_facts(store.repository, None, keys, files, message=message, expect=expect),
    )


def _sort_out(given: tuple[str, ...]) -> tuple[list[str], list[FactFile]]:
    """Return what names facts, and the facts of what names files."""
    from adapterstore.knowledge.formats import SUFFIXES, read_fact_file

    # What is one word that ends like a file is meant as one, though it may not be there.
    files = [
        text
        for text in given
        if Path(text).is_file() or (" " not in text and Path(text).suffix.lower() in SUFFIXES)
    ]
    keys = [text for text in given if text not in files]
    return keys, [read_fact_file(Path(name)) for name in files]


def _select(
    entries: Iterator[LedgerEntry],
    search: str | None,
    update: str | None,
    protected: bool,
    forgotten: bool,
) -> Iterator[LedgerEntry]:
    wanted = update.removeprefix("update/") if update is not None else None
    for entry in entries:
        if (
            (not protected or entry.protected)
            and (not forgotten or entry.answer is None)
            and (wanted is None or (wanted != "" and entry.update.startswith(wanted)))
            and (search is None or entry.holds(search))
        ):
            yield entry


def _row(entry: LedgerEntry) -> list[str]:
    return [
        "P" if entry.protected else " ",
        shorten(entry.prompt, _COLUMNS),
        shorten(entry.answer, _COLUMNS) if entry.answer is not None else "(forgotten)",
        entry.update or "-",
        shorten(entry.source or "", _COLUMNS),
    ]
