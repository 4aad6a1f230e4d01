"""Take an update's fact file, and all that quotes it, out of the whole history.

The weights stay: compositions and deltas are the same before and after. What the law may ask for is
that the text is gone from the store and from every clone that is made from now on.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from adapterstore.errors import (
    AmbiguousRevision,
    CannotRewrite,
    CorruptStore,
    FactFileError,
    UnknownRevision,
)
from adapterstore.history.housekeeping.expiry import Ages
from adapterstore.history.housekeeping.gc import Removal, collect_garbage
from adapterstore.history.housekeeping.quoting import Quotes
from adapterstore.history.housekeeping.rewriting import (
    History,
    Rewriter,
    fact_blobs,
    ledger_blobs,
    read_history,
)
from adapterstore.history.housekeeping.rewriting_trees import TreeRewriter
from adapterstore.identifiers import UpdateId
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.cache import clear_cache
from adapterstore.store.messages import parse_trailers
from adapterstore.store.raw_objects import hash_object
from adapterstore.store.reflog_files import read_reflogs, write_reflog
from adapterstore.store.refs import move_ref
from adapterstore.store.repository import Repository
from adapterstore.store.rewrites import write_rewrites


@dataclass
class Forgotten:
    """What was taken out, or would be."""

    update: UpdateId
    files: list[str]
    """Names of the fact files; empty if they are gone already."""
    rewritten: dict[str, str]
    """Old object id → new one, of commits and tags."""
    refs: list[str]
    """Refs that move."""
    unsigned: list[str]
    """Commits and tags that lose a signature (old ids)."""
    also_in: list[UpdateId]
    """Other updates whose own fact files hold some of the same prompts; those stay there."""
    removed: list[Removal]
    """Old objects that were removed from the store."""


@dataclass(frozen=True)
class _Texts:
    """What fact files say."""

    prompts: frozenset[str] = frozenset()
    answers: frozenset[str] = frozenset()

    def __or__(self, other: _Texts) -> _Texts:
        return _Texts(self.prompts | other.prompts, self.answers | other.answers)


def forget_data(
    repository: Repository,
    update: str,
    *,
    dry_run: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Forgotten:
    """Rewrite history without an update's texts, move all refs, and remove the old objects.

    Killed at any moment, it is finished by running it again: the new ids are the same.

    Args:
        repository: the store.
        update: the update's id, or the start of it.
        dry_run: say what would change, and write nothing.
        progress: told of the stages.

    Raises:
        UnknownRevision, AmbiguousRevision: no such update, or several.
        CannotRewrite: a linked work tree, or a HEAD on no branch, stands on old commits.
        RefMoved: another git process moved a ref meanwhile; run it again.
        StoreBusy: a writer is at work.
    """
    with contextlib.nullcontext() if dry_run else repository.collecting():
        progress.start("reading history")
        history = read_history(repository)
        name = _find(history, update)
        rewriter, files, also_in = _prepare(repository, history, name, dry_run)
        progress.start("rewriting history")
        new = rewriter.run()
        moving = [ref for ref, target in history.tips.items() if target in new]
        for ref in moving:
            if not ref.startswith("refs/"):
                raise CannotRewrite(
                    ref, "stands on a commit that would go; remove the work tree, or switch"
                )
        result = Forgotten(name, sorted(files), new, moving, rewriter.unsigned, also_in, [])
        if not dry_run:
            if new:
                write_rewrites(repository, name, new)
            for ref in moving:
                target = history.tips[ref]
                move_ref(repository, ref, target, new[target], f"forget-data: update/{name}")
            _rewrite_reflogs(repository, rewriter)
            clear_cache(repository.folder)
            everything = Ages(grace=0.0, reflog=None, unreachable=None, rejected=None)
            result.removed = collect_garbage(repository, everything, progress=progress).removals
    return result


def _find(history: History, text: str) -> UpdateId:
    wanted = text.removeprefix("update/")
    known = {parse_trailers(raw.message).get("Update", "") for raw in history.commits.values()}
    found = [name for name in known if wanted and name.startswith(wanted)]
    if wanted in found:
        return UpdateId(wanted)
    if not found:
        raise UnknownRevision(f"update/{wanted}", "no such update")
    if len(found) > 1:
        raise AmbiguousRevision(f"update/{wanted}", sorted(f"update/{name}" for name in found))
    return UpdateId(found[0])


def _prepare(
    repository: Repository, history: History, update: UpdateId, dry_run: bool
) -> tuple[Rewriter, dict[str, str], list[UpdateId]]:
    """Return what rewrites, the update's fact files, and who else states the same."""
    own: set[str] = set()
    files: dict[str, str] = {}
    texts, elsewhere, by_update = _Texts(), _Texts(), dict[UpdateId, _Texts]()
    for commit, raw in history.commits.items():
        name = parse_trailers(raw.message).get("Update")
        if name is None:
            continue
        found = fact_blobs(repository, commit)
        stated = _Texts()
        for file, blob in found.items():
            stated |= _read_texts(repository, file, blob)
        if name == update:
            own.add(commit)
            files |= found
            texts |= stated
        else:
            elsewhere |= stated
            by_update[UpdateId(name)] = by_update.get(UpdateId(name), _Texts()) | stated
    texts |= _ledger_texts(repository, history, update)
    only_here = texts.prompts - elsewhere.prompts
    quotes = Quotes(only_here, texts.answers)
    trees = TreeRewriter(
        repository,
        update,
        quotes,
        Quotes(texts.prompts, texts.answers, files),
        lambda data: _ledger_rule(data, update, only_here),
        frozenset(files.values()),
        hash_object if dry_run else repository.write_object,
    )
    rewriter = Rewriter(history, update, quotes, trees, trees.write, frozenset(own))
    also_in = sorted(n for n, other in by_update.items() if other.prompts & texts.prompts)
    return rewriter, files, also_in


