"""``adapterstore suite``: the prompts that every update must leave alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterstore_cli.output import print_json_list, print_rows, shorten
from adapterstore_cli.session import Session, at_option, commit_options, json_option, tell

if TYPE_CHECKING:
    from adapterstore.knowledge.suite import SuitePrompt

_COLUMNS = 60
_DIGITS = 12


@click.group("suite")
def command() -> None:
    """Keep a regression suite: prompts whose answers every update must leave as they are.

    The suite belongs to the branch and is versioned with it. An update preserves its prompts in
    training and measures them afterwards (recipe.suite_prompts bounds how many); if fewer of them
    than gate.suite are answered as before, the update is refused and the prompts are named.

    \b
    Examples:
      adapterstore suite add must-stay.yaml
      adapterstore suite list
      adapterstore suite remove "The capital of Italy is"
    """


@command.command("add")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@commit_options
@click.pass_obj
def add(session: Session, files: tuple[str, ...], message: str | None, expect: str | None) -> None:
    """Put the prompts of fact files into the suite.

    Of each fact these are its prompt and paraphrases with its answer, and its locality prompts. A
    prompt whose answer is null has to be answered as it was before each update. A prompt that is
    there already gets the answer of the file.

    \b
    Examples:
      adapterstore suite add must-stay.yaml
      adapterstore suite add smoke/*.jsonl -m "Smoke tests of 2026"
    """
    from adapterstore.history.ledger.suite import add_to_suite
    from adapterstore.knowledge.formats import read_fact_file

    read = [read_fact_file(Path(name)) for name in files]
    store = session.open()
    tell(store, add_to_suite(store.repository, None, read, message=message, expect=expect))


@command.command("list")
@at_option
@json_option
@click.pass_obj
def list_prompts(session: Session, revision: str, as_json: bool) -> None:
    """List the prompts of the suite, with the answers that they must get.

    \b
    Examples:
      adapterstore suite list
      adapterstore suite list --at main~3 --json
    """
    from adapterstore.history.ledger.suite import iterate_suite

    store = session.open()
    prompts = iterate_suite(store.repository, store.resolve(revision))
    if as_json:
        print_json_list({"key": prompt.digest, **asdict(prompt)} for prompt in prompts)
    else:
        print_rows(["key", "prompt", "answer", "source"], _rows(prompts))


@command.command("remove")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@commit_options
@click.pass_obj
def remove(
    session: Session, keys: tuple[str, ...], message: str | None, expect: str | None
) -> None:
    """Take prompts out of the suite.

    KEY is a prompt, or a key as the list shows it (its first 12 digits do).

    \b
    Examples:
      adapterstore suite remove "The capital of Italy is"
      adapterstore suite remove 3f786850e387
    """
    from adapterstore.history.ledger.suite import remove_from_suite

    store = session.open()
    tell(store, remove_from_suite(store.repository, None, keys, message=message, expect=expect))


def _rows(prompts: Iterator[SuitePrompt]) -> Iterator[list[str]]:
    for prompt in prompts:
        answer = "(as before)" if prompt.answer is None else shorten(prompt.answer, _COLUMNS)
        source = shorten(prompt.source or "", _COLUMNS)
        yield [prompt.digest[:_DIGITS], shorten(prompt.prompt, _COLUMNS), answer, source]
