"""The weights of a live model under the names of its files.

transformers converts some checkpoints as it loads them: the experts of a mixture, a few matrices
each in the files, are two tensors in the model, and modules may have other names. Deltas, shapes
and dtypes go by the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adapterstore.algebra.dense import match_weight

if TYPE_CHECKING:
    import torch


def parts_in_files(model: Any, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what belongs to a parameter as the files hold it: weight name → its part.

    Args:
        model: a transformers model.
        name: the parameter's.
        tensor: of its shape: its values, what they change by, or their places.
    """
    from transformers.core_model_loading import revert_weight_conversion

    if not getattr(model, "_weight_conversions", None):
        return {name: tensor}
    parts: dict[str, torch.Tensor] = revert_weight_conversion(model, {name: tensor})
    if len(parts) == 1 and match_weight(name, parts) is not None:
        # Another prefix is no other name: see `match_weight`.
        return {name: tensor}
    return parts


def taken_for_experts(model: Any, modules: Iterable[str]) -> set[str]:
    """Return which modules peft takes for the experts of a mixture, by the ends of their names.

    Of a kind of model whose experts transformers fuses, peft adapts these in the place of a dense
    layer's or a shared expert's gate_proj, say, which is a linear module as ever.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    taken = set()
    for name in modules:
        config = LoraConfig(target_modules=[name])
        try:
            convert_peft_config_for_transformers(config, model, None)
        except ValueError:
            # It is one of two that peft fuses.
            taken.add(name)
        else:
            if name not in (config.target_modules or ()):
                taken.add(name)
    return taken


@dataclass(frozen=True)
class LiveWeight:
    """A weight of the files in the live model: a parameter, or some places of one."""

    parameter: torch.Tensor
    name: str
    """The parameter's, in the model."""
    shape: tuple[int, ...]
    part: str | None = None
    """Its name in the files, where the parameter holds several or is called otherwise."""
    _places: _Places | None = None

    def read(self) -> torch.Tensor:
        """Return its values; of a whole parameter, the parameter itself."""
        if self._places is None:
            return self.parameter
        return self.parameter.detach().reshape(-1)[self._places.of(self)]

    def write(self, values: torch.Tensor) -> None:
        """Set its values, rounded to the parameter's dtype. Nothing may be recorded (no_grad)."""
        if self._places is None:
            self.parameter.copy_(values)
        else:
            flat = self.parameter.detach().view(-1)
            flat[self._places.of(self)] = values.to(flat.dtype)


@dataclass
class _Places:
    """Where the parts of a parameter are in it; those of one parameter are kept, the last."""

    model: Any
    _found: dict[str, torch.Tensor] = field(default_factory=dict)
    _of: str | None = None

    def of(self, weight: LiveWeight) -> torch.Tensor:
        import torch

        if self._of != weight.name:
            parameter = weight.parameter
            # 32 bits, where they do, are half as much memory for a large mixture.
            size = parameter.numel()
            dtype = torch.int32 if size < 2**31 else torch.int64
            places = torch.arange(size, dtype=dtype, device=parameter.device)
            self._found = parts_in_files(self.model, weight.name, places.view(parameter.shape))
            self._of = weight.name
        return self._found[str(weight.part)].long()


class LiveWeights:
    """Finds the weights of a live model by the names of its files, or by its own."""

    def __init__(self, model: Any):
        """Look at a transformers model; no tensor is copied."""
        self._model = model
        self._parameters = dict(model.named_parameters(remove_duplicate=False))

    def find(self, name: str) -> LiveWeight | None:
        """Return a weight; None if the model has none of this name."""
        held = match_weight(name, self._parameters)
        if held is not None:
            parameter = self._parameters[held]
            return LiveWeight(parameter, held, tuple(parameter.shape))
        part = match_weight(name, self._parts)
        return self._parts[part] if part is not None else None

    @cached_property
    def _parts(self) -> Mapping[str, LiveWeight]:
        import torch

        places = _Places(self._model)
        found = {}
        for name, parameter in self._parameters.items():
            outline = torch.empty(parameter.shape, device="meta")
            parts = parts_in_files(self._model, name, outline)
            if list(parts) != [name]:
                for part, shape in ((part, tuple(p.shape)) for part, p in parts.items()):
                    found[part] = LiveWeight(parameter, name, shape, part, places)
        return found
