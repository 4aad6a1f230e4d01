"""Σ cᵢ·sᵢ·BᵢAᵢ as one LoRA adapter: ranks are concatenated, which is exact.

[c₁s₁B₁ | c₂s₂B₂ | …] · [A₁; A₂; …] = Σ cᵢ·sᵢ·BᵢAᵢ. Combining A's with A's and B's with B's, as
linear adapter merges do, is another matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adapterstore.algebra.leaves import LoraLeaf, LowRankFactors
from adapterstore.errors import CannotExport, NotLinear, ShapeMismatch

if TYPE_CHECKING:
    import torch

LoraTerm = tuple[Decimal, LoraLeaf]
_BODIES = frozenset({"model", "transformer", "backbone", "language_model", "text_model", "llm"})


@dataclass(frozen=True)
class MaterializedLora:
    """One PEFT adapter: the content of its config, and its tensors in float32."""

    config: dict[str, Any]
    tensors: Mapping[str, torch.Tensor]
    """Each may be computed anew whenever it is asked for."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of the same names."""

    @property
    def rank(self) -> int:
        """The rank that every module has."""
        return int(self.config["r"])


def materialize_lora(terms: Sequence[LoraTerm]) -> MaterializedLora:
    """Return the sum of LoRA terms as one adapter, each tensor computed when it is asked for.

    The coefficient and the scaling go into B, computed in float64 and rounded once to float32; A is
    cast to float32. Every module gets the largest rank, filled up with zeros, with alpha = rank, so
    the scaling is 1 and no per-module pattern is needed: servers that read only ``r`` and
    ``lora_alpha`` read it right. Terms are concatenated in the order given; equal terms in equal
    order give equal bytes.

    Args:
        terms: (coefficient, leaf), all of one base.

    Raises:
        CannotExport: no terms; and from ``tensors``, values that are not finite.
        ShapeMismatch: two terms give one module different shapes.
        NotLinear: two terms disagree on a module's layout, or on whether it is an embedding.
    """
    if not terms:
        raise CannotExport("the empty sum as lora", "it is the base model itself")
    check_terms_agree(terms)
    names = sorted({name for _, leaf in terms for name in leaf.modules})
    rank = max(sum(f.rank for _, f in factors_of_module(terms, name)) for name in names)
    tensors = _Concatenated(terms, names, rank)
    return MaterializedLora(lora_config(terms, names, rank), tensors, tensors.shapes)


class _Concatenated(Mapping[str, "torch.Tensor"]):
    """The tensors of a sum of LoRA terms; never more than one of them in memory."""

    def __init__(self, terms: Sequence[LoraTerm], names: Sequence[str], rank: int):
        self._terms = list(terms)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._parts: dict[str, tuple[str, bool]] = {}
        """Tensor → its module, and whether it is B."""
        for name in names:
            first = factors_of_module(terms, name)[0][1]
            key_a, key_b = lora_keys(name, first.embedding)
            self.shapes[key_a] = (rank, first.in_features)
            self.shapes[key_b] = (first.out_features, rank)
            self._parts[key_a], self._parts[key_b] = (name, False), (name, True)

    def __getitem__(self, key: str) -> torch.Tensor:
        import torch

        name, is_b = self._parts[key]
        total = torch.zeros(self.shapes[key], dtype=torch.float32)
        position = 0
        for coefficient, factor in factors_of_module(self._terms, name):
            end = position + factor.rank
            if is_b:
                total[:, position:end] = scaled_b(coefficient, factor).to(torch.float32)
            else:
                total[position:end] = factor.load_a().to(torch.float32)
            position = end
        if not bool(torch.isfinite(total).all()):
            raise CannotExport(f"module {name}", "its factors hold values that are not finite")
        return total

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def lora_keys(module: str, embedding: bool) -> tuple[str, str]:
    """Return peft's names of a module's A and B."""
    kind = "lora_embedding_{}" if embedding else "lora_{}.weight"
    prefix = f"base_model.model.{module}."
    return prefix + kind.format("A"), prefix + kind.format("B")


def scaled_b(coefficient: Decimal, factors: LowRankFactors) -> torch.Tensor:
    """Return coefficient · scaling · B in float64, shape (out, rank)."""
    import torch

    return factors.load_b().to(torch.float64) * (float(coefficient) * factors.scaling)


def check_terms_agree(terms: Sequence[LoraTerm]) -> None:
    """Raise unless the terms can be summed; see `materialize_lora`."""
    seen: dict[str, tuple[str, LowRankFactors]] = {}
    for _, leaf in terms:
        for name, factors in leaf.modules.items():
            label, other = seen.setdefault(name, (leaf.label, factors))
            if factors.embedding != other.embedding:
                raise NotLinear(leaf.label, name, f"it is an embedding here, but not in {label}")
            if factors.transposed != other.transposed:
                raise NotLinear(
                    leaf.label,
                    f"{name} with fan_in_fan_out={leaf.fan_in_fan_out}",
                    f"{label} has the other layout, so they are of different base models",
                )
            if factors.weight_shape != other.weight_shape:
                raise ShapeMismatch(
                    name, label, other.weight_shape, leaf.label, factors.weight_shape
                )
    bare = {bare_name(name): name for name in seen}
    for name in seen:
        _check_name(name, seen, bare)


def _check_name(
    name: str,
    seen: Mapping[str, tuple[str, LowRankFactors]],
    bare: Mapping[tuple[str, ...], str],
) -> None:
    """Refuse a module that another term calls by another name: peft would drop one, silently."""
    others = [bare[bare_name(name)]]
    shorter = name
    while "." in shorter:
        shorter = shorter.partition(".")[2]
        others.append(shorter)
    for other in others:
        if other != name and other in seen:
            raise NotLinear(
                seen[other][0],
                f"{other} beside {name} of {seen[name][0]}",
                "they seem to be one module, of adapters made for two classes of the model; save "
                "both for the same one",
            )


@lru_cache(maxsize=1 << 16)
def bare_name(name: str) -> tuple[str, ...]:
    """Return the parts of a name without those that only say which part of a model holds a text."""
    return tuple(part for part in name.split(".") if part not in _BODIES)


def factors_of_module(terms: Sequence[LoraTerm], name: str) -> list[tuple[Decimal, LowRankFactors]]:
    """Return the factors of every term that adapts a module, with the term's coefficient."""
    return [(c, leaf.modules[name]) for c, leaf in terms if name in leaf.modules]


def lora_config(terms: Sequence[LoraTerm], names: list[str], rank: int) -> dict[str, Any]:
    """Return the config of one adapter that stands for terms; its scaling is 1."""
    base_names = {leaf.base_name for _, leaf in terms} - {None}
    task_types = {leaf.task_type for _, leaf in terms} - {None}
    return {
        "peft_type": "LORA",
        "task_type": task_types.pop() if len(task_types) == 1 else None,
        "base_model_name_or_path": base_names.pop() if len(base_names) == 1 else None,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": names,
        # Of a base with layers of both layouts, such as GPT-2; peft asks each layer which it has.
        "fan_in_fan_out": any(leaf.fan_in_fan_out for _, leaf in terms),
        "inference_mode": True,
    }