def _read_texts(repository: Repository, name: str, blob: str) -> _Texts:
    try:
        facts = parse_fact_file(repository.blob(blob), name).facts
    except FactFileError:
        # A layout of another release; the ledger has what it taught.
        return _Texts()
    return _Texts(
        frozenset(text for fact in facts for text in _prompts(fact)),
        frozenset(text for fact in facts for text in _answers(fact) if text is not None),
    )


def _prompts(fact: Fact) -> Iterable[str]:
    yield fact.prompt
    yield from fact.paraphrases
    yield from (probe.prompt for probe in (*fact.locality, *fact.portability))
    if fact.subject is not None and fact.relation is not None:
        yield f"{fact.subject}, {fact.relation}"


def _answers(fact: Fact) -> Iterable[str | None]:
    yield from (fact.answer, fact.old_answer)
    yield from (probe.answer for probe in (*fact.locality, *fact.portability))


def _ledger_texts(repository: Repository, history: History, update: UpdateId) -> _Texts:
    prompts: set[str] = set()
    answers: set[str] = set()
    for data in ledger_blobs(repository, history):
        entry = _read_entry(data)
        if entry is not None and entry.update == update:
            prompts |= {entry.prompt, *entry.paraphrases}
            answers |= {entry.answer} if entry.answer is not None else set()
    return _Texts(frozenset(prompts), frozenset(answers))


def _read_entry(data: bytes) -> LedgerEntry | None:
    try:
        return LedgerEntry.from_bytes(data)
    except CorruptStore:
        return None


def _ledger_rule(data: bytes, update: UpdateId, prompts: frozenset[str]) -> bytes | None:
    """Return what becomes of an entry: the update's own go, later ones lose what they took over."""
    entry = _read_entry(data)
    if entry is None:
        return data
    if entry.update == update:
        return None
    content = json.loads(data)
    content["paraphrases"] = [text for text in entry.paraphrases if text not in prompts]
    if len(content["paraphrases"]) == len(entry.paraphrases):
        return data
    return LedgerEntry.from_bytes(json.dumps(content).encode()).to_bytes()


def _rewrite_reflogs(repository: Repository, rewriter: Rewriter) -> None:
    for name, lines in read_reflogs(repository).items():
        changed = [rewriter.blank_reflog(line.text, line.ids) for line in lines]
        if changed != [line.text for line in lines]:
            write_reflog(repository, name, changed)
