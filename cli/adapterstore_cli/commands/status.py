"""``adapterstore status``."""

from __future__ import annotations

import click

from adapterstore.counting import counted
from adapterstore.errors import BaseModelUnavailable
from adapterstore.history.base import find_base
from adapterstore.history.leaves import summarize_delta
from adapterstore.history.snapshot import LEDGER
from adapterstore_cli.output import print_json, size
from adapterstore_cli.session import Session, json_option


@click.command()
@json_option
@click.pass_obj
def command(session: Session, as_json: bool) -> None:
    """Show where the store stands: branch, base model, the sum's terms, ranks and bytes.

    \b
    Examples:
      adapterstore status
      adapterstore status --json | jq .rank
    """
    store = session.open()
    branch, tip = store.tip()
    snapshot, entry = store.snapshot(), store.entry()
    deltas = [summarize_delta(store.repository, term.delta) for term in snapshot.composition]
    try:
        weights: str | None = str(find_base(snapshot.base, store.settings))
    except BaseModelUnavailable:
        weights = None
    facts = len(store.repository.files(tip, LEDGER))
    content = {
        "store": str(store.repository.folder),
        "branch": branch.removeprefix("refs/heads/"),
        "commit": tip,
        "subject": entry.subject,
        "base": snapshot.base.name,
        "base_revision": snapshot.base.revision,
        "base_recorded": snapshot.base.digests is not None,
        "base_weights": weights,
        "terms": len(deltas),
        "rank": sum(delta.rank or 0 for delta in deltas),
        "dense_terms": sum(delta.kind == "dense" for delta in deltas),
        "bytes": sum(delta.size for delta in deltas),
        "facts": facts,
    }
    if as_json:
        print_json(content)
        return
    click.echo(f"store    {content['store']}")
    click.echo(f"branch   {content['branch']} at {tip[:12]} {entry.subject}")
    recorded = "digests recorded" if content["base_recorded"] else "not seen yet"
    click.echo(f"base     {snapshot.base.name or 'from the first adapter'} ({recorded})")
    click.echo(f"weights  {weights or 'not at hand; set base.path to use ask, eval and update'}")
    dense = f", {content['dense_terms']} of them dense" if content["dense_terms"] else ""
    click.echo(
        f"state    {counted(len(deltas), 'terms')}{dense}; total rank {content['rank']}; "
        f"{size(sum(delta.size for delta in deltas))} of tensors"
    )
    click.echo(f"ledger   {counted(facts, 'facts')}")
