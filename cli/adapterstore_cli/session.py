"""What every verb has at hand: the store's folder, and the options that several verbs share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from adapterstore import Store
from adapterstore.history.advance import Result
from adapterstore.progress import NO_PROGRESS, Progress

Command = TypeVar("Command", bound=Callable[..., Any])


class Session:
    """What the verbs share; -C has changed the working folder already."""

    def open(self) -> Store:
        """Open the store of the working folder."""
        return Store.open()


def progress(quiet: bool = False) -> Progress:
    """Return a progress bar on a terminal, plain lines otherwise."""
    if quiet:
        return NO_PROGRESS
    if sys.stderr is not None and sys.stderr.isatty():
        from adapterstore_cli.progress import Bar

        return Bar()
    from adapterstore_cli.progress import Lines

    return Lines()


def json_option(function: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(
        function
    )


def message_option(function: Command) -> Command:
    """Add ``--message``."""
    return click.option("-m", "--message", metavar="TEXT", help="The commit's subject line.")(
        function
    )


def expect_option(function: Command) -> Command:
    """Add ``--expect``."""
    return click.option(
        "--expect",
        metavar="REV",
        help="Move the branch only from REV. Run again after a crash, the same command finds its "
        "own commit and makes no second one.",
    )(function)


def at_option(function: Command) -> Command:
    """Add ``--at``."""
    return click.option(
        "--at", "revision", default="HEAD", metavar="REV", help="Which state (HEAD)."
    )(function)


def tell(store: Store, result: Result) -> None:
    """Say what a writing verb did, as git does."""
    entry = store.entry(result.commit)
    branch = store.tip()[0].removeprefix("refs/heads/")
    if result.changed:
        click.echo(f"[{branch} {result.commit[:12]}] {entry.subject}")
    else:
        click.echo(f"nothing to do: {branch} is at {result.commit[:12]} {entry.subject}")
    for note in result.notes:
        click.echo(f"  {note}")
