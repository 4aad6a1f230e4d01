"""A file that waited while newer ones were applied must not take back what they said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapterstore.errors import Contradiction
from adapterstore.history.ledger.known import find_known
from adapterstore.knowledge.contradictions import differ, place_of
from adapterstore.knowledge.ledger import show_key
from adapterstore.knowledge.tables.reading import MappedTable
from adapterstore.update.table_plan import plan_table

if TYPE_CHECKING:
    from adapterstore.history.store import Store
    from adapterstore.identifiers import CommitId
    from adapterstore.knowledge.facts import Fact, FactFile


def check_not_overtaken(
    store: Store, content: FactFile | MappedTable, newer: Mapping[str, str], branch: str
) -> None:
    """Check that no newer update stands whose file says otherwise than an older one.

    Args:
        store: the store.
        content: the older file's.
        newer: ids of updates, each with the name of its file.
        branch: of these updates.

    Raises:
        Contradiction: the first fact of which such an update says otherwise, with both files.
    """
    _, tip = store.tip(branch)
    said = _said(store, tip, content)
    known = find_known(store.repository, tip, [fact for fact, _ in said])
    for fact, place in said:
        for entry in (*known.of(fact.key), *known.contrary.get(fact.key, ())):
            if entry.update in newer and differ(fact.answer, entry.answer):
                raise Contradiction(
                    show_key(entry.key),
                    place,
                    "null" if fact.answer is None else fact.answer,
                    f"{newer[entry.update]}, which landed later and was applied "
                    f"(update/{entry.update}),",
                    "null" if entry.answer is None else entry.answer,
                    "if the older file is right, put it there again",
                )


def _said(store: Store, tip: CommitId, content: FactFile | MappedTable) -> list[tuple[Fact, str]]:
    """Return what a file says and the ledger does not, each with its place."""
    if not isinstance(content, MappedTable):
        return [(fact, place_of(content, fact)) for fact in content.facts]
    plan = plan_table(store.repository, tip, content)
    return [
        (
            change.fact,
            f"{plan.name}: column {change.column} (the row has gone)"
            if change.line is None
            else f"{plan.name}:{change.line} column {change.column}",
        )
        for change in plan.changes
    ]
