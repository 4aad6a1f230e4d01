"""``adapterstore compact``."""

from __future__ import annotations

import click

from adapterstore_cli.session import Session, commit_options, progress, tell


@click.command()
@click.option(
    "--rank", type=click.IntRange(min=1), metavar="R", help="The most to keep (all that there is)."
)
@commit_options
@click.pass_obj
def command(session: Session, rank: int | None, message: str | None, expect: str | None) -> None:
    """Fold the state's LoRA terms into one leaf, whose rank is what an export then has.

    Ranks add up with every update, and servers have a limit. Without --rank nothing but rounding is
    lost; with it, the best adapter of that rank is taken and its relative error is printed and
    kept in the commit. Earlier commits stay as they are, and an earlier update can still be
    reverted.

    \b
    Examples:
      adapterstore compact
      adapterstore compact --rank 64
      adapterstore revert HEAD                 the terms are back, exactly
    """
    from adapterstore.history.compacting import compact

    store = session.open()
    result, compaction = compact(
        store.repository, None, rank, message=message, expect=expect, progress=progress()
    )
    tell(store, result)
    if compaction is not None and result.changed:
        click.echo(
            f"  rank {compaction.rank_before} → {compaction.rank}, "
            f"relative error {compaction.relative_error:.3g}"
        )
