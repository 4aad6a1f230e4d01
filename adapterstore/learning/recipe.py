"""How an update is trained: every knob, with its default."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from adapterstore.evaluation.chat import ChatMode
from adapterstore.learning.architectures import Method, architecture_of, width_of
from adapterstore.learning.target_modules import find_targets
from adapterstore.settings_model import SettingsModel

__all__ = ["Method", "Recipe"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Rank = Annotated[int, Field(ge=1, le=10_000)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""Below what torch and numpy take, as each turn of the learn phase has a seed of its own."""
Coefficient = Annotated[Decimal, Field(gt=0, le=100, decimal_places=6, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _switch(value: object) -> object:
    """YAML reads a bare on and off as true and false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


DEFAULT_GRID = tuple(
    Decimal(text) for text in ("0.1", "0.2", "0.3", "0.5", "0.7", "1", "1.5", "2", "3")
)


_LEAST_STEPS = 50
_MOST_PASSES = 25
_LEAST_FORGET_STEPS = 25
_FORGET_PASSES = 8
_TEXTS_PER_FACT = 15
_LEAST_TEXTS, _MOST_TEXTS = 700, 3000
_MOST_ABOUT_SUBJECTS, _LEAST_ABOUT_SUBJECT = 12_000, 4


class Recipe(SettingsModel):
    """One recipe. Equal recipes, seeds, states and machines give equal updates."""

    method: Method = "lora"
    forget_method: Method | None = None
    """None: as ``method``. The two phases may differ."""
    learn_method: Method | None = None
    rank: Rank | None = None
    """Of LoRA; None: by architecture, 16 or, where queries, keys and values are one module, 24."""
    alpha: Count | None = None
    """None: as ``rank``, so that the scaling is 1."""
    target_modules: Literal["auto", "all-linear"] | tuple[str, ...] = "auto"
    """What LoRA adapts: by architecture; or every linear layer but the output layer; or modules
    whose names end so."""
    learning_rate: Positive | None = None
    """Of the learn phase; None: by architecture and width, ten times as high for LoRA."""
    forget_learning_rate: Positive | None = None
    """None: ``learning_rate`` where it is given, else by architecture, width and the phase's own
    method."""
    learn_steps: Count | None = None
    """At most; learning stops when the new answers are given and the rest is as it was. None: 50,
    or as many as it takes to show each fact, and each phrasing of what is only forgotten, 25 times.
    Where a new answer is still not given then, or too much of what must stay is lost, the phase is
    gone through again, at most five times in all."""
    forget_steps: Count | None = None
    """None: 25, or as many as it takes to show each old answer 8 times."""
    batch_size: Count = 32
    """Texts that teach, in one step. On top come half as many again that preserve, up to three
    quarters as many that keep earlier facts, up to a quarter as many that keep away what is only
    forgotten (as many, where nothing is taught), and up to a quarter that teach again what the
    state does not give of the ledger. What one turn of learning missed comes on top in the next."""
    forget: bool = True
    coefficient: Coefficient | None = None
    """λ of the forget phase; None searches ``coefficient_grid``."""
    coefficient_grid: Annotated[tuple[Coefficient, ...], Field(min_length=1)] = DEFAULT_GRID
    forget_target: Share = 0.1
    """Share of old answers still given at which forgetting is done."""
    control_floor: Share = 0.95
    """Share of the control set that a λ has to keep, and of the earlier facts that learning has to:
    while fewer are given, it goes on."""
    preserve_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 8.0
    """β of the preserve term: loss = CE(new answers) + β·KL(before ‖ now)."""
    preserve_tolerance: Positive = 0.002
    """KL a position, on the preserve set, below which the model says what it is to go on saying."""
    sampled_texts: Annotated[int, Field(ge=0)] | None = None
    """Texts sampled from the model itself, to preserve what it knows. None: 15 for each fact, but
    no fewer than 700 and no more than 3000."""
    subject_texts: Annotated[int, Field(ge=0)] = 60
    """Texts sampled about each fact's subject, at most; of many facts fewer each, about
    12,000 in all, but no fewer than 4."""
    control_size: Annotated[int, Field(ge=0)] = 100
    """Prompts held out of the preserve set, on which harm is measured."""
    retained_facts: Annotated[int, Field(ge=0)] = 1000
    """Facts of the ledger, at most, that training preserves and retention is measured on. Protected
    ones come first, but half is left for the others, as far as there are so many; what has no room
    for all is drawn with the seed, so that the cost has a bound. What room is left goes to other
    phrasings of theirs, which training preserves too. A quarter, or what the others
    leave, goes to facts that were forgotten, which are not to come back."""
    suite_prompts: Annotated[int, Field(ge=0)] = 1000
    """Prompts of the regression suite, at most, that training preserves and that are measured; of
    more, so many are drawn with the seed."""
    seed: Seed = 0
    chat_template: Annotated[ChatMode, BeforeValidator(_switch)] = "off"
    """Whether a prompt is put to the model as a user's turn, and its answer is the assistant's;
    ``auto``: where the tokenizer brings a template."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third slower."""
    device: str = "auto"
    """``auto``: the GPU if there is one, else the CPU; or torch's name of a device."""
    device_map: Literal["auto"] | None = None
    """``auto`` spreads the base's layers over all devices, for one that no single device holds."""

    def to_yaml(self) -> str:
        """Return the recipe as YAML, every value stated."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def phase_method(self, phase: Literal["forget", "learn"]) -> Method:
        """Return how a phase is trained."""
        chosen = self.forget_method if phase == "forget" else self.learn_method
        return chosen or self.method

    def most_learn_steps(self, shown: int, facts: int) -> int:
        """Return the most steps of the learn phase, of which each shows ``shown`` of the facts."""
        if self.learn_steps is not None:
            return self.learn_steps
        return max(_LEAST_STEPS, math.ceil(_MOST_PASSES * facts / max(shown, 1)))

    def steps_to_forget(self, answers: int) -> int:
        """Return how many steps the forget phase takes, for so many old answers."""
        if self.forget_steps is not None:
            return self.forget_steps
        return max(_LEAST_FORGET_STEPS, math.ceil(_FORGET_PASSES * answers / self.batch_size))

    def texts_to_sample(self, facts: int) -> int:
        """Return how many texts are sampled from the model itself, for so many facts."""
        if self.sampled_texts is not None:
            return self.sampled_texts
        return min(max(_LEAST_TEXTS, _TEXTS_PER_FACT * facts), _MOST_TEXTS)

    def texts_about_each(self, facts: int) -> int:
        """Return how many texts are sampled about each fact's subject, for so many facts."""
        room = max(_MOST_ABOUT_SUBJECTS // max(facts, 1), _LEAST_ABOUT_SUBJECT)
        return min(self.subject_texts, room)

    def for_model(self, model: Any) -> Recipe:
        """Return the recipe with what it left to the model's architecture filled in."""
        kind, width = architecture_of(model), width_of(model)
        targets = self.target_modules
        if targets == "auto":
            own = kind.target_modules or ()
            targets = own if find_targets(model, own) else "all-linear"
        rank = self.rank or kind.rank
        rates = {
            phase: self.learning_rate or kind.learning_rate(self.phase_method(phase), width)
            for phase in ("learn", "forget")
        }
        return self.model_copy(
            update={
                "rank": rank,
                "alpha": self.alpha or rank,
                "target_modules": targets,
                "learning_rate": rates["learn"],
                "forget_learning_rate": self.forget_learning_rate or rates["forget"],
            }
        )

    def phase_rate(self, phase: Literal["forget", "learn"]) -> float:
        """Return the peak learning rate of a phase; of a recipe that `for_model` gave."""
        rate = self.forget_learning_rate if phase == "forget" else self.learning_rate
        assert rate is not None
        return rate
