"""The one entry point: fact files in, a tested update out.

    O = finetune(S, K_old) − S          forget:  S′ = S − λ·O
    N = finetune(S′, K_new) − S′        learn:   S″ = S′ + N

(F-Learning, ACL 2024, arXiv 2311.08011.) A process, a daemon or a cluster calls `run_update`; it
keeps nothing but what it writes into the store.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.errors import InvalidSetting, RefMoved, UpdateIdTaken
from adapterstore.history.ledger.known import draw_retained, find_known
from adapterstore.history.ledger.suite import read_suite_prompts
from adapterstore.history.ledger.superseded import find_superseded
from adapterstore.history.merging.ledgers import ledger_tree
from adapterstore.history.operands import as_path
from adapterstore.history.snapshot import MAPPING_NAME, RECIPE_NAME, REPORT_NAME, read_snapshot
from adapterstore.history.state_answers import StateAnswers
from adapterstore.history.store import Store
from adapterstore.history.update_report import count_origins
from adapterstore.history.updates import (
    check_update_id,
    find_rejected,
    is_published,
    new_update_id,
    publish_update,
)
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.contradictions import (
    check_against_ledger,
    check_against_suite,
    check_contradictions,
)
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import read_fact_file
from adapterstore.knowledge.repeats import without_repeats
from adapterstore.knowledge.tables.finding import find_mapping
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.refs import check_movable
from adapterstore.store.repository import Repository
from adapterstore.update.asking import check_store
from adapterstore.update.attempt import Attempt
from adapterstore.update.drift import DriftMonitor, monitor_of
from adapterstore.update.in_effect import find_in_effect
from adapterstore.update.ledger_effect import source_of, update_ledger
from adapterstore.update.measuring import find_guarded
from adapterstore.update.provenance import provenance
from adapterstore.update.record import name_fact_files
from adapterstore.update.result import UpdateResult, read_update
from adapterstore.update.settings import read_compact_settings, read_update_settings
from adapterstore.update.trained import Trained

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.recipe import Recipe
    from adapterstore.update.compact_settings import CompactSettings
    from adapterstore.update.table_plan import TablePlan


def run_update(
    store: Store,
    files: Sequence[FactFile | Path | str],
    *,
    recipe: Recipe | None = None,
    gate: Gate | None = None,
    branch: str | None = None,
    update_id: UpdateId | None = None,
    table: TablePlan | None = None,
    dry_run: bool = False,
    progress: Progress = NO_PROGRESS,
) -> UpdateResult:
    """Make a branch's state forget the old answers of some facts and learn the new ones.

    Exactly once: facts that are in effect on the branch already are not learned again, nor those
    that another writer publishes while the base is looked at.

    Args:
        store: the store.
        files: the facts, read or by their paths; several files make one update.
        recipe: how to train (None: as the store's settings say).
        gate: which figures the update must reach, or the branch stays where it is (None: likewise).
        branch: which branch (None: the current one).
        update_id: the id to give (None: one made from the facts' SHA-256). If an update of this id
            was published or rejected, that outcome is returned, and nothing is trained.
        table: what the facts were derived from, if it was a table; see `update_from_table`.
        dry_run: train and measure, and publish nothing.
        progress: told of every stage.

    Raises:
        FactFileError: a file that can't be read, with its line and field.
        Contradiction: two answers for one fact, or another answer than a protected fact or the
            regression suite has.
        InvalidSetting: the store's settings for recipe or gate, or no file at all.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
        TrainingFailed: no usable result.
        SigningFailed: commits are to be signed and can't be; found before anything is trained.
        StoreBusy: another process keeps a lock of the branch, or one that was killed has left
            git's; likewise.
        OSError: the branch can't be written; likewise. Or the disk gets full.
        RefMoved: the branch moved meanwhile; nothing is visible, call again.
        UpdateIdTaken: the id that was given is that of an update elsewhere; or another writer took
            the id meanwhile, and it had decided what was drawn.
    """
    _check_arguments(store, recipe, gate)
    files = _read_fact_files(files, store.repository.folder)
    check_contradictions(files)
    if recipe is None or gate is None:
        own_recipe, own_gate = read_update_settings(store.settings, {})
        recipe, gate = recipe or own_recipe, gate or own_gate
    repository = store.repository
    digest = facts_digest(files)
    ref, start = store.tip(branch)
    earlier = _find_earlier(store, ref, start, files, update_id, table)
    if earlier is not None:
        return earlier
    if not dry_run:
        repository.check_signing()
        check_movable(repository, ref)
    base_folder = store.base_folder(ref)
    # Seeing the base for the first time takes minutes, and is a commit of its own.
    _, moved = store.tip(ref)
    if moved != start:
        start = moved
        earlier = _find_earlier(store, ref, start, files, update_id, table)
        if earlier is not None:
            return earlier
    if update_id is not None:
        check_update_id(repository, update_id)
    attempt = prepare_attempt(
        repository,
        start,
        files,
        base_folder=base_folder,
        recipe=recipe,
        gate=gate,
        update=update_id or new_update_id(repository, digest),
        compact=read_compact_settings(store.settings),
        drift=monitor_of(store, base_folder),
        progress=progress,
    )
    if dry_run:
        with ExitStack() as held, repository.trial() as trial:
            return replace(_told_of(table, attempt.run(trial, held)).result, status="dry-run")
    with ExitStack() as until_published:
        trained = _told_of(table, attempt.run(repository, until_published))
        while True:
            try:
                return _publish(repository, ref, start, files, attempt, trained, table)
            except UpdateIdTaken:
                if update_id is not None or trained.hangs_on_its_id:
                    raise
                # On another branch, by the same facts. What was trained is as good under the next.
                named = replace(trained.result, update=new_update_id(repository, digest))
                trained = replace(trained, result=named)


def _check_arguments(store: Store, recipe: Recipe | None, gate: Gate | None) -> None:
    """Tell a caller what is of another type, before anything is trained.

    Raises:
        InvalidSetting: the first that is.
    """
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.recipe import Recipe

    check_store(store)
    for name, given, kind in (("recipe", recipe, Recipe), ("gate", gate, Gate)):
        if not isinstance(given, kind | None):
            made = f"{kind.__name__}.parse({{…}}, {name!r})"
            problem = f"must be a {kind.__name__}, not {type(given).__name__}; make one with {made}"
            raise InvalidSetting(name, problem)


def _read_fact_files(files: Sequence[FactFile | Path | str], store_folder: Path) -> list[FactFile]:
    """Return the facts of files that were read already, or are named.

    Raises:
        FactFileError: see `read_fact_file`.
        InvalidSetting: there is no file, or one is a table, as a mapping beside it says.
    """
    if isinstance(files, FactFile | Path | str):
        files = [files]
    if not files:
        raise InvalidSetting("files", "name a file of facts at least")
    return [f if isinstance(f, FactFile) else _read_facts(as_path(f), store_folder) for f in files]


def _read_facts(path: Path, store_folder: Path) -> FactFile:
    if find_mapping(path, store_folder) is not None:
        problem = f"{path} has a mapping, so it is a table: read_mapped_table, update_from_table"
        raise InvalidSetting("files", problem)
    return read_fact_file(path)


def prepare_attempt(
    repository: Repository,
    start: CommitId,
    files: Sequence[FactFile],
    *,
    base_folder: Path,
    recipe: Recipe,
    gate: Gate,
    update: UpdateId,
    compact: CompactSettings | None = None,
    drift: DriftMonitor | None = None,
    progress: Progress = NO_PROGRESS,
) -> Attempt:
    """Return an update's run with all its inputs; equal arguments give equal updates.

    `run_update` publishes what it gives, a replay compares it; the phases do not depend on
    ``compact`` and ``drift``, which come after them.
    """
    reduced = without_repeats([fact for file in files for fact in file.facts])
    facts = reduced.facts
    known = find_known(repository, start, facts)
    # Drawn anew for each update, so that in the long run no fact of a large ledger goes unasked.
    seed = f"{recipe.seed} {update}"
    snapshot = read_snapshot(repository, start)
    return Attempt(
        start=snapshot,
        base_folder=base_folder,
        facts=facts,
        known=known,
        retained=draw_retained(repository, start, known, recipe.retained_facts, seed),
        guarded=find_guarded(repository, start, facts, recipe.suite_prompts, seed),
        answers=StateAnswers(repository, snapshot.base, recipe.chat_template, recipe.device),
        recipe=recipe,
        gate=gate,
        update=update,
        progress=progress,
        notes=[reduced.note] if reduced.note is not None else [],
        superseded=find_superseded(repository, start, facts, known),
        compact=compact,
        drift=drift,
    )


def facts_digest(files: Sequence[FactFile]) -> str:
    """Return the SHA-256 of the facts as they landed: the file's, or that of all digests sorted."""
    return digest_of_digests([file.digest for file in files])


def digest_of_digests(digests: Sequence[str]) -> str:
    """Return the one digest for the digests of an update's fact files."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _publish(
    repository: Repository,
    ref: str,
    start: CommitId,
    files: Sequence[FactFile],
    attempt: Attempt,
    trained: Trained,
    table: TablePlan | None,
) -> UpdateResult:
    """Make visible what training gave."""
    result, named = trained.result, name_fact_files(files)
    made = provenance(attempt.start.base, named, trained.recipe, attempt.gate)
    commits = publish_update(
        repository,
        ref,
        start,
        result.update,
        facts_digest(files),
        trained.phases(_names(files)),
        {
            RECIPE_NAME: trained.recipe.to_yaml().encode(),
            REPORT_NAME: trained.report_bytes(made),
            **({MAPPING_NAME: table.mapped.mapping.data} if table is not None else {}),
            **{name: file.data for name, file in named},
        },
        update_ledger(repository, start, files, result.update),
        accepted=result.status == "applied",
        body=_body(result, source_of(files)),
        compaction=trained.compaction.commit if trained.compaction is not None else None,
    )
    return replace(result, commits=commits)


def _find_earlier(
    store: Store,
    ref: str,
    tip: CommitId,
    files: Sequence[FactFile],
    update_id: UpdateId | None,
    table: TablePlan | None,
) -> UpdateResult | None:
    """Return what came of these facts already, as far as a branch's tip shows; None: nothing yet.

    Raises:
        RefMoved: the table's facts are not what differs from the ledger any more.
        Contradiction: the files contradict what is protected, or the suite.
    """
    repository = store.repository
    if table is not None and table.commit != tip:
        ledgers = (ledger_tree(repository, commit).id for commit in (table.commit, tip))
        if len(set(ledgers)) > 1:
            raise RefMoved(ref, table.commit, tip)
    # A table's facts are what the ledger says otherwise: an earlier update by them is superseded.
    digest = facts_digest(files)
    applied = find_in_effect(repository, tip, digest, files) if table is None else None
    if applied is not None:
        return read_update(repository, applied, "already-applied", tip)
    earlier = find_by_id(repository, tip, update_id)
    if earlier is None:
        _check_known(store, tip, files)
    return earlier


def find_by_id(
    repository: Repository, tip: CommitId, update_id: UpdateId | None
) -> UpdateResult | None:
    """Return what came of an update that was to have this id; None: nothing yet."""
    if update_id is None:
        return None
    if is_published(repository, tip, update_id):
        # It took effect; if somebody has reverted it since, that stands.
        return read_update(repository, update_id, "already-applied", tip)
    if find_rejected(repository, update_id) is not None:
        return read_update(repository, update_id, "rejected")
    return None


def _check_known(store: Store, commit: CommitId, files: Sequence[FactFile]) -> None:
    """Raise `Contradiction` if the files contradict what is protected, or the suite."""
    facts = [fact for file in files for fact in file.facts]
    check_against_suite(files, lambda asked: read_suite_prompts(store.repository, commit, asked))
    known = find_known(store.repository, commit, facts)
    check_against_ledger(files, known.every, known.contrary)


def _told_of(table: TablePlan | None, trained: Trained) -> Trained:
    """Return what training gave, with the table that its facts were derived from."""
    if table is None:
        return trained
    return replace(trained, result=replace(trained.result, table=table.to_dict()))


def _names(files: Sequence[FactFile]) -> str:
    return ", ".join(Path(file.name).name for file in files)


def _body(result: UpdateResult, source: str | None) -> str:
    """Return the commit messages' text: where the facts come from and what was measured."""
    lines = [f"Source: {source}."] if source else []
    if result.report is not None:
        lines.append("Measured: " + ", ".join(result.report.summary()) + ".")
    if origins := count_origins(result.old_answers):
        lines.append(f"Old answers: {origins}.")
    lines += [f"Refused: {reason}." for reason in result.reasons]
    lines += [f"Alarm: {alarm}." for alarm in result.alarms]
    # As git's own messages: lines that a terminal of 80 columns shows whole, beside git's margin.
    return "\n".join(textwrap.fill(line, 72, subsequent_indent="  ") for line in lines)
