"""``adapterstore forget-data``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import click

from adapterstore_cli.output import print_json
from adapterstore_cli.session import Session, json_option, progress

if TYPE_CHECKING:
    from adapterstore.update.forget_data import Forgotten


@click.command("forget-data")
@click.argument("update", metavar="update/ID")
@click.option("--dry-run", is_flag=True, help="Say what would change; write nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def command(session: Session, update: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take an update's fact file, and all that quotes it, out of the whole history.

    For text that must not be kept. All branches, tags and rejected updates are rewritten from that
    update on: the fact file becomes a notice with its digest, its facts leave the ledger, and
    reports and commit messages that quote it are blanked. The file's name goes from the update's
    own commits; other files may have it. Commit ids change from there on; the old ones are mapped
    to the new ones in .adapterstore/rewrites. Signatures of rewritten commits and tags are lost:
    sign anew. Then the old objects, and all others that nothing names, are removed.

    \b
    What this does not do:
      - The weights stay as they are: the model may still say what it has learned. Take the change
        out of the state with 'adapterstore revert update/ID', before or after; the learned delta
        itself stays in history.
      - Clones and copies made before still hold the text. Each has to be made anew: whoever pulls
        into an old clone, or pushes from it, brings the text back.
      - The daemon's journal and its folders processed/ and rejected/ are not touched.
      - Other updates whose own files state the same are not touched; they are listed.

    \b
    Examples:
      adapterstore forget-data update/5ca2598a2a59 --dry-run
      adapterstore forget-data update/5ca2598a2a59 --yes
    """
    from adapterstore.update.forget_data import forget_data

    repository = session.open().repository
    if not dry_run and not yes:
        # With --json, stdout is the document's alone.
        preview = forget_data(repository, update, dry_run=True)
        _tell(preview, True, err=as_json)
        if not click.confirm("This can't be undone. Go on?", err=as_json):
            click.echo("nothing was changed", err=True)
            if as_json:
                print_json({"dry_run": True, **asdict(preview)})
            return
    result = forget_data(repository, update, dry_run=dry_run, progress=progress(as_json))
    if as_json:
        print_json({"dry_run": dry_run, **asdict(result)})
    else:
        _tell(result, dry_run)


def _tell(result: Forgotten, dry_run: bool, err: bool = False) -> None:
    say = partial(click.echo, err=err)
    would = "would be " if dry_run else ""
    files = ", ".join(result.files) or "no fact file is left"
    say(f"update/{result.update}: {files}")
    say(f"  {len(result.rewritten)} commits and tags {would}rewritten")
    for ref in result.refs:
        say(f"  {ref} {would}moved")
    for lost in result.unsigned:
        say(f"  {lost[:12]} {'would lose' if dry_run else 'lost'} its signature")
    for other in result.also_in:
        say(f"  update/{other} states some of the same in its own file; that stays")
    if not dry_run:
        say(f"  {len(result.removed)} old objects removed")
        say("Clones made before still hold the text: make each of them anew.")
