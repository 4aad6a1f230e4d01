"""Ask a state, and measure what it knows; nothing is trained, and no state changes.

Where the base's weights are seen for the first time, a commit records them (`Store.base_folder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adapterstore.errors import InvalidSetting
from adapterstore.history.attach import attach_composition
from adapterstore.history.base import stored_dtypes
from adapterstore.history.ledger.forgotten import find_forgotten
from adapterstore.history.ledger.reading import iterate_ledger
from adapterstore.history.store import Store
from adapterstore.knowledge.facts import Fact, FactFile
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update.settings import read_update_settings

if TYPE_CHECKING:
    import torch

    from adapterstore.evaluation.generation import Asked
    from adapterstore.evaluation.metrics import Report


def ask(
    store: Store,
    revision: str,
    prompts: Sequence[str],
    progress: Progress = NO_PROGRESS,
    expected: Asked | None = None,
) -> list[str]:
    """Return the greedy answer of a revision's state to each prompt; one alone counts as a list.

    ``expected`` has the answers that it will be compared with: what begins like one goes on as far.

    Raises:
        UnknownRevision: no such revision.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
        InvalidSetting: a prompt that is no text, or empty; or as `load_state`.
        PromptTooLong: a prompt that leaves no room for an answer.
        NotWritable: a prompt of which the base's tokenizer makes no token.
    """
    from adapterstore.evaluation.generation import greedy_answers

    check_store(store)
    prompts = [prompts] if isinstance(prompts, str) else prompts
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise InvalidSetting("prompt", f"must be text, not {type(prompt).__name__}")
        if not prompt.isascii() and prompt != prompt.encode(errors="replace").decode():
            raise InvalidSetting("prompt", "is not UTF-8 text")
        if not prompt.strip():
            raise InvalidSetting("prompt", "is empty")
    model, tokenizer = load_state(store, revision, progress)
    return greedy_answers(model, tokenizer, prompts, expected=expected)


def check_store(store: Store) -> None:
    """Tell a caller who gives something else, a folder, say.

    Raises:
        InvalidSetting: it is no store.
    """
    if not isinstance(store, Store):
        problem = f"must be a Store, not {type(store).__name__}; open one with Store.open(folder)"
        raise InvalidSetting("store", problem)


def evaluate_facts(
    store: Store,
    revision: str,
    files: Sequence[FactFile] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Report:
    """Measure a revision's state against facts (None: those of its ledger).

    Reliability is over the facts' prompts, generality over their paraphrases, forgetting over their
    old answers; locality, over locality prompts that state an answer.

    Raises:
        UnknownRevision: no such revision.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
    """
    from adapterstore.evaluation.measure import evaluate

    if files is None:
        facts = ledger_facts(store, revision)
    else:
        facts = [fact for file in files for fact in file.facts]
    model, tokenizer = load_state(store, revision, progress)
    unrelated = {p.prompt: p.answer for f in facts for p in f.locality if p.answer is not None}
    return evaluate(model, tokenizer, facts, before=unrelated)


def ledger_facts(store: Store, revision: str) -> list[Fact]:
    """Return what a revision's state is meant to know, and what it is to know no longer."""
    commit = store.resolve(revision)
    entries = list(iterate_ledger(store.repository, commit))
    gone = {f.entry.key: f.old for f in find_forgotten(store.repository, commit, entries)}
    return [
        Fact(
            prompt=entry.prompt,
            answer=entry.answer,
            old_answer=old,
            subject=entry.subject,
            relation=entry.relation,
            paraphrases=entry.paraphrases,
        )
        for entry in entries
        # Any of several old answers may come back.
        for old in gone.get(entry.key, (None,))
    ]


def load_state(store: Store, revision: str, progress: Progress = NO_PROGRESS) -> tuple[Any, Any]:
    """Return the model in a revision's state, and its tokenizer, as the store's settings say.

    Raises:
        InvalidSetting: no such device, or no chat template where one is asked for.
    """
    snapshot = store.snapshot(revision)
    progress.start("loading the base model")
    model, tokenizer, stored = load_for_asking(store, snapshot.commit)
    model = attach_composition(store.repository, snapshot.composition, model, stored, progress)
    return model, tokenizer


def load_for_asking(store: Store, revision: str) -> tuple[Any, Any, dict[str, torch.dtype]]:
    """Return a state's base model, its tokenizer, and the dtypes of its files, as the settings say.

    Raises:
        InvalidSetting: no such device, or no chat template where one is asked for.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
    """
    from adapterstore.evaluation.chat import with_chat_template
    from adapterstore.learning.loading import load_base

    recipe, _ = read_update_settings(store.settings, {})
    folder = store.base_folder_at(revision)
    model, tokenizer = load_base(folder, recipe.device, recipe.device_map)
    return model, with_chat_template(tokenizer, recipe.chat_template), stored_dtypes(folder)
