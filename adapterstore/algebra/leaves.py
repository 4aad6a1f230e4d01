"""The leaves of a sum: one LoRA adapter or one dense difference, tensors read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LowRankFactors:
    """ΔW = scaling · B·A of one module; A is (rank, in), B is (out, rank)."""

    rank: int
    scaling: float
    in_features: int
    out_features: int
    embedding: bool
    transposed: bool
    """The module keeps its weight as (in, out): Conv1D and embeddings; it changes by (B·A)ᵀ."""
    load_a: Callable[[], torch.Tensor]
    load_b: Callable[[], torch.Tensor]

    @property
    def weight_shape(self) -> tuple[int, int]:
        """Shape of the weight that the factors change."""
        shape = (self.out_features, self.in_features)
        return shape[::-1] if self.transposed else shape


@dataclass(frozen=True)
class LoraLeaf:
    """One LoRA adapter: factors by module name."""

    label: str
    base_name: str | None
    modules: Mapping[str, LowRankFactors]
    fan_in_fan_out: bool = False
    task_type: str | None = None


@dataclass(frozen=True)
class DenseWeight:
    """The difference of one weight, in float32 or float64."""

    shape: tuple[int, ...]
    load: Callable[[], torch.Tensor]


@dataclass(frozen=True)
class DenseLeaf:
    """One dense difference: tuned − base, by weight name; a weight that is absent is unchanged."""

    label: str
    base_name: str | None
    weights: Mapping[str, DenseWeight] = field(default_factory=dict)
