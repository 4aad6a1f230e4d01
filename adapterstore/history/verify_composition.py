"""Whether a commit's composition is what its trailers and its parents make of it."""

from __future__ import annotations

from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.algebra.composition import Composition
from adapterstore.history.arithmetic import CannotCompute, expected_composition
from adapterstore.history.verify_findings import Verification
from adapterstore.history.verify_history import StoreHistory
from adapterstore.identifiers import CommitId


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
        elif role != actual_role:
            verification.report(commit, f"composition.json: role of {delta}", role, actual_role)
