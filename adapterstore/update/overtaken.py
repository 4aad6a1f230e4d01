"""A file that waited while newer ones were applied must not take back what they said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from adapterstore.errors import Overtaken
from adapterstore.history.ledger.known import find_known
from adapterstore.knowledge.contradictions import differ, place_of, shown
from adapterstore.knowledge.ledger import show_key
from adapterstore.knowledge.tables.reading import MappedTable
from adapterstore.update.table_plan import plan_table

if TYPE_CHECKING:
    from adapterstore.history.store import Store
    from adapterstore.identifiers import CommitId
    from adapterstore.knowledge.facts import Fact, FactFile


def check_not_overtaken(
    store: Store,
    content: FactFile | MappedTable,
    newer: Mapping[str, str],
    alike: Sequence[str],
    branch: str,
) -> None:
    """Check that a file says nothing otherwise of what a newer one has said.

    A table says all its cells, though only those that differed are its update's: a newer one by the
    same mapping may have said again whatever the ledger has of that mapping's source.

    Args:
        store: the store.
        content: the older file's.
        newer: updates of newer files by their ids, each with the name of its file.
        alike: where the content is a table, names of newer ones by the same mapping.
        branch: of these updates.

    Raises:
        Overtaken: the first fact of which a newer file says otherwise, or may do so.
    """
    _, tip = store.tip(branch)
    said = _said(store, tip, content)
    source = content.mapping.source if alike and isinstance(content, MappedTable) else None
    known = find_known(store.repository, tip, [fact for fact, _ in said])
    for fact, place in said:
        for entry in (*known.of(fact.key), *known.contrary.get(fact.key, ())):
            name = newer.get(entry.update)
            if name is None and source is not None and entry.source == source:
                name = alike[-1]
            if name is not None and differ(fact.answer, entry.answer):
                raise Overtaken(
                    shown(show_key(entry.key)),
                    place,
                    shown(fact.answer),
                    name,
                    entry.update,
                    shown(entry.answer),
                )


def _said(store: Store, tip: CommitId, content: FactFile | MappedTable) -> list[tuple[Fact, str]]:
    """Return what a file says and the ledger does not, each with its place."""
    if not isinstance(content, MappedTable):
        return [(fact, place_of(content, fact)) for fact in content.facts]
    plan = plan_table(store.repository, tip, content)
    return [(change.fact, plan.place_of(change)) for change in plan.changes]
