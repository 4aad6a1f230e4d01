"""What every verb has at hand: the store's folder, and the options that several verbs share."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapterstore import Store
from adapterstore.errors import BaseModelUnavailable
from adapterstore.history.advance import Result
from adapterstore.history.base import find_base
from adapterstore.progress import NO_PROGRESS, NoProgress, Progress

if TYPE_CHECKING:
    from adapterstore_cli.progress import Bar

_BAR = "adapterstore.bar"
"""Where a verb's context has its progress bar."""
Command = TypeVar("Command", bound=Callable[..., Any])


class Session:
    """What the verbs share; -C has changed the working folder already."""

    sign: bool | None = None
    """What --sign said; None: nothing."""

    def open(self) -> Store:
        """Open the store of the working folder."""
        store = Store.open()
        store.repository.sign = self.sign
        store.repository.waiting = _Waiting(click.get_current_context().meta)
        return store


def progress(quiet: bool = False) -> Progress:
    """Return a progress bar on a terminal, plain lines otherwise."""
    if quiet:
        return NO_PROGRESS
    if sys.stderr is not None and sys.stderr.isatty():
        from adapterstore_cli.progress import Bar

        bar, context = Bar(), click.get_current_context()
        context.meta[_BAR] = weakref.ref(bar)
        # An error keeps the bar alive (its traceback holds it) until it has been told.
        context.call_on_close(partial(_stop, context.meta[_BAR]))
        return bar
    from adapterstore_cli.progress import Lines

    return Lines()


class _Waiting(NoProgress):
    """Says on stderr what is waited for, above the bar if there is one."""

    def __init__(self, shared: dict[str, Any]):
        self._shared = shared

    def note(self, text: str) -> None:
        """Say one line."""
        bar = self._shared[_BAR]() if _BAR in self._shared else None
        if bar is not None:
            bar.note(text)
        else:
            click.echo(text, err=True)


def _stop(bar: weakref.ref[Bar]) -> None:
    if (shown := bar()) is not None:
        shown.stop()


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


def mainline_option(function: Command) -> Command:
    """Add ``-m``, as git's revert and cherry-pick have it."""
    return click.option(
        "-m",
        "--mainline",
        type=click.IntRange(min=1),
        metavar="N",
        help="Of a merge: which parent is the main line (1: the branch it was made on).",
    )(function)


def long_message_option(function: Command) -> Command:
    """Add ``--message`` for verbs whose ``-m`` is git's mainline."""
    return click.option("--message", metavar="TEXT", help="The commit's subject line.")(function)


def sign_option(function: Command) -> Command:
    """Add ``--sign``: the session's store signs what it writes."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool | None) -> None:
        ctx.find_object(Session).sign = value  # type: ignore[union-attr]

    return click.option(
        "-S",
        "--sign/--no-sign",
        default=None,
        expose_value=False,
        callback=remember,
        help="Sign with git's user.signingKey, or do not (git's commit.gpgSign).",
    )(function)


def commit_options(function: Command) -> Command:
    """Add what every verb that puts one commit on the branch takes."""
    return message_option(expect_option(sign_option(function)))


def at_option(function: Command) -> Command:
    """Add ``--at``."""
    return click.option(
        "--at", "revision", default="HEAD", metavar="REV", help="Which state (HEAD)."
    )(function)


def tell(store: Store, result: Result, *, made: bool = True) -> None:
    """Say what a writing verb did, as git does; ``made``: it makes commits."""
    entry = store.entry(result.commit)
    branch = store.tip()[0].removeprefix("refs/heads/")
    if result.changed and made:
        click.echo(f"[{branch} {result.commit[:12]}] {entry.subject}")
    elif result.changed:
        click.echo(f"{branch} is now at {result.commit[:12]} {entry.subject}")
    else:
        click.echo(f"nothing to do: {branch} is at {result.commit[:12]} {entry.subject}")
    for note in result.notes:
        click.echo(f"  {note}")


def tell_missing_weights(store: Store) -> None:
    """Say so where the base's weights are not at hand: a misspelt name or path looks the same."""
    try:
        find_base(store.snapshot().base, store.settings)
    except BaseModelUnavailable as error:
        click.echo(f"  ask, eval and update need its weights: {error}")
