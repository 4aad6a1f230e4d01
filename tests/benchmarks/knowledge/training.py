"""One run: by a plan of fixed epochs (the rows beside ours), or by the product's own recipe."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from adapterstore.evaluation.encoding import encode_answer
from adapterstore.evaluation.generation import score_examples
from adapterstore.history.base import stored_dtypes
from adapterstore.knowledge.facts import Fact
from adapterstore.learning.keeping import teach
from adapterstore.learning.loading import load_base
from adapterstore.learning.material import Material
from adapterstore.learning.phase_delta import PhaseDelta, start_delta
from adapterstore.learning.phases import forget_then_learn, search_coefficient
from adapterstore.learning.prepared import prepare
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.learning.training import PhaseData, train_phase
from adapterstore.progress import NO_PROGRESS
from tests.benchmarks.knowledge.draws import Draw
from tests.benchmarks.knowledge.held_out import check_held_out

NO_TEXTS: dict[str, Any] = {"sampled_texts": 0, "subject_texts": 0, "control_size": 0}


@dataclass(frozen=True)
class Plan:
    """Fine-tuning for a fixed number of epochs, on the old answers first where ``forget`` is set.

    Plain fine-tuning forgets nothing; F-Learning as published subtracts a fixed λ and preserves
    nothing. The rest is what the ablation turns on.
    """

    learn: Method
    forget: Method | None = None
    coefficient: Decimal | None = None
    """λ; None searches the product's grid."""
    epochs: int = 25
    rate: float = 1.0
    """Times the learning rate that the product's recipe has for the architecture."""
    preserve: bool = False
    """The product's preserve set and its weight."""
    paraphrases: bool = False
    """Texts of the model's own that state the facts."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            name: str(value) if isinstance(value, Decimal) else value
            for name, value in asdict(self).items()
        }


@dataclass
class Run:
    """A trained state, live, and how it came about."""

    model: Any
    tokenizer: Any
    seconds: float = 0.0
    processor_seconds: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    coefficient: str | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    course: list[dict[str, float]] = field(default_factory=list)
    """Of the learn phase: at every fifth step, share of new answers given, and KL."""


def train_ours(folder: Path, draw: Draw, seed: int, forget: Method, learn: Method) -> Run:
    """Run the product's forget-then-learn with its defaults."""
    started, used = time.perf_counter(), time.process_time()
    model, tokenizer = load_base(folder, "cpu")
    recipe = Recipe(method=learn, forget_method=forget, learn_method=learn, seed=seed)
    stored = stored_dtypes(folder)
    outcome = forget_then_learn(model, tokenizer, draw.facts, recipe=recipe, stored=stored)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    check_held_out(draw, outcome.preserved)
    # LoRA wraps the model in place; its layers are the trained ones.
    return Run(
        model,
        tokenizer,
        seconds,
        used,
        outcome.steps,
        str(outcome.coefficient) if outcome.coefficient is not None else None,
        [candidate.to_dict() for candidate in outcome.curve],
    )


def train_plan(folder: Path, facts: list[Fact], seed: int, plan: Plan, watch: bool = False) -> Run:
    """Load a base and train it by a plan; ``watch`` notes the learn phase's course."""
    started, used = time.perf_counter(), time.process_time()
    model, tokenizer = load_base(folder, "cpu")
    run = Run(model, tokenizer)
    train_on(run, facts, seed, plan, folder, watch)
    run.seconds = time.perf_counter() - started
    run.processor_seconds = time.process_time() - used
    return run


def train_on(
    run: Run, facts: list[Fact], seed: int, plan: Plan, folder: Path, watch: bool = False
) -> None:
    """Train the state that a run holds by a plan."""
    model, tokenizer = run.model, run.tokenizer
    searched = plan.forget is not None and plan.coefficient is None
    written = plan.preserve or plan.paraphrases or searched
    recipe = Recipe(
        forget_method=plan.forget or plan.learn,
        learn_method=plan.learn,
        seed=seed,
        **({} if written else NO_TEXTS),
    ).for_model(model)
    prepared = prepare(model, tokenizer, facts, [], recipe)
    material = prepared.material
    steps = plan.epochs * math.ceil(len(facts) / recipe.batch_size)
    memory = prepared.memory if plan.preserve else None
    stored = stored_dtypes(folder)
    number = len(getattr(model, "peft_config", {}))

    def train(delta: PhaseDelta, phase: str, data: PhaseData, enough: Any = None) -> None:
        run.steps[phase] = train_phase(
            phase,
            delta.model,
            tokenizer,
            data,
            steps=steps,
            batch_size=recipe.batch_size,
            learning_rate=plan.rate * recipe.phase_rate("forget" if phase == "forget" else "learn"),
            preserve_weight=recipe.preserve_weight if plan.preserve else 0.0,
            seed=seed,
            progress=NO_PROGRESS,
            enough=enough,
        )
        delta.finish()

    if plan.forget is not None:
        old = [(fact.prompt, fact.old_answer or "") for fact in facts]
        delta = start_delta(model, plan.forget, f"forget{number:03}", recipe, stored)
        model = delta.model
        examples = [encode_answer(tokenizer, prompt, answer) for prompt, answer in old]
        train(delta, "forget", PhaseData(examples))
        coefficient = plan.coefficient
        if coefficient is None:
            found, curve = search_coefficient(delta, tokenizer, old, material.control, recipe)
            run.curve = [candidate.to_dict() for candidate in curve]
            coefficient = found if found is not None else Decimal(0)
        run.coefficient = str(coefficient)
        delta.set_coefficient(-float(coefficient))
    delta = start_delta(model, plan.learn, f"learn{number:03}", recipe, stored)
    data = _learn_data(tokenizer, facts, material, plan)

    def note(divergence: float) -> bool:
        """Write down how far learning is; it is never enough."""
        training = delta.model.training
        delta.model.eval()
        with delta.as_stored():
            given = [score.given for score in score_examples(delta.model, tokenizer, data.taught)]
        delta.model.train(training)
        share = round(sum(given) / len(given), 4)
        run.course.append({"given": share, "KL": round(divergence, 6)})
        return False

    train(delta, "learn", replace(data, memory=memory), note if watch else None)
    delta.set_coefficient(1.0)
    run.model = delta.model


def _learn_data(tokenizer: Any, facts: list[Fact], material: Material, plan: Plan) -> PhaseData:
    endings = material.endings
    taught = [
        teach(tokenizer, fact.prompt, fact.answer or "", *ending)
        for fact, ending in zip(facts, endings, strict=True)
    ]
    paraphrased = [
        teach(tokenizer, text.prompt, facts[text.fact].answer or "", text.ending, ends)
        for text in material.paraphrases
        for _, ends in [endings[text.fact]]
    ]
    return PhaseData(
        taught, paraphrased if plan.paraphrases else [], material.preserve if plan.preserve else []
    )
