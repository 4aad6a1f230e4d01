"""``adapterstore diff``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from adapterstore.algebra.compare import ModuleDifference
from adapterstore.counting import counted
from adapterstore.history.ledger.factdiff import FactChange, changed_facts, count_facts
from adapterstore.history.operands import resolve_change
from adapterstore.history.viewing.stat import TermChange, changed_terms
from adapterstore.history.viewing.statediff import compare_modules, total_of
from adapterstore_cli.output import fact_counts, number, print_facts, print_json, print_table
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@click.argument("left", metavar="A|A..B")
@click.argument("right", metavar="[B]", required=False)
@click.option("--facts", "by_fact", is_flag=True, help="Only the facts: answers before → after.")
@click.option("--terms", "by_term", is_flag=True, help="Only the coefficients of the two sums.")
@click.option("--modules", "by_module", is_flag=True, help="Only the modules of the model.")
@click.option("--stat", is_flag=True, help="Only how much differs; no tensor is read.")
@json_option
@click.pass_obj
def command(
    session: Session,
    left: str,
    right: str | None,
    by_fact: bool,
    by_term: bool,
    by_module: bool,
    stat: bool,
    as_json: bool,
) -> None:
    """Compare two states: by facts, by coefficients, and module by module.

    Without B, the other state is HEAD; A..B is A B, as in git.

    For each module: the Frobenius norm of A's change of the base, of B's and of their difference,
    the cosine between A's and B's, their numerical ranks, and their effective ranks: exp of the
    entropy of the singular values' shares, which says over how many directions a change is spread.
    Low-rank changes are compared by their factors, without forming them; where a dense delta takes
    part, there are no ranks ("full").

    \b
    Examples:
      adapterstore diff main~2
      adapterstore diff update/5ca2598a2a59~2 update/5ca2598a2a59 --facts
      adapterstore diff v1 main --stat --json
    """
    store = session.open()
    if right is None and ".." in left:
        change = resolve_change(store.repository, left)
        left, right = str(change.before), change.after
    before, after = store.snapshot(left), store.snapshot(right or "HEAD")
    everything = not (by_fact or by_term or by_module)
    content: dict[str, Any] = {"left": before.commit, "right": after.commit}
    terms = changed_terms(before.composition, after.composition)
    facts = changed_facts(store.repository, before.commit, after.commit)
    content["summary"] = {"facts": count_facts(facts), "terms": len(terms)}
    modules: list[ModuleDifference] | None = None
    if not stat and (everything or by_fact):
        content["facts"] = [fact.to_dict() for fact in facts]
    if not stat and (everything or by_term):
        content["terms"] = [term.to_dict() for term in terms]
    if not stat and (everything or by_module):
        modules = compare_modules(store.repository, before, after, progress(as_json))
        content["modules"] = [asdict(module) for module in modules]
        content["total"] = total_of(modules).to_dict()
    if as_json:
        print_json(content)
    elif not terms and not facts:
        click.echo("the states are equal")
    elif stat:
        _print_summary(facts, terms)
    else:
        _print_sections(
            facts if "facts" in content else None, terms if "terms" in content else None, modules
        )


def _print_summary(facts: Sequence[FactChange], terms: Sequence[TermChange]) -> None:
    click.echo(fact_counts(facts) if facts else "no facts differ")
    gone = sum(term.after == "0" for term in terms)
    come = sum(term.before == "0" for term in terms)
    verb = "differs" if len(terms) == 1 else "differ"
    click.echo(
        f"{counted(len(terms), 'terms')} {verb}: {come} come, {gone} go, "
        f"{len(terms) - come - gone} with another coefficient"
    )


def _print_sections(
    facts: Sequence[FactChange] | None,
    terms: Sequence[TermChange] | None,
    modules: Sequence[ModuleDifference] | None,
) -> None:
    """Print the sections that were asked for, an empty line between them."""
    between = ""
    for name, section in (("facts", facts), ("terms", terms), ("modules", modules)):
        if section is not None:
            click.echo(f"{between}{name}:{'' if section else ' none differ'}")
            between = "\n"
        if section and section is facts:
            print_facts(facts, "  ")
        elif section and section is terms:
            rows = [[t.before, t.after, t.term.delta[:12], t.term.role] for t in terms]
            print_table(["from", "to", "delta", "role"], rows, "  ")
        elif section and section is modules:
            _print_modules(modules)


def _print_modules(modules: Sequence[ModuleDifference]) -> None:
    rows = [
        [
            m.name,
            number(m.norm_left),
            number(m.norm_right),
            number(m.norm_difference),
            "-" if m.cosine is None else f"{m.cosine:.4f}",
            _rank(m.rank_left, m.effective_rank_left),
            _rank(m.rank_right, m.effective_rank_right),
            _rank(m.rank_difference, m.effective_rank_difference),
        ]
        for m in modules
    ]
    total = total_of(modules)
    norms = [number(n) for n in (total.norm_left, total.norm_right, total.norm_difference)]
    cosine = "-" if total.cosine is None else f"{total.cosine:.4f}"
    rows.append(["all", *norms, cosine, "", "", ""])
    header = ["module", "‖A‖", "‖B‖", "‖B−A‖", "cosine", "rank A", "rank B", "rank B−A"]
    print_table(header, rows, "  ")
    click.echo("  ranks: numerical (effective)")


def _rank(rank: int | None, effective: float | None) -> str:
    return "full" if rank is None else f"{rank} ({number(effective, 3)})"
