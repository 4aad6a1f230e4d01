"""The delta that a phase trains: an adapter beside the state, or the base's own weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Protocol

from adapterstore.adapters.live_weights import parts_in_files
from adapterstore.algebra.dense import dtype_of_weight, match_weight
from adapterstore.errors import InvalidSetting
from adapterstore.learning.loading import quantization
from adapterstore.learning.recipe import Method, Recipe
from adapterstore.learning.target_modules import are_transposed, find_targets, without_place

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PhaseResult:
    """A trained delta, as it is stored."""

    kind: Literal["lora", "dense"]
    config: dict[str, Any] | None
    """``adapter_config.json`` of a LoRA delta."""
    tensors: Mapping[str, torch.Tensor]
    """peft's adapter keys → factors; or weight names → tuned − start, in float32."""


class PhaseDelta(Protocol):
    """A delta on a live model: trained at coefficient 1, then seen at any."""

    model: Any

    def finish(self) -> None:
        """Training is over: freeze."""

    def set_coefficient(self, coefficient: float) -> None:
        """Show the model as start + coefficient · delta, as the state is once it is stored."""

    def as_stored(self) -> AbstractContextManager[None]:
        """Show, while training is not over, the model as it would be once it is stored."""

    def result(self) -> PhaseResult:
        """Return the delta."""


def start_delta(
    model: Any,
    method: Method,
    name: str,
    recipe: Recipe,
    stored: Mapping[str, torch.dtype] | None = None,
) -> PhaseDelta:
    """Return a new delta on a model, which is frozen otherwise.

    Args:
        model: a transformers model, or a PEFT model whose adapters are active.
        method: ``lora`` or ``full``.
        name: of the phase.
        recipe: rank, alpha and target modules; what it leaves open is the architecture's.
        stored: what a state's weights are rounded to when it is written: the dtype of each weight
            in the base's files. Without it, the dtype of each weight of ``model``.

    Raises:
        InvalidSetting: the model has nothing of the kind to train.
    """
    model.requires_grad_(False)
    if method == "lora":
        return LowRankDelta(model, name, recipe.for_model(model), stored)
    return DenseWeights(model, name, stored)


class LowRankDelta:
    """A LoRA adapter, active beside those that make up the state."""

    def __init__(
        self, model: Any, name: str, recipe: Recipe, stored: Collection[str] | None = None
    ):
        from peft import LoraConfig, PeftModel, get_peft_model

        assert recipe.target_modules != "auto"
        targets = find_targets(model, recipe.target_modules)
        left_out = without_place(model, targets, stored)
        if left_out and recipe.target_modules != "all-linear":
            module = min(left_out)
            raise InvalidSetting("recipe.target_modules", f"{module}: {left_out[module]}")
        targets = [target for target in targets if target not in left_out]
        if not targets:
            raise InvalidSetting(*_nothing_to_adapt(recipe.target_modules))
        transposed = are_transposed(model, targets)
        if transposed is None:
            raise InvalidSetting(
                "recipe.target_modules",
                "the modules to adapt keep their weights in two layouts, and an adapter has one; "
                "name modules of one kind",
            )
        assert recipe.rank is not None
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha or recipe.rank,
            target_modules=targets,
            fan_in_fan_out=transposed,
            task_type="CAUSAL_LM",
        )
        self._name = name
        try:
            if isinstance(model, PeftModel):
                tuner: Any = model.base_model
                before = list(tuner.active_adapters)
                model.add_adapter(name, config, autocast_adapter_dtype=False)
                tuner.set_adapter([*before, name])
            else:
                model = get_peft_model(
                    model, config, adapter_name=name, autocast_adapter_dtype=False
                )
        except ValueError as error:
            raise InvalidSetting("recipe.target_modules", " ".join(str(error).split())) from error
        self.model = model
        for key, parameter in model.named_parameters():
            # A module of the base may have a name that begins so ("forget_gate").
            own = f".{name}." in f"{key}." and "lora_" in key
            parameter.requires_grad_(own)
            if own:
                # Adapters train in float32, whatever the base computes in.
                parameter.data = parameter.data.float()
        self._scalings = {id(layer): layer.scaling[name] for layer in self._layers()}

    def _layers(self) -> list[Any]:
        from peft.tuners.lora import LoraLayer

        return [
            module
            for module in self.model.modules()
            if isinstance(module, LoraLayer) and self._name in module.scaling
        ]

    def finish(self) -> None:
        """Freeze the adapter."""
        self.model.requires_grad_(False)

    def set_coefficient(self, coefficient: float) -> None:
        """Scale the adapter."""
        for layer in self._layers():
            layer.scaling[self._name] = self._scalings[id(layer)] * coefficient

    def as_stored(self) -> AbstractContextManager[None]:
        """Do nothing: an adapter is stored in the float32 in which it is trained."""
        return nullcontext()

    def result(self) -> PhaseResult:
        """Return the adapter as peft would save it."""
        from peft import get_peft_model_state_dict

        tensors = get_peft_model_state_dict(
            self.model, adapter_name=self._name, save_embedding_layers=False
        )
        config = self.model.peft_config[self._name].to_dict()
        config["target_modules"] = sorted(config["target_modules"])
        # peft sets it, to nothing, where the model fuses experts; see `without_place`.
        config["target_parameters"] = None
        config.update(inference_mode=True, base_model_name_or_path=None, auto_mapping=None)
        return PhaseResult(
            "lora", config, {k: v.detach().float().cpu().contiguous() for k, v in tensors.items()}
        )


