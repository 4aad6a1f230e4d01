"""The drift monitor: how far the states of many updates move, and an alarm before a collapse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.algebra.composition import Composition
from adapterstore.errors import BaseModelUnavailable
from adapterstore.history.attach import base_beside
from adapterstore.history.base import check_base, find_base
from adapterstore.history.snapshot import Snapshot
from adapterstore.history.store import Store
from adapterstore.history.viewing.drift import DriftPoint, base_norm, measure_norms, read_points
from adapterstore.identifiers import UpdateId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository
from adapterstore.update.drift_rule import find_alarms
from adapterstore.update.settings import read_drift_settings, read_update_settings

if TYPE_CHECKING:
    from adapterstore.learning.recipe import Recipe
    from adapterstore.update.drift_settings import DriftSettings
    from adapterstore.update.measuring import Measured


@dataclass(frozen=True)
class DriftMonitor:
    """Measures the state of an update while its model is at hand."""

    settings: DriftSettings
    base_folder: Path
    held_text: Path | None

    def watch(
        self,
        repository: Repository,
        start: Snapshot,
        composition: Composition,
        update: UpdateId,
        measured: Measured,
        recipe: Recipe,
    ) -> dict[str, Any]:
        """Return what an update's report says of drift: the figures, and the ``alarms``.

        The base itself is asked only where nothing is kept of it.

        Args:
            repository: the store.
            start: the state before the update; its base is the one.
            composition: the state.
            update: the update.
            measured: what was measured of the state, and the model in it.
            recipe: how a base is loaded.

        Raises:
            InvalidSetting: the held text can't be read.
        """
        from adapterstore.evaluation.perplexity import perplexity
        from adapterstore.learning.loading import load_for
        from adapterstore.update.held_text import find_held_text, make_held_text

        chat, path = recipe.chat_template, self.held_text
        held = find_held_text(repository, start.base, path, chat)
        if held is None:

            def load() -> Any:
                return load_for(self.base_folder, recipe)[0]

            with base_beside(repository, composition, load, measured.model) as base:
                held = make_held_text(repository, start.base, path, chat, base, measured.tokenizer)
        size = base_norm(repository, start.base, self.base_folder)
        scores = measured.report.scores()
        point = replace(
            measure_norms(repository, composition, size),
            update=update,
            retention=scores["retention"].value if "retention" in scores else None,
            locality=scores["locality"].value if "locality" in scores else None,
            perplexity=perplexity(measured.model, measured.tokenizer, held.rows),
            base_perplexity=held.base_perplexity,
        )
        recorded = islice(read_points(repository, start.commit), 2 * self.settings.window)
        alarms = find_alarms([*reversed(list(recorded)), point], self.settings)
        return {**point.to_dict(), "alarms": alarms}


@dataclass(frozen=True)
class Drift:
    """A state, and how the updates below it led there."""

    now: DriftPoint
    trend: list[DriftPoint]
    """Updates along first parents that recorded it, newest first."""
    alarms: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "now": {"commit": self.now.commit, **self.now.to_dict()},
            "trend": [
                {"commit": point.commit, "update": point.update, **point.to_dict()}
                for point in self.trend
            ],
            "alarms": self.alarms,
        }


def read_drift(
    store: Store,
    revision: str,
    *,
    with_model: bool = False,
    limit: int = 20,
    progress: Progress = NO_PROGRESS,
) -> Drift:
    """Return how far a revision's state is from the base, and the trend.

    Args:
        store: the store.
        revision: which state.
        with_model: compute the held text's perplexity too; else that of the state's own update
            stands, if there is one.
        limit: how many updates of the trend.
        progress: told of every stage.

    Raises:
        UnknownRevision: no such revision.
        CorruptStore: a delta or a report is not what it should be.
        BaseModelUnavailable, BaseModelMismatch: ``with_model``, and no weights, or other ones.
        InvalidSetting: the held text can't be read.
    """
    repository, settings = store.repository, read_drift_settings(store.settings)
    snapshot = store.snapshot(revision)
    window = 2 * settings.window
    recorded = list(islice(read_points(repository, snapshot.commit), max(limit, window + 1)))
    folder = _base_at_hand(store, snapshot)
    size = base_norm(repository, snapshot.base, folder) if folder is not None else None
    now = replace(
        measure_norms(repository, snapshot.composition, size, progress), commit=snapshot.commit
    )
    own = recorded[0] if recorded and recorded[0].commit == snapshot.commit else None
    if own is not None:
        now = replace(
            own, norm=now.norm, relative_norm=now.relative_norm or own.relative_norm, update=None
        )
    if with_model:
        now = _with_perplexity(store, snapshot, settings, now, progress)
    past = recorded[1:] if own is not None else recorded
    alarms = find_alarms([*reversed(past[:window]), now], settings)
    return Drift(now, recorded[:limit], alarms)


def _base_at_hand(store: Store, snapshot: Snapshot) -> Path | None:
    try:
        return find_base(snapshot.base, store.settings)
    except BaseModelUnavailable:
        return None


def _with_perplexity(
    store: Store,
    snapshot: Snapshot,
    settings: DriftSettings,
    now: DriftPoint,
    progress: Progress,
) -> DriftPoint:
    from adapterstore.evaluation.perplexity import perplexity
    from adapterstore.history.attach import attach_composition
    from adapterstore.history.base import stored_dtypes
    from adapterstore.learning.loading import load_for
    from adapterstore.update.held_text import make_held_text

    recipe, _ = read_update_settings(store.settings, {})
    folder = find_base(snapshot.base, store.settings)
    # A store that has not seen its base yet is read, not written.
    base = check_base(snapshot.base, folder)
    progress.start("loading the base model")
    model, tokenizer = load_for(folder, recipe)
    path = held_text_path(store, settings)
    held = make_held_text(store.repository, base, path, recipe.chat_template, model, tokenizer)
    progress.start("measuring")
    model = attach_composition(
        store.repository, snapshot.composition, model, stored_dtypes(folder), progress
    )
    return replace(
        now,
        perplexity=perplexity(model, tokenizer, held.rows),
        base_perplexity=held.base_perplexity,
    )


def held_text_path(store: Store, settings: DriftSettings) -> Path | None:
    """Return the file of ``drift.held_text``; a relative one is beside the store."""
    if settings.held_text is None:
        return None
    return store.repository.folder.parent / Path(settings.held_text).expanduser()


def monitor_of(store: Store, base_folder: Path) -> DriftMonitor | None:
    """Return the monitor that a store's settings ask for (None: none).

    Raises:
        InvalidSetting: an unknown name, a value out of range, or no such text.
    """
    settings = read_drift_settings(store.settings)
    if not settings.monitor:
        return None
    path = held_text_path(store, settings)
    if path is not None:
        from adapterstore.update.held_text import read_file

        # What is wrong with it is said now, not after an hour of training.
        read_file(path)
    return DriftMonitor(settings, base_folder, path)
