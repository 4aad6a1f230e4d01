"""``adapterstore branch``."""

from __future__ import annotations

import click

from adapterstore.history.branching import Branch
from adapterstore.history.store import Store
from adapterstore_cli.output import print_json, width
from adapterstore_cli.session import Session, json_option


@click.command()
@click.argument("name", required=False)
@click.argument("start", required=False, metavar="[REV]")
@click.option("-d", "--delete", is_flag=True, help="Delete NAME.")
@click.option("-m", "--move", is_flag=True, help="Rename NAME to the second argument.")
@click.option("-f", "--force", is_flag=True, help="Delete though commits would be left behind.")
@click.option("-v", "--verbose", is_flag=True, help="List the branches with what they are at.")
@json_option
@click.pass_obj
def command(
    session: Session,
    name: str | None,
    start: str | None,
    delete: bool,
    move: bool,
    force: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """List branches, or make, rename or delete one.

    With a NAME, makes a branch at REV (HEAD) and stays where it is; 'adapterstore switch -c' also
    changes to it. A branch is only deleted if another branch or a tag reaches all its commits, or
    with --force; the commits stay until gc, and the reflog of HEAD names those made on it.

    \b
    Examples:
      adapterstore branch -v
      adapterstore branch experiment main~2
      adapterstore branch -m experiment prices-2026
      adapterstore branch -d experiment
    """
    store = session.open()
    if delete and move:
        raise click.UsageError("-d and -m exclude each other")
    if force and not delete:
        raise click.UsageError("--force is for -d")
    if as_json and (name is not None or delete or move):
        raise click.UsageError("--json is for the list of branches")
    if delete:
        if name is None or start is not None:
            raise click.UsageError("-d takes the name of one branch")
        tip = store.delete_branch(name, force=force)
        click.echo(f"deleted branch {name} (was {tip[:12]})")
    elif move:
        if name is None:
            raise click.UsageError("-m takes the old and the new name, or the new one alone")
        store.rename_branch(name if start is not None else None, start or name)
    elif name is not None:
        tip = store.create_branch(name, start or "HEAD")
        click.echo(f"branch {name} at {tip[:12]}")
    else:
        _list(store, verbose, as_json)


def _list(store: Store, verbose: bool, as_json: bool) -> None:
    branches = store.branches()
    if as_json:
        print_json([_as_json(branch) for branch in branches])
        return
    longest = max((width(branch.name) for branch in branches), default=0)
    for branch in branches:
        mark = "*" if branch.current else " "
        entry = branch.entry
        more = " " * (longest - width(branch.name)) + f"  {entry.commit[:12]}  {entry.subject}"
        click.echo(f"{mark} {branch.name}{more if verbose else ''}")


def _as_json(branch: Branch) -> dict[str, object]:
    return {
        "name": branch.name,
        "current": branch.current,
        "commit": branch.entry.commit,
        "subject": branch.entry.subject,
        "time": branch.entry.time.isoformat(),
    }
