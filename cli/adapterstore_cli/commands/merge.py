"""``adapterstore merge``."""

from __future__ import annotations

from dataclasses import asdict

import click

from adapterstore.algebra.coefficient import format_coefficient, parse_coefficient
from adapterstore.errors import InvalidSetting, MergeConflict
from adapterstore.history.merging.lossy import LossyMethod, MethodName
from adapterstore.history.merging.plan import FastForward, MergePlan
from adapterstore_cli.output import print_json
from adapterstore_cli.session import Session, commit_options, json_option, progress, tell


@click.command()
@click.argument("revision", metavar="REV")
@click.option("--ff-only", is_flag=True, help="Only if the branch can just move to REV.")
@click.option("--no-ff", is_flag=True, help="Make a commit even if the branch could just move.")
@click.option("--ours", multiple=True, metavar="FACT|all", help="Our answer stays. Repeatable.")
@click.option("--theirs", multiple=True, metavar="FACT|all", help="Theirs is taken. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option(
    "--method",
    type=click.Choice(["linear", "ties", "dare_linear", "dare_ties"]),
    default="linear",
    show_default=True,
    help="All but linear are lossy; see above.",
)
@click.option("--density", metavar="d", help="Lossy: which share of the values stays (0.5).")
@click.option("--seed", type=int, metavar="N", help="Lossy: of DARE's random choice (0).")
@click.option("--weights", metavar="o,t", help="Lossy: how much ours and theirs count (1,1).")
@commit_options
@json_option
@click.pass_obj
def command(
    session: Session,
    revision: str,
    ff_only: bool,
    no_ff: bool,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    dry_run: bool,
    method: str,
    density: str | None,
    seed: int | None,
    weights: str | None,
    message: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Merge REV into the current branch: exactly, ours + theirs − their common base.

    The sum is of formulas: no tensor is computed, nothing is rounded. What both sides did counts
    once; of two updates by the same facts, ours stays. The ledgers are merged fact by fact. Where
    both sides changed a fact to different answers, nothing is done, the exit code is 16, and the
    message names the fact, both answers and both commits: choose with --ours or --theirs and the
    fact ("subject, relation", or one of its prompts), or 'all'. An update that so loses all its
    facts is left out of the sum; one that loses some of them stays, which is told, and then the
    model should be asked ('adapterstore eval').

    --method ties, dare_linear and dare_ties are LOSSY: peft's functions drop values of the weight
    changes of both sides (all but the share --density) and settle signs, weight by weight, so the
    result is neither side's change nor their sum. It becomes one new dense delta as large as the
    weights that are changed; method, parameters and seed are recorded in the commit, and the
    relative error ‖result − exact‖ / ‖exact‖ (Frobenius norm over all weights; 0 is the exact
    merge, 1 is as far from it as changing nothing). Afterwards, an update of either side can't be
    taken back exactly. Equal seeds give equal bytes.

    \b
    Examples:
      adapterstore merge experiment --dry-run
      adapterstore merge experiment --theirs "Croatia, currency"
      adapterstore merge experiment --ours all -m "Keep what we serve"
      adapterstore merge experiment --method ties --density 0.3
    """
    if ff_only and no_ff:
        raise click.UsageError("--ff-only and --no-ff exclude each other")
    if method == "linear" and (density, seed, weights) != (None, None, None):
        raise click.UsageError("--density, --seed and --weights are for the lossy methods")
    fast_forward: FastForward = "only" if ff_only else "never" if no_ff else "auto"
    lossy = _lossy(method, density, seed, weights)
    store = session.open()
    if dry_run:
        plan = store.plan_merge(None, revision, fast_forward=fast_forward, ours=ours, theirs=theirs)
        if as_json:
            print_json(_as_json(plan))
        else:
            _print(plan)
        if plan.outcome == "conflict":
            raise click.exceptions.Exit(MergeConflict.exit_code)
        return
    result = store.merge(
        None,
        revision,
        fast_forward=fast_forward,
        ours=ours,
        theirs=theirs,
        lossy=lossy,
        message=message,
        expect=expect,
        progress=progress(as_json),
    )
    if as_json:
        print_json({"commit": result.commit, "changed": result.changed, "notes": result.notes})
    else:
        tell(store, result)


def _lossy(
    method: str, density: str | None, seed: int | None, weights: str | None
) -> LossyMethod | None:
    if method == "linear":
        return None
    name: MethodName = method  # type: ignore[assignment]  # click has checked it
    given = [parse_coefficient(part.strip()) for part in (weights or "1,1").split(",")]
    if len(given) != 2:
        raise InvalidSetting("--weights", "must be two numbers: of ours and of theirs")
    return LossyMethod(name, parse_coefficient(density or "0.5"), seed or 0, (given[0], given[1]))


def _print(plan: MergePlan) -> None:
    says = {
        "up-to-date": "nothing to do: it is part of this branch already",
        "fast-forward": f"the branch would move to {plan.theirs[:12]}",
        "merge": "would be merged",
        "conflict": "would be refused",
    }
    click.echo(says[plan.outcome])
    for conflict in plan.conflicts:
        side = plan.sides.get(conflict.key)
        click.echo(f"  {f'{side} stays' if side else 'not decided'}: {conflict}")
    if plan.outcome in ("merge", "fast-forward"):
        click.echo(f"  facts that change here: {len(plan.ledger)}")
        click.echo(f"  terms of the sum: {len(plan.composition)}")
    for note in plan.notes:
        click.echo(f"  {note}")


def _as_json(plan: MergePlan) -> dict[str, object]:
    return {
        "outcome": plan.outcome,
        "ours": plan.ours,
        "theirs": plan.theirs,
        "bases": list(plan.bases),
        "conflicts": [
            {**asdict(conflict), "chosen": plan.sides.get(conflict.key)}
            for conflict in plan.conflicts
        ],
        "facts_changed": len(plan.ledger),
        "dropped": list(plan.dropped),
        "restored": list(plan.restored),
        "terms": [
            {"delta": t.delta, "coefficient": format_coefficient(t.coefficient), "role": t.role}
            for t in plan.composition
        ],
        "notes": list(plan.notes),
    }
