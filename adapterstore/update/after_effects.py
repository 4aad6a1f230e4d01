"""What may become of an update later: its state, quantised, or trained a little on other text."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.errors import InvalidSetting, UnreadableFile
from adapterstore.history.export import export_state
from adapterstore.history.ledger.earlier_answers import earlier_answers
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.history.store import Store
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact, FactFile, other_prompts, same_answer
from adapterstore.knowledge.ledger import LedgerEntry
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.update.settings import read_update_settings

if TYPE_CHECKING:
    from adapterstore.evaluation.effect import Effect, Question
    from adapterstore.learning.recipe import Recipe

QUANTIZED = {"quantize-8bit": 8, "quantize-4bit": 4}
RELEARN = "relearn"
CONTROL_PROMPTS = 100
_CONTROL_TEXTS = 200


@dataclass(frozen=True)
class Intervention:
    """Something that may be done to a state."""

    name: str
    text: Path | None = None
    """Of ``relearn``: what is trained on (None: what the base itself writes)."""

    @classmethod
    def parse(cls, text: str) -> Intervention:
        """Read ``quantize-8bit``, ``quantize-4bit``, ``relearn`` or ``relearn=FILE``.

        Raises:
            InvalidSetting: it is none of these.
        """
        name, equals, path = text.partition("=")
        if name in QUANTIZED and not equals:
            return cls(name)
        if name == RELEARN and (path or not equals):
            return cls(name, Path(path) if path else None)
        known = ", ".join([*QUANTIZED, RELEARN, f"{RELEARN}=FILE"])
        raise InvalidSetting("--after", f"is {text!r}; known are {known}")


@dataclass(frozen=True)
class AfterEffects:
    """What each intervention did to one state."""

    old_answers: dict[str, int]
    """How many of the forgotten answers asked come from where: file, ledger, base."""
    effects: list[Effect]

    def to_dict(self) -> dict[str, Any]:
        """Return the effects as JSON values."""
        return {
            "old_answers": self.old_answers,
            "effects": [effect.to_dict() for effect in self.effects],
        }


def measure_after_effects(
    store: Store,
    revision: str,
    interventions: Sequence[Intervention],
    files: Sequence[FactFile] | None = None,
    progress: Progress = NO_PROGRESS,
) -> AfterEffects:
    """Ask a state before and after each intervention; each begins from the state itself.

    The state is the merged model that ``export --as model`` writes. Asked are the facts' new
    answers (reliability, generality); their old ones (forgetting): those that the files state, else
    those that the ledger had before, else what the base itself says; where files are named, the
    other facts of the ledger (retention); and unrelated prompts, as the base answers them
    (locality): those that the files state, and prompts cut from texts that the base writes.

    Args:
        store: the store.
        revision: the state.
        interventions: what is done to it.
        files: whose facts are asked (None: those of the ledger).
        progress: told of every stage.

    Raises:
        MissingLibrary: a quantisation, and torchao is not installed; nothing was done.
        UnreadableFile: the text to train on can't be read; nothing was done.
        TrainingFailed: the state's weights can't be quantised or trained.
        UnknownRevision: no such revision.
        BaseModelUnavailable, BaseModelMismatch: no weights, or other weights than recorded.
    """
    from adapterstore.evaluation.effect import answer_questions, compare_answers
    from adapterstore.learning.loading import load_for
    from adapterstore.learning.quantizing import check_can_quantize

    if any(intervention.name in QUANTIZED for intervention in interventions):
        check_can_quantize()
    texts = {i.text: _read_text(i.text) for i in interventions if i.text is not None}
    recipe, _ = read_update_settings(store.settings, {})
    recipe = recipe.model_copy(update={"method": "lora", "forget_method": None})
    commit = store.resolve(revision)  # Recording the base moves HEAD.
    base_folder = store.base_folder_at(commit)
    ledger = read_ledger(store.repository, commit)
    progress.start("asking the base model")
    base, tokenizer = load_for(base_folder, recipe)
    facts, origins = _facts(store, commit, ledger, files, base, tokenizer)
    questions = _questions(ledger, facts, files, base, tokenizer, recipe)
    own: list[tuple[int, ...]] = []
    if any(i.name == RELEARN and i.text is None for i in interventions):
        from adapterstore.learning.relearning import own_texts

        own = own_texts(
            base, tokenizer, recipe.texts_to_sample(len(facts)) or 1, facts, recipe.seed
        )
    del base
    effects = []
    with _merged(store, commit, base_folder, progress) as folder:
        before: dict[str, str] | None = None
        for intervention in interventions:
            model, tokenizer = load_for(folder, recipe)
            if before is None:
                progress.start("asking the state")
                before = answer_questions(model, tokenizer, questions)
            progress.start(intervention.name)
            text = texts[intervention.text] if intervention.text is not None else None
            told = _intervene(intervention, model, tokenizer, text, own, recipe, progress)
            after = answer_questions(model, tokenizer, questions)
            effects.append(compare_answers(intervention.name, told, questions, before, after))
            del model
    return AfterEffects(origins, effects)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(str(path), "is not UTF-8 text") from error


@contextmanager
def _merged(
    store: Store, commit: CommitId, base_folder: Path, progress: Progress
) -> Iterator[Path]:
    """Give the folder of the merged model, with the base's tokenizer, while it is needed."""
    with tempfile.TemporaryDirectory(prefix="adapterstore-") as scratch:
        folder = Path(scratch) / "model"
        snapshot = store.snapshot(commit)
        export_state(
            store.repository, snapshot, commit, folder, "model", lambda: base_folder, progress
        )
        yield folder