def _nothing_to_adapt(wanted: str | tuple[str, ...]) -> tuple[str, str]:
    """Return which setting is at fault, and why."""
    if wanted == "all-linear" or not wanted:
        return "recipe.method", "lora, but the base has no linear layers to adapt; use full"
    return "recipe.target_modules", f"no linear layer of the base is called {' or '.join(wanted)}"


class DenseWeights:
    """All of the base's own floating-point weights."""

    def __init__(self, model: Any, name: str, stored: Mapping[str, torch.dtype] | None = None):
        import torch

        method = quantization(model.config)
        if method is not None:
            raise InvalidSetting(
                "recipe.method", f"full, but the base's weights are quantised ({method}); use lora"
            )
        self.model = model
        self._weights = {
            base_weight_name(key): parameter
            for key, parameter in model.named_parameters()
            if parameter.is_floating_point() and "lora_" not in key
        }
        if not self._weights:
            raise InvalidSetting(
                "recipe.method", "full, but the base has no floating-point weights; use lora"
            )
        names = {key: list(self._parts(key, p)) for key, p in self._weights.items()}
        _check_names(names, stored)
        self._stored = {
            key: dtype_of_weight(names[key][0], stored or {}, p.dtype)
            for key, p in self._weights.items()
        }
        if any(p.dtype != torch.float32 for p in self._weights.values()):
            # Steps of an optimizer are lost in 16 bits.
            model.float()
        self._start = {key: p.detach().clone() for key, p in self._weights.items()}
        self._delta: dict[str, torch.Tensor] = {}
        for parameter in self._weights.values():
            parameter.requires_grad_(True)

    def finish(self) -> None:
        """Freeze the weights and keep the difference."""
        for key, parameter in self._weights.items():
            parameter.requires_grad_(False)
            self._delta[key] = parameter.detach() - self._start[key]

    def set_coefficient(self, coefficient: float) -> None:
        """Set each weight to start + coefficient · delta, summed in float64 and rounded once."""
        for key, parameter in self._weights.items():
            exact = self._start[key].double() + coefficient * self._delta[key].double()
            parameter.data.copy_(exact.to(self._stored[key]))

    @contextmanager
    def as_stored(self) -> Iterator[None]:
        """Round each weight as a written state does; put back what training goes on with."""
        import torch

        kept = {
            key: parameter.detach().clone()
            for key, parameter in self._weights.items()
            if self._stored[key] != torch.float32
        }
        for key, value in kept.items():
            self._weights[key].data.copy_(value.to(self._stored[key]))
        try:
            yield
        finally:
            for key, value in kept.items():
                self._weights[key].data.copy_(value)

    def result(self) -> PhaseResult:
        """Return the differences that are not 0, of the weights as the base's files hold them."""
        parts = (self._parts(key, delta) for key, delta in self._delta.items())
        return PhaseResult(
            "dense",
            None,
            {
                name: d.float().cpu().contiguous()
                for weights in parts
                for name, d in weights.items()
                if bool(d.any())
            },
        )

    def _parts(self, key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        base = getattr(self.model, "get_base_model", lambda: self.model)()
        return parts_in_files(base, key, tensor)


def _check_names(
    names: Mapping[str, Sequence[str]], stored: Mapping[str, torch.dtype] | None
) -> None:
    """Raise `InvalidSetting` where a model's weights are not each one or more of the files'."""
    seen: set[str] = set()
    for name in chain.from_iterable(names.values()):
        problem = None
        if name in seen:
            problem = f"several of the model's weights are one ({name})"
        elif stored and match_weight(name, stored) is None:
            problem = f"there is no {name}, as in the model"
        if problem is not None:
            raise InvalidSetting(
                "recipe.method", f"full, but in the base's files {problem}; use lora"
            )
        seen.add(name)


def base_weight_name(key: str) -> str:
    """Return the base's name of a parameter that peft may have wrapped."""
    return key.removeprefix("base_model.model.").replace(".base_layer.", ".")
