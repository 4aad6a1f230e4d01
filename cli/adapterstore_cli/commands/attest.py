"""``adapterstore attest``."""

from __future__ import annotations

from pathlib import Path

import click

from adapterstore_cli.output import write_output
from adapterstore_cli.session import Session


@click.command()
@click.argument("update", metavar="update/ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write it (the terminal).",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEY",
    help="A private key without passphrase, PEM or OpenSSH (git's user.signingKey).",
)
@click.pass_obj
def command(session: Session, update: str, output: Path | None, key: Path | None) -> None:
    """Write a signed in-toto statement about an update: a DSSE envelope with SLSA provenance.

    It names the update's tensor files by SHA-256 and its commits, and says from which facts,
    recipe and base they were made, with which versions, and what was measured. Needs
    pip install 'adapterstore[attest]'.

    \b
    Examples:
      adapterstore attest update/5ca2598a2a59 -o croatia.intoto.json --key ~/.ssh/id_ed25519
      adapterstore attest update/5ca2598a2a59 | jq -r .payload | base64 -d | jq .subject
    """
    from adapterstore.update.attestation import attest

    envelope = attest(session.open(), update, key)
    if output is None:
        click.echo(envelope.decode(), nl=False)
    else:
        write_output(output, envelope)
        click.echo(f"wrote {output}")
