"""``adapterstore eval``."""

from __future__ import annotations

from pathlib import Path

import click

from adapterstore_cli.output import print_json, print_report
from adapterstore_cli.session import Session, at_option, json_option, progress


@click.command("eval")
@click.argument("facts", nargs=-1, metavar="[FACTS...]")
@at_option
@json_option
@click.pass_obj
def command(session: Session, facts: tuple[str, ...], revision: str, as_json: bool) -> None:
    """Measure what a state knows: the facts of files, or those of its own ledger.

    Exact match on greedy generation decides. Reliability is over the facts' prompts, generality
    over their paraphrases, forgetting over their old answers.

    \b
    Examples:
      adapterstore eval
      adapterstore eval prices.yaml --at main~1
    """
    from adapterstore.knowledge.formats import read_fact_file
    from adapterstore.update.asking import evaluate_facts

    store = session.open()
    files = [read_fact_file(Path(name)) for name in facts] or None
    report = evaluate_facts(store, revision, files, progress(as_json))
    if as_json:
        print_json(report.to_dict())
    elif report.scores():
        print_report(report)
    else:
        click.echo("nothing to ask: the ledger of this state is empty; name a fact file")
