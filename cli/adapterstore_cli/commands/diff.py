"""``adapterstore diff``."""

from __future__ import annotations

from dataclasses import asdict

import click

from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.history.leaves import open_leaves
from adapterstore_cli.output import print_json, print_table
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="[B]", default="HEAD")
@click.option("--stat", is_flag=True, help="Only the terms that differ; no tensor is read.")
@json_option
@click.pass_obj
def command(session: Session, left: str, right: str, stat: bool, as_json: bool) -> None:
    """Compare two states: the terms that differ, and module by module how far they are apart.

    For each module: the Frobenius norm of either change and of their difference, their cosine, and
    their numerical ranks. Low-rank changes are compared by their factors, without forming them.

    \b
    Examples:
      adapterstore diff main~2
      adapterstore diff update/5ca2598a2a59~2 update/5ca2598a2a59 --stat
    """
    store = session.open()
    before, after = store.snapshot(left).composition, store.snapshot(right).composition
    terms = [
        {
            "delta": term.delta,
            "left": format_coefficient(before.coefficient(term.delta)),
            "right": format_coefficient(after.coefficient(term.delta)),
            "role": term.role,
        }
        for term in after - before
    ]
    modules = []
    if not stat:
        from adapterstore.algebra.compare import compare

        with (
            open_leaves(store.repository, before, progress(as_json)) as a,
            open_leaves(store.repository, after, progress(as_json)) as b,
        ):
            modules = compare(a.terms, b.terms)
    if as_json:
        print_json({"terms": terms, "modules": [asdict(module) for module in modules]})
        return
    if not terms:
        click.echo("the states are equal")
        return
    rows = [[t["left"], t["right"], t["delta"][:12], t["role"]] for t in terms]
    print_table(["from", "to", "delta", "role"], rows)
    if modules:
        click.echo()
        cells = [
            [
                m.name,
                f"{m.norm_left:.4g}",
                f"{m.norm_right:.4g}",
                f"{m.norm_difference:.4g}",
                f"{m.cosine:.4f}" if m.cosine is not None else "-",
                _rank(m.rank_left),
                _rank(m.rank_right),
            ]
            for m in modules
        ]
        names = ["module", "‖A‖", "‖B‖", "‖B−A‖", "cosine", "rank A", "rank B"]
        print_table(names, cells)


def _rank(rank: int | None) -> str:
    return str(rank) if rank is not None else "full"