def _facts(
    store: Store,
    commit: CommitId,
    ledger: Mapping[str, LedgerEntry],
    files: Sequence[FactFile] | None,
    base: Any,
    tokenizer: Any,
) -> tuple[list[Fact], dict[str, int]]:
    """Return the facts asked, one for each old answer, and where these come from."""
    from adapterstore.learning.material import own_answers

    if files is None:
        stated = [
            Fact(
                prompt=entry.prompt,
                answer=entry.answer,
                subject=entry.subject,
                relation=entry.relation,
                paraphrases=entry.paraphrases,
            )
            for entry in ledger.values()
        ]
    else:
        stated = [fact for file in files for fact in file.facts]
    current = [ledger[fact.key] for fact in stated if fact.key in ledger]
    earlier = earlier_answers(store.repository, commit, current)
    own = own_answers(base, tokenizer, stated)
    origins = {"file": 0, "ledger": 0, "base": 0}
    facts = []
    for fact, said in zip(stated, own, strict=True):
        if fact.old_answer is not None:
            origin, answers = "file", [fact.old_answer]
        elif fact.key in earlier:
            origin, answers = "ledger", earlier[fact.key]
        else:
            new = fact.answer
            other = said is not None and (new is None or not same_answer(said, new))
            origin, answers = "base", [said] if said is not None and other else []
        origins[origin] += len(answers)
        facts.append(replace(fact, old_answer=answers[0] if answers else None))
        # Of a fact that changed several times, each earlier answer may come back.
        facts += [Fact(prompt=fact.prompt, answer=None, old_answer=a) for a in answers[1:]]
    return facts, origins


def _questions(
    ledger: Mapping[str, LedgerEntry],
    facts: Sequence[Fact],
    files: Sequence[FactFile] | None,
    base: Any,
    tokenizer: Any,
    recipe: Recipe,
) -> list[Question]:
    from adapterstore.evaluation.effect import FORGETTING, Question
    from adapterstore.evaluation.measure import answers_before
    from adapterstore.learning.sampling import control_probes, sample_texts

    questions = [Question("reliability", f.prompt, f.answer) for f in facts if f.answer is not None]
    questions += [
        Question("generality", prompt, f.answer)
        for f in facts
        if f.answer is not None
        for prompt in other_prompts(f.prompt, f.paraphrases)
    ]
    questions += [
        Question(FORGETTING, f.prompt, f.old_answer, f.answer)
        for f in facts
        if f.old_answer is not None
    ]
    asked = {question.prompt for question in questions}
    if files is not None:
        keys = {fact.key for fact in facts}
        questions += [
            Question("retention", entry.prompt, entry.answer)
            for key, entry in ledger.items()
            if entry.answer is not None and key not in keys and entry.prompt not in asked
        ]
    known = asked | {entry.prompt for entry in ledger.values()}
    written = sample_texts(base, tokenizer, _CONTROL_TEXTS, recipe.seed)
    probes = [p for fact in facts for p in fact.locality]
    probes += control_probes(base, tokenizer, written, CONTROL_PROMPTS)
    unrelated = answers_before(base, tokenizer, [p for p in probes if p.prompt not in known])
    return questions + [Question("locality", prompt, said) for prompt, said in unrelated.items()]


def _intervene(
    intervention: Intervention,
    model: Any,
    tokenizer: Any,
    text: str | None,
    own: Sequence[tuple[int, ...]],
    recipe: Recipe,
    progress: Progress,
) -> str:
    """Do it, in place; return how it was done."""
    if intervention.name in QUANTIZED:
        from adapterstore.learning.quantizing import GROUP, quantize

        if intervention.name == "quantize-8bit":
            return f"{quantize(model, 8)} layers, 8 bits, a scale for each output"
        return f"{quantize(model, 4)} layers, 4 bits, a scale for every {GROUP} inputs"
    from adapterstore.learning.relearning import read_texts, relearn

    texts = own if text is None else read_texts(model, tokenizer, text)
    if not texts:
        raise InvalidSetting("--after relearn", "there is no text to train on; name a file")
    steps = relearn(model, tokenizer, texts, recipe, progress)
    source = "that the base wrote" if text is None else f"of {intervention.text}"
    return f"{steps} steps on {len(texts)} texts {source}"
