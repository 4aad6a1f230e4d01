"""``adapterstore verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterstore.counting import counted
from adapterstore.errors import VerificationFailed
from adapterstore_cli.output import print_json, print_table
from adapterstore_cli.session import Session, json_option, progress

if TYPE_CHECKING:
    from adapterstore.history.audit.findings import Verification
    from adapterstore.update.replay import Replay


@click.command()
@click.argument("revision", required=False, metavar="[REV|A..B|update/ID]")
@click.option("--all", "everything", is_flag=True, help="All that any branch, tag or ref reaches.")
@click.option(
    "--replay", "update", metavar="update/ID", help="Train this update again; compare its deltas."
)
@click.option(
    "--allowed-signers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Whose keys count (git's gpg.ssh.allowedSignersFile).",
)
@click.option("--require-signatures", is_flag=True, help="What nobody allowed signed is a finding.")
@json_option
@click.pass_obj
def command(
    session: Session,
    revision: str | None,
    everything: bool,
    update: str | None,
    allowed_signers: Path | None,
    require_signatures: bool,
    as_json: bool,
) -> None:
    """Compute again what can be computed of every commit of a history (HEAD's); change nothing.

    Compositions, ledgers and suites from the trailers and the parents, ledgers also from the fact
    files, what TIES or DARE merged from its two sides, object ids from the bytes, base.json from
    the weights at hand, signatures from the keys. Each finding names the commit, what, the expected
    and the found. Ends with 18 if there is one.

    With --replay, an update is trained again, from its recorded state, recipe, seed and facts:
    bit-identical on the machine and the versions that are recorded, else the relative difference
    in ΔW is stated, and what is not as recorded. Only a replay that differs where nothing else
    does is a finding. It publishes nothing; objects that nothing names are left for gc.

    \b
    Examples:
      adapterstore verify
      adapterstore verify main~5..main --require-signatures --allowed-signers keys
      adapterstore verify --all --json | jq .findings
      adapterstore verify --replay update/5ca2598a2a59
    """
    if update is not None:
        if revision is not None or everything:
            raise click.UsageError("--replay is about one update; leave REV and --all out")
        _replay(session, update, as_json)
        return
    if everything and revision is not None:
        raise click.UsageError("give REV or --all, not both")
    from adapterstore.update.verification import verify

    verification = verify(
        session.open(),
        None if everything else revision or "HEAD",
        allowed_signers=allowed_signers,
        require_signatures=require_signatures,
        progress=progress(as_json),
    )
    if as_json:
        print_json(
            {
                "findings": [finding.to_dict() for finding in verification.findings],
                "checked": verification.counts,
                "notes": verification.notes,
            }
        )
    else:
        _print(verification)
    if verification.findings:
        shown = "all refs" if everything else revision or "HEAD"
        intact = all(finding.intact for finding in verification.findings)
        raise VerificationFailed(shown, len(verification.findings), intact)


def _print(verification: Verification) -> None:
    for finding in verification.findings:
        click.echo(f"{finding.where}: {finding.what}")
        click.echo(f"  expected  {finding.expected}")
        click.echo(f"  found     {finding.found}")
    for note in verification.notes:
        click.echo(f"note: {note}")
    checked = ", ".join(counted(count, kind) for kind, count in verification.counts.items())
    click.echo(f"{counted(len(verification.findings), 'findings')}; verified {checked}")


def _replay(session: Session, update: str, as_json: bool) -> None:
    from adapterstore.update.replay import replay

    result = replay(session.open(), update, progress(as_json))
    if as_json:
        print_json(
            {
                "update": result.update,
                "identical": result.identical,
                "leaves": [leaf.to_dict() for leaf in result.leaves],
                "differences": result.differences,
                "environment": result.environment,
            }
        )
    else:
        _print_replay(result)
    if not result.identical and not result.environment:
        raise VerificationFailed(f"update/{result.update}", 1)


def _print_replay(result: Replay) -> None:
    says = "bit-identical" if result.identical else "not identical"
    click.echo(f"update/{result.update} trained again: {says}")
    if result.leaves:
        print_table(
            ["phase", "commit", "recorded delta", "delta now", "relative difference in ΔW"],
            [
                [
                    leaf.operation,
                    leaf.commit[:12],
                    leaf.recorded[:12],
                    leaf.replayed[:12],
                    "0 (same bytes)" if leaf.identical else f"{leaf.relative_difference:.2e}",
                ]
                for leaf in result.leaves
            ],
            "  ",
        )
    for difference in result.differences:
        click.echo(f"  {difference}")
    for difference in result.environment:
        click.echo(f"  not as recorded: {difference}")
