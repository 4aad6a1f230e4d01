"""Whether a commit's composition is what its trailers and its parents make of it."""

from __future__ import annotations

from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.algebra.composition import Composition
from adapterstore.history.audit.arithmetic import (
    CannotCompute,
    best_common_ancestors,
    expected_composition,
)
from adapterstore.history.audit.findings import Verification
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.identifiers import CommitId, DeltaId


def verify_composition(
    history: StoreHistory, commit: CommitId, composition: Composition, verification: Verification
) -> None:
    """Compute a commit's composition again, exactly; report every term that differs."""
    verification.count("compositions")
    try:
        expected = expected_composition(history.record(commit), history)
    except CannotCompute as error:
        verification.report(commit, "trailers", "what the composition follows from", error)
        return
    wanted = {term.delta: (format_coefficient(term.coefficient), term.role) for term in expected}
    found = {term.delta: (format_coefficient(term.coefficient), term.role) for term in composition}
    for delta in sorted({*wanted, *found}):
        (coefficient, role), (actual, actual_role) = (
            side.get(delta, ("0", "")) for side in (wanted, found)
        )
        if coefficient != actual:
            verification.report(
                commit, f"composition.json: coefficient of delta {delta}", coefficient, actual
            )
        elif actual_role not in {role, *_known_roles(history, commit, delta)}:
            verification.report(commit, f"composition.json: role of {delta}", role, actual_role)


def _known_roles(history: StoreHistory, commit: CommitId, delta: DeltaId) -> set[str]:
    """Return the roles that a delta has in what a commit follows from.

    One delta may be known by two roles, on two sides; which one stays is not part of the sum.
    """
    record = history.record(commit)
    named = [record.trailers.get(name) for name in ("Change-From", "Change-To")]
    sources = [*record.parents, *(CommitId(name) for name in named if name is not None)]
    if record.trailers.get("Operation") == "merge":
        sources += best_common_ancestors(history, record.parents[0], record.parents[1])
        # What is put back, or taken out twice, may be in neither side.
        sources += [CommitId(name) for name in record.listed("Restored")]
    return {term.role for c in sources for term in history.composition(c) if term.delta == delta}
