"""``adapterstore eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterstore_cli.output import print_json, print_report, print_table
from adapterstore_cli.session import Session, at_option, json_option, progress

if TYPE_CHECKING:
    from adapterstore.evaluation.effect import Effect

_SHOWN = 10


@click.command("eval")
@click.argument("facts", nargs=-1, metavar="[FACTS...]")
@at_option
@click.option(
    "--after",
    "after",
    multiple=True,
    metavar="EFFECT",
    help="Measure before and after quantize-8bit, quantize-4bit, relearn or relearn=FILE.",
)
@json_option
@click.pass_obj
def command(
    session: Session, facts: tuple[str, ...], revision: str, after: tuple[str, ...], as_json: bool
) -> None:
    """Measure what a state knows: the facts of files, or those of its own ledger.

    Exact match on greedy generation decides. Reliability is over the facts' prompts, generality
    over their paraphrases, forgetting over their old answers. As with ask, a commit records a base
    whose weights are seen for the first time.

    With --after, the merged state is asked before and after what may be done to it later: do the
    forgotten answers come back, are new ones lost? quantize-8bit and quantize-4bit round the
    weights (extra 'quantize': torchao); relearn fine-tunes it for a few steps on the lines of FILE,
    or on texts of the base's own that name none of the facts. Old answers are those of the files,
    else those that the ledger had before, else what the base says; locality is against the base.
    --after may be given several times; each effect begins from the state itself.

    \b
    Examples:
      adapterstore eval
      adapterstore eval prices.yaml --at main~1
      adapterstore eval --after quantize-4bit --after relearn=news.txt
    """
    from adapterstore.knowledge.formats import read_fact_file
    from adapterstore.update.asking import evaluate_facts

    if after:
        _after_effects(session, facts, revision, after, as_json)
        return
    store = session.open()
    files = [read_fact_file(Path(name)) for name in facts] or None
    report = evaluate_facts(store, revision, files, progress(as_json))
    if as_json:
        print_json(report.to_dict())
    elif report.scores():
        print_report(report)
    else:
        click.echo("nothing to ask: the ledger of this state has no answers; name a fact file")


def _after_effects(
    session: Session, facts: tuple[str, ...], revision: str, after: tuple[str, ...], as_json: bool
) -> None:
    from adapterstore.knowledge.formats import read_fact_file
    from adapterstore.update.after_effects import Intervention, measure_after_effects

    interventions = [Intervention.parse(text) for text in dict.fromkeys(after)]
    files = [read_fact_file(Path(name)) for name in facts] or None
    store = session.open()
    found = measure_after_effects(store, revision, interventions, files, progress(as_json))
    if as_json:
        print_json(found.to_dict())
        return
    told = [f"{count} from the {origin}" for origin, count in found.old_answers.items() if count]
    click.echo(f"old answers: {', '.join(told) or 'none'}")
    for effect in found.effects:
        _print_effect(effect)


def _print_effect(effect: Effect) -> None:
    click.echo(f"\nafter {effect.name} ({effect.told})")
    rows = [
        [
            shift.figure,
            f"{shift.before / shift.asked:.3f} → {shift.after / shift.asked:.3f}",
            f"{shift.before} → {shift.after} of {shift.asked}",
            f"{shift.lost} lost",
            f"{shift.gained} gained",
        ]
        for shift in effect.shifts
    ]
    print_table(["figure", "share", "prompts", "", ""], rows, "  ")
    for turned in effect.turned[:_SHOWN]:
        question = turned.question
        click.echo(
            f"  {'+' if turned.right else '-'} {question.figure}: {question.prompt!r}: "
            f"{turned.before!r} → {turned.after!r}"
        )
    if (more := len(effect.turned) - _SHOWN) > 0:
        click.echo(f"  … and {more} more (--json lists them all)")
