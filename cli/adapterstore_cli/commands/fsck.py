"""``adapterstore fsck``."""

from __future__ import annotations

from dataclasses import asdict

import click

from adapterstore.counting import counted
from adapterstore.errors import CorruptStore
from adapterstore.history.fsck import fsck
from adapterstore_cli.output import print_json
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@json_option
@click.pass_obj
def command(session: Session, as_json: bool) -> None:
    """Check every object, tree, sum and ref of the store; change nothing.

    All bytes are hashed: git's objects, and the tensor files. Ends with 6 if anything is wrong.

    \b
    Examples:
      adapterstore fsck
      adapterstore fsck --json | jq .problems
    """
    findings = fsck(session.open().repository, progress(as_json))
    if as_json:
        problems = [asdict(problem) for problem in findings.problems]
        print_json({"problems": problems, "checked": findings.counts})
    else:
        for problem in findings.problems:
            click.echo(f"{problem.where}: {problem.problem}")
        checked = ", ".join(counted(count, kind) for kind, count in findings.counts.items())
        click.echo(f"{counted(len(findings.problems), 'problems')}; checked {checked}")
    if findings.problems:
        raise click.exceptions.Exit(CorruptStore.exit_code)
