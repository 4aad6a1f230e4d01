"""Forget-then-learn on a live model (F-Learning, ACL 2024, arXiv 2311.08011).

O = finetune(S, K_old) − S          forget:  S′ = S − λ·O
N = finetune(S′, K_new) − S′        learn:   S″ = S′ + N
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from adapterstore.errors import InvalidSetting, NotWritable, PromptTooLong
from adapterstore.evaluation.encoding import (
    Example,
    check_lengths,
    decode,
    encode_answer,
    encode_prompt,
    most_tokens,
)
from adapterstore.evaluation.generation import score_examples
from adapterstore.knowledge.facts import Fact, Probe, equal_answers, same_answer
from adapterstore.knowledge.sentences import SENTENCE_MARKS
from adapterstore.learning.forgotten import Replaced, hold_forgotten
from adapterstore.learning.keeping import Kept, teach
from adapterstore.learning.material import Material, own_answers
from adapterstore.learning.merged import merged
from adapterstore.learning.phase_delta import PhaseDelta, PhaseResult, start_delta
from adapterstore.learning.prepared import BaseBeside, prepare
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import read_text
from adapterstore.learning.search import Candidate, choose_coefficient
from adapterstore.learning.training import PhaseData, train_phase
from adapterstore.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import torch

Forgotten = Callable[[PhaseResult, Decimal], Any]
"""Stores what was forgotten, and returns the model in the state that is then written."""

_MOST_TURNS = 5
"""How often the learn phase is gone through, while a new answer is not given, an old one is, or
too much of what must stay is lost."""
_ASKED_AT_ONCE = 512


@dataclass(frozen=True)
class Outcome:
    """What forget-then-learn gave; the model itself is left in the learned state."""

    recipe: Recipe
    """As it was trained: what the given one left to the architecture is filled in."""
    facts: list[Fact]
    """The facts, each with the old answer that was forgotten."""
    forget: PhaseResult | None
    coefficient: Decimal | None
    """λ; None without a forget phase."""
    curve: list[Candidate]
    learn: PhaseResult | None
    control: list[Probe]
    """Prompts that no training saw, with what the model says to them before."""
    preserved: list[str]
    """The texts that training held in place."""
    steps: dict[str, int]
    taught: dict[str, int]
    """Of how many facts each phase was."""
    notes: list[str]


def forget_then_learn(
    model: Any,
    tokenizer: Any,
    facts: Sequence[Fact],
    *,
    recipe: Recipe,
    known: Sequence[Probe] = (),
    phrasings: Sequence[Probe] = (),
    unrelated: Sequence[Probe] = (),
    required: Collection[str] = (),
    gone: Collection[str] = (),
    base: BaseBeside | None = None,
    sampling_seed: int = 0,
    stored: Mapping[str, torch.dtype] | None = None,
    forgotten: Forgotten | None = None,
    progress: Progress = NO_PROGRESS,
) -> Outcome:
    """Train both phases; see the module.

    Args:
        model: the state S: a transformers model, or a PEFT model that holds it. It is changed.
        tokenizer: its tokenizer.
        facts: K_new; K_old is each fact's ``old_answer``, or else what the model itself says now.
        recipe: how to train.
        known: earlier facts, which must stay. One that the model does not give is taught again.
        phrasings: other prompts of those facts; of each, the answer stays if it is the fact's.
        unrelated: the file's locality prompts, to which the model must say what it says now.
        required: prompts of known and unrelated ones of which no answer may be lost.
        gone: prompts of facts whose old answers S does not give any more: nothing is trained to
            forget them.
        base: gives S's base for a while, where S is it and earlier updates: what these have let
            slip of it is pulled back. None holds everything to S.
        sampling_seed: of what the model writes; another one for each S, or each update would hold
            the same texts in place.
        stored: the dtype of each weight in the base's files, to which a written state is rounded.
        forgotten: called after a forget phase that changed the base's own weights, for the state
            from which to learn: the written one, weight for weight, even where S has dense terms
            of which this model holds only the rounded sum. None goes on with the live model. (An
            adapter beside the weights is written as it is.)
        progress: told of every stage.

    Raises:
        TrainingFailed: a phase came to no usable result.
        PromptTooLong: a prompt with its answer does not fit the model's positions.
        NotWritable: the tokenizer can't write a prompt of the facts, or an answer as it is stated.
        InvalidSetting: either of a prompt of suite or ledger; or the recipe does not fit the model.
    """
    check_prompts(model, tokenizer, facts, [*known, *phrasings, *unrelated])
    recipe = recipe.for_model(model)
    set_seed(recipe.seed)
    progress.start("writing down what the model knows")
    facts = _with_old_answers(model, tokenizer, facts)
    prepared = prepare(
        model,
        tokenizer,
        facts,
        known,
        recipe,
        phrasings=phrasings,
        unrelated=unrelated,
        required=required,
        base=base,
        sampling_seed=sampling_seed,
    )
    material, memory = prepared.material, prepared.memory
    steps: dict[str, int] = {}
    new = sum(fact.answer is not None for fact in facts)
    notes: list[str] = []
    forget, coefficient, curve = None, None, list[Candidate]()
    old = [
        (f.prompt, f.old_answer) for f in facts if f.old_answer is not None and f.prompt not in gone
    ]
    if recipe.forget and old:
        method = recipe.phase_method("forget")
        delta = start_delta(model, method, "forget", recipe, stored)
        model = delta.model
        steps["forget"] = _train_forget(delta, tokenizer, old, recipe, progress)
        control = [*known, *unrelated, *material.control]
        coefficient, curve = search_coefficient(delta, tokenizer, old, control, recipe)
        delta.set_coefficient(-float(coefficient) if coefficient is not None else 0.0)
        if coefficient is None:
            notes.append("nothing was forgotten: every λ of the grid harmed the control set")
        else:
            forget = delta.result()
            if forget.kind == "dense" and forgotten is not None:
                # Nobody else has it: there need not be room for two.
                del model, delta
                model = forgotten(forget, coefficient)
    learn = None
    replaced = hold_forgotten(model, tokenizer, facts, recipe)
    if replaced.must_train or new:
        if replaced.left:
            notes.append(replaced.note)
        delta = start_delta(model, recipe.phase_method("learn"), "learn", recipe, stored)
        data = _learn_data(model, tokenizer, facts, material)
        data = dataclasses.replace(
            data,
            memory={**memory, **replaced.memory},
            replaced=replaced.texts,
        )
        steps["learn"] = _learn(delta, tokenizer, data, material.kept, replaced, recipe, progress)
        delta.finish()
        delta.set_coefficient(1.0)
        learn = delta.result()
    return Outcome(
        recipe=recipe,
        facts=facts,
        forget=forget,
        coefficient=coefficient,
        curve=curve,
        learn=learn,
        control=material.control,
        preserved=[read_text(tokenizer, tokens) for tokens in material.held],
        steps=steps,
        # What is only forgotten is trained by itself where λ left too much of it.
        taught={"forget": len(old), "learn": new or len(facts)},
        notes=notes,
    )


def check_prompts(
    model: Any, tokenizer: Any, facts: Sequence[Fact], known: Sequence[Probe]
) -> None:
    """Raise for the first prompt that can't be asked, or answered as stated, before any work.

    Args:
        model: holds how many positions there are.
        tokenizer: the model's.
        facts: what will change, with all that their file asks.
        known: what is to stay as it is: of the ledger, the suite.

    Raises:
        PromptTooLong: one of the facts'.
        NotWritable: the tokenizer makes no token of one of the facts', or writes its answer
            otherwise.
        InvalidSetting: one that is to stay as it is.
    """
    for fact in facts:
        for prompt in (fact.prompt, *fact.paraphrases):
            _check_writable(tokenizer, prompt, fact.answer)
    asked = [(fact.prompt, text) for fact in facts for text in (fact.answer, fact.old_answer)]
    asked += [
        (prompt, text)
        for fact in facts
        for prompt in fact.paraphrases
        for text in (fact.answer, fact.old_answer)
    ]
    asked += [(p.prompt, p.answer) for fact in facts for p in (*fact.locality, *fact.portability)]
    own = {prompt for prompt, _ in asked}
    others = [(probe.prompt, probe.answer) for probe in known if probe.prompt not in own]
    # A sentence mark may follow the answer, of several tokens where it is a rare one, and the end.
    marks = (tokenizer(mark, add_special_tokens=False)["input_ids"] for mark in SENTENCE_MARKS)
    more = max(map(len, marks)) + 1
    check_lengths(model, tokenizer, _encoded(tokenizer, asked), more)
    try:
        check_lengths(model, tokenizer, _encoded(tokenizer, others), more)
    except (NotWritable, PromptTooLong) as error:
        raise InvalidSetting("suite or ledger", str(error)) from error


def _check_writable(tokenizer: Any, prompt: str, answer: str | None) -> None:
    asked = encode_prompt(tokenizer, prompt)
    if answer is None:
        return
    example = encode_answer(tokenizer, prompt, answer)
    written = decode(tokenizer, example.targets).strip()
    # Where the two share a token, it may come out otherwise when the model is asked.
    if example.start >= len(asked) and not same_answer(written, answer):
        raise NotWritable(
            prompt,
            f"the base's tokenizer writes the answer {answer!r} as {written!r}, so it can never be "
            "given; state it as the tokenizer does",
        )


def _encoded(tokenizer: Any, pairs: Sequence[tuple[str, str | None]]) -> list[tuple[int, ...]]:
    return [encode_answer(tokenizer, prompt, answer or "").tokens for prompt, answer in pairs]


def _with_old_answers(model: Any, tokenizer: Any, facts: Sequence[Fact]) -> list[Fact]:
    """Fill in what the model itself says where no old answer is known."""
    unknown = [fact for fact in facts if fact.old_answer is None]
    own = dict(
        zip(
            (fact.prompt for fact in unknown),
            own_answers(model, tokenizer, unknown),
            strict=True,
        )
    )
    filled = []
    for fact in facts:
        old, is_new = fact.old_answer, equal_answers
        if old is None:
            # What the model says may go on after the answer.
            old, is_new = own[fact.prompt], same_answer
        # What is already right is not forgotten first.
        if old is not None and fact.answer is not None and is_new(old, fact.answer):
            old = None
        filled.append(dataclasses.replace(fact, old_answer=old))
    return filled


def _train_forget(
    delta: PhaseDelta,
    tokenizer: Any,
    old: Sequence[tuple[str, str]],
    recipe: Recipe,
    progress: Progress,
) -> int:
    steps = train_phase(
        "forgetting",
        delta.model,
        tokenizer,
        PhaseData([encode_answer(tokenizer, prompt, answer) for prompt, answer in old]),
        steps=recipe.steps_to_forget(len(old)),
        batch_size=recipe.batch_size,
        learning_rate=recipe.phase_rate("forget"),
        preserve_weight=0.0,
        seed=recipe.seed,
        checkpointing=recipe.gradient_checkpointing,
        progress=progress,
    )
    delta.finish()
    return steps


def _learn(
    delta: PhaseDelta,
    tokenizer: Any,
    data: PhaseData,
    kept: Kept,
    replaced: Replaced,
    recipe: Recipe,
    progress: Progress,
) -> int:
    """Go through the learn phase as often as it takes, within a bound; return the steps."""
    first, steps, lost = data, 0, list[Example]()
    for turn in range(_MOST_TURNS):
        checked = [*kept.to_check(recipe.seed), *lost]
        steps += _train_learn(delta, tokenizer, data, checked, replaced, recipe, turn, progress)
        # Without the preserve term, nothing is held: nobody asked for it.
        held = kept if recipe.preserve_weight else Kept()
        untaught, let_go, facts, required, prompts, phrasings = _not_given(
            delta,
            tokenizer,
            [data.taught, replaced.old, held.facts, held.required, held.prompts, held.phrasings],
        )
        gone = set(let_go)
        still = [example for example in replaced.old if example not in gone]
        lost = [*facts, *required]
        if not (untaught or still) and held.bears(lost, recipe.control_floor):
            break
        # What was hard to learn, to let go or to keep has a share of its own in the next turn.
        data = dataclasses.replace(
            first,
            missed=untaught,
            kept=[*first.kept, [*replaced.instead_of(still), *prompts, *phrasings]],
        )
    return steps


def _train_learn(
    delta: PhaseDelta,
    tokenizer: Any,
    data: PhaseData,
    kept: Sequence[Example],
    replaced: Replaced,
    recipe: Recipe,
    turn: int,
    progress: Progress,
) -> int:
    given = [*data.taught, *data.paraphrased, *data.recalled, *kept]
    wanted = [(example, True) for example in given]
    wanted += [(example, False) for example in replaced.old]
    return train_phase(
        "learning",
        delta.model,
        tokenizer,
        data,
        steps=max(
            recipe.most_learn_steps(data.shares(recipe.batch_size)[0], len(data.taught)),
            recipe.most_learn_steps(data.replaced_share(recipe.batch_size), len(data.replaced)),
        ),
        batch_size=recipe.batch_size,
        learning_rate=recipe.phase_rate("learn"),
        preserve_weight=recipe.preserve_weight,
        seed=recipe.seed + turn,
        checkpointing=recipe.gradient_checkpointing,
        progress=progress,
        enough=lambda divergence: (
            divergence < recipe.preserve_tolerance and _as_wanted(delta, tokenizer, wanted)
        ),
    )


def search_coefficient(
    delta: PhaseDelta,
    tokenizer: Any,
    old: Sequence[tuple[str, str]],
    control: Sequence[Probe],
    recipe: Recipe,
) -> tuple[Decimal | None, list[Candidate]]:
    """Return λ (None: each harms the control set) and the curve.

    Each candidate costs forward passes only; none are made where the recipe states λ.

    Args:
        delta: what forgetting trained, live; its coefficient is left at the last candidate's.
        tokenizer: the model's.
        old: prompts with the answers to be forgotten.
        control: prompts that must stay; those that count are answered rightly at λ = 0.
        recipe: the grid, and the rule's bounds.
    """
    if recipe.coefficient is not None:
        return recipe.coefficient, []
    asked = [(probe.prompt, probe.answer) for probe in control if probe.answer]
    targets = [encode_answer(tokenizer, *pair) for pair in old]
    others = [encode_answer(tokenizer, *pair) for pair in asked]

    def given(coefficient: Decimal, examples: Sequence[Example]) -> list[bool]:
        delta.set_coefficient(-float(coefficient))
        with merged(delta.model):
            return [score.given for score in score_examples(delta.model, tokenizer, examples)]

    before = given(Decimal(0), others)
    others = [example for example, was_given in zip(others, before, strict=True) if was_given]
    curve = []
    for coefficient in sorted(recipe.coefficient_grid):
        now = given(coefficient, [*targets, *others])
        curve.append(
            Candidate(
                coefficient,
                _share(now[: len(targets)], nothing=0.0),
                _share(now[len(targets) :], nothing=1.0),
            )
        )
    chosen = choose_coefficient(curve, recipe.forget_target, recipe.control_floor)
    return (chosen.coefficient if chosen is not None else None), curve


def _share(given: Sequence[bool], nothing: float) -> float:
    return sum(given) / len(given) if given else nothing


def _learn_data(model: Any, tokenizer: Any, facts: Sequence[Fact], material: Material) -> PhaseData:
    taught: list[Example] = []
    for fact, (ending, ends) in zip(facts, material.endings, strict=True):
        if fact.answer is not None:
            taught.append(teach(tokenizer, fact.prompt, fact.answer, ending, ends))
    paraphrased = []
    for text in material.paraphrases:
        answer, (_, ends) = facts[text.fact].answer, material.endings[text.fact]
        if answer is not None:
            paraphrased.append(teach(tokenizer, text.prompt, answer, text.ending, ends))
    # A new answer may be much longer than the one that a text of the model's own ended in.
    most = most_tokens(model) or math.inf
    paraphrased = [example for example in paraphrased if len(example.tokens) <= most]
    return PhaseData(
        taught,
        paraphrased,
        material.preserve,
        kept=[material.kept.prompts, material.kept.phrasings],
        recalled=material.kept.recalled,
    )


_Wanted = tuple[Example, bool]
"""A text, and whether its answer is to be given."""


def _as_wanted(delta: PhaseDelta, tokenizer: Any, wanted: list[_Wanted]) -> bool:
    """Return whether the state gives just the answers it is to give.

    Of many texts, it asks no further than the first part with one that is not as wanted. Those are
    put to the front of ``wanted``, for the next time: most likely they are not yet then.
    """
    with _as_written(delta):
        for first in range(0, len(wanted), _ASKED_AT_ONCE):
            part = wanted[first : first + _ASKED_AT_ONCE]
            given = _given(delta, tokenizer, [example for example, _ in part])
            missed = {w for w, is_given in zip(part, given, strict=True) if w[1] != is_given}
            if missed:
                wanted.sort(key=lambda one: one not in missed)
                return False
    return True


def _not_given(
    delta: PhaseDelta, tokenizer: Any, groups: Sequence[Sequence[Example]]
) -> list[list[Example]]:
    """Return, of each group, the examples whose answers the state does not give."""
    with _as_written(delta):
        given = iter(_given(delta, tokenizer, [example for group in groups for example in group]))
    return [[example for example in group if not next(given)] for group in groups]


def _given(delta: PhaseDelta, tokenizer: Any, examples: Sequence[Example]) -> list[bool]:
    return [score.given for score in score_examples(delta.model, tokenizer, examples)]


@contextmanager
def _as_written(delta: PhaseDelta) -> Iterator[None]:
    """Let the model answer as the state would that is written now; then train it on as it was."""
    model = delta.model
    was_training = model.training
    model.eval()
    try:
        with delta.as_stored():
            yield
    finally:
        model.train(was_training)
