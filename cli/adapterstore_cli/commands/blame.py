"""``adapterstore blame``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from adapterstore.history.ledger.blame import AnswerChange, Blame, blame_fact
from adapterstore.knowledge.ledger import LedgerEntry, show_key
from adapterstore_cli.output import print_json, print_table, shorten
from adapterstore_cli.session import Session, at_option, json_option, progress

if TYPE_CHECKING:
    from adapterstore.update.bisecting import Bisection

_COLUMNS = 48


@click.command()
@click.argument("prompt", metavar="PROMPT")
@at_option
@click.option("--all", "show_all", is_flag=True, help="Every answer before it, not just the last.")
@click.option("--model", is_flag=True, help="Ask the states along the history, not the ledger.")
@json_option
@click.pass_obj
def command(
    session: Session, prompt: str, revision: str, show_all: bool, model: bool, as_json: bool
) -> None:
    """Which commit made the model answer so?

    By the ledger, at once: the answer, the commit, update, fact file and line that gave it, and the
    answer before it; changes that were taken back count. PROMPT is a fact's prompt,
    "subject, relation", or any prompt that the ledger knows the fact by.

    With --model, by what the states themselves answer, for any prompt at all: the answer of the
    newest state, then the first-parent history is halved until a commit is found whose state gives
    that answer and whose parent's does not. Of n states at most ⌈log₂ n⌉ + 2 are asked; answers are
    remembered. If the answer changed to and fro, the commit found is one of the changes. As with
    ask, a commit records a base whose weights are seen for the first time.

    \b
    Examples:
      adapterstore blame "The currency of Croatia is the"
      adapterstore blame "Croatia, currency" --all
      adapterstore blame "カザフスタンの首都は" --model
    """
    store = session.open()
    if model:
        from adapterstore.update.bisecting import bisect_answer

        bisection = bisect_answer(store, prompt, revision, progress=progress(as_json))
        if as_json:
            print_json(bisection_json(session, bisection))
        else:
            print_bisection(session, bisection)
        return
    blame = blame_fact(store.repository, store.resolve(revision), prompt)
    if as_json:
        print_json(_as_json(blame))
    else:
        _print(blame, len(blame.changes) if show_all else 2)


def _print(blame: Blame, most: int) -> None:
    newest = blame.newest
    protected = "  (protected)" if blame.now is not None and blame.now.protected else ""
    click.echo(f"fact     {show_key(blame.key)}{protected}")
    if blame.now is not None and blame.now.prompt != blame.key:
        click.echo(f"prompt   {blame.now.prompt}")
    click.echo(f"answer   {_answer(blame.now)}")
    _print_change(newest)
    for merge in blame.merges:
        click.echo(f"merged   by {merge[:12]}")
    taught = blame.taught
    if taught is not None and taught != newest:
        click.echo("taught by")
        _print_change(taught)
    click.echo()
    rows = [
        [
            change.commit[:12],
            f"{change.entry.time:%Y-%m-%d %H:%M}",
            change.entry.operation or "?",
            f"update/{change.entry.update}" if change.entry.update else "",
            shorten(_answer(change.before), _COLUMNS),
            shorten(_answer(change.after), _COLUMNS),
        ]
        for change in blame.changes[:most]
    ]
    print_table(["commit", "date", "operation", "", "from", "to"], rows)
    if (left := len(blame.changes) - most) > 0:
        click.echo(f"and {left} before {'it' if left == 1 else 'them'}: --all")


def _print_change(change: AnswerChange) -> None:
    entry = change.entry
    click.echo(f"commit   {change.commit}  {entry.subject}")
    click.echo(f"author   {entry.author}, {entry.time:%Y-%m-%d %H:%M %z}")
    if entry.update:
        click.echo(f"update   update/{entry.update}")
    for name, line in change.files:
        click.echo(f"file     {name if line is None else f'{name}:{line}'}")
    if change.after is not None and change.after.source:
        click.echo(f"source   {change.after.source}")


def _answer(entry: LedgerEntry | None) -> str:
    if entry is None:
        return "(not in the ledger)"
    return entry.answer if entry.answer is not None else "(forgotten)"


def _as_json(blame: Blame) -> dict[str, object]:
    taught = blame.taught
    return {
        "key": show_key(blame.key),
        "now": _entry_json(blame.now),
        "commit": blame.newest.commit,
        "taught": taught.commit if taught is not None else None,
        "merges": list(blame.merges),
        "changes": [
            {
                "commit": change.commit,
                "author": change.entry.author,
                "time": change.entry.time.isoformat(),
                "subject": change.entry.subject,
                "operation": change.entry.operation,
                "update": change.entry.update,
                "before": _entry_json(change.before),
                "after": _entry_json(change.after),
                "files": [{"name": name, "line": line} for name, line in change.files],
            }
            for change in blame.changes
        ],
    }


def _entry_json(entry: LedgerEntry | None) -> dict[str, object] | None:
    return asdict(entry) if entry is not None else None


def print_bisection(session: Session, found: Bisection) -> None:
    """Print what the states along a history answered."""
    click.echo(f"prompt   {found.prompt}")
    if found.commit is not None:
        entry = session.open().entry(found.commit)
        click.echo(f"answer   {found.answer}  {'given' if found.gives else 'not given any more'}")
        click.echo(f"commit   {found.commit}  {entry.subject}")
        click.echo(f"author   {entry.author}, {entry.time:%Y-%m-%d %H:%M %z}")
        if entry.update:
            click.echo(f"update   update/{entry.update}")
        click.echo(f"says     {found.after}")
        click.echo(f"before   {found.before}  (its parent)")
    else:
        click.echo(f"answer   {found.after}")
        also = "also gives this answer" if found.gives else "does not give it either"
        click.echo(f"commit   none: the oldest state {also}; what lies between was not asked")
    click.echo(
        f"asked    {found.evaluations} of {found.states} states (at most {found.most}); "
        f"{found.remembered} remembered"
    )


def bisection_json(session: Session, found: Bisection) -> dict[str, object]:
    """Return what ``--json`` prints of it."""
    entry = session.open().entry(found.commit) if found.commit is not None else None
    return {
        **found.to_dict(),
        "subject": entry.subject if entry is not None else None,
        "update": entry.update if entry is not None else None,
    }
