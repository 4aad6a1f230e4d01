"""``adapterstore tag``."""

from __future__ import annotations

import click

from adapterstore.history.branching import Tag
from adapterstore.history.store import Store
from adapterstore_cli.output import print_json, print_table
from adapterstore_cli.session import Session, json_option, sign_option


@click.command()
@click.argument("name", required=False)
@click.argument("revision", required=False, metavar="[REV]")
@click.option("-m", "--message", metavar="TEXT", help="What the tag says (its name).")
@click.option("-d", "--delete", is_flag=True, help="Delete NAME.")
@sign_option
@json_option
@click.pass_obj
def command(
    session: Session,
    name: str | None,
    revision: str | None,
    message: str | None,
    delete: bool,
    as_json: bool,
) -> None:
    """List tags, or make or delete one. Tags are annotated: they say who made them, when and why.

    \b
    Examples:
      adapterstore tag release-2026.11 -m "Served since November"
      adapterstore tag before-merge main~1
      adapterstore tag --json
      adapterstore tag -d before-merge
    """
    store = session.open()
    if as_json and name is not None:
        raise click.UsageError("--json is for the list of tags")
    if name is None:
        if delete or message is not None:
            raise click.UsageError("name a tag")
        _list(store, as_json)
    elif delete:
        if revision is not None or message is not None:
            raise click.UsageError("-d takes the name of one tag")
        commit = store.delete_tag(name)
        click.echo(f"deleted tag {name} (was of {commit[:12]})")
    else:
        commit = store.create_tag(name, revision or "HEAD", message)
        click.echo(f"tag {name} of {commit[:12]} {store.entry(commit).subject}")


def _list(store: Store, as_json: bool) -> None:
    tags = store.tags()
    if as_json:
        print_json([_as_json(tag) for tag in tags])
        return
    rows = [
        [
            tag.name,
            tag.commit[:12],
            tag.time.strftime("%Y-%m-%d %H:%M") if tag.time is not None else "-",
            tag.subject or "-",
        ]
        for tag in tags
    ]
    if rows:
        print_table(["tag", "commit", "time", "message"], rows)


def _as_json(tag: Tag) -> dict[str, object]:
    return {
        "name": tag.name,
        "commit": tag.commit,
        "message": tag.message,
        "tagger": tag.tagger,
        "time": tag.time.isoformat() if tag.time is not None else None,
    }
