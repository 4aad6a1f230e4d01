"""``adapterstore commit``."""

from __future__ import annotations

import click

from adapterstore_cli.session import Session, commit_options, progress, tell


@click.command()
@click.argument("path")
@commit_options
@click.pass_obj
def command(session: Session, path: str, message: str | None, expect: str | None) -> None:
    """Make the state exactly what lies at PATH: a snapshot, as git's commit is one.

    PATH is a PEFT LoRA folder, a delta folder, or a fine-tuned model (whose difference from the
    base is stored), or the safetensors file in one of these. To put it on top of what is there, use
    'adapterstore add'.

    \b
    Examples:
      adapterstore commit ./out/checkpoint-500
      adapterstore commit ./support-bot -m "Support bot, November"
    """
    store = session.open()
    result = store.commit(None, path, message=message, expect=expect, progress=progress())
    tell(store, result)
