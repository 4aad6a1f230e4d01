"""Σ cᵢ·ΔWᵢ weight by weight, in float64. Never more than one weight in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from adapterstore.algebra.leaves import DenseLeaf, DenseWeight, LoraLeaf, LowRankFactors
from adapterstore.algebra.lowrank import bare_name, check_terms_agree, scaled_b
from adapterstore.errors import CannotExport, ShapeMismatch

if TYPE_CHECKING:
    import torch

Leaf = LoraLeaf | DenseLeaf


class DenseSum(Mapping[str, DenseWeight]):
    """The weights that a sum of LoRA and dense terms changes, each computed when asked for."""

    def __init__(self, terms: Sequence[tuple[Decimal, Leaf]]):
        """Check that the terms can be summed.

        Raises:
            ShapeMismatch: two terms give one weight different shapes.
            NotLinear: two LoRA terms disagree on how they are laid out.
        """
        check_terms_agree([(c, leaf) for c, leaf in terms if isinstance(leaf, LoraLeaf)])
        self._terms = list(terms)
        self._shapes: dict[str, tuple[int, ...]] = {}
        first: dict[str, str] = {}
        for _, leaf in terms:
            for name, shape in weight_shapes(leaf):
                known = self._shapes.setdefault(name, shape)
                other = first.setdefault(name, leaf.label)
                if known != shape:
                    raise ShapeMismatch(name, other, known, leaf.label, shape)

    def __getitem__(self, name: str) -> DenseWeight:
        return DenseWeight(self._shapes[name], partial(self._compute, name))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._shapes))

    def __len__(self) -> int:
        return len(self._shapes)

    def _compute(self, name: str) -> torch.Tensor:
        import torch

        # Not begun with zeros: 0 + −0 would lose the −0 by which a difference keeps a −0.
        total: torch.Tensor | None = None
        for coefficient, leaf in self._terms:
            part = change_of(coefficient, leaf, name)
            if part is not None:
                total = part if total is None else total.add_(part)
        assert total is not None
        if not bool(torch.isfinite(total).all()):
            raise CannotExport(f"weight {name}", "its terms hold values that are not finite")
        return total


def change_of(coefficient: Decimal, leaf: Leaf, name: str) -> torch.Tensor | None:
    """Return coefficient · ΔW of one weight, a new tensor in float64; None if it is unchanged."""
    import torch

    if isinstance(leaf, DenseLeaf):
        weight = leaf.weights.get(name)
        # What `load` gives may be somebody's own tensor, so nothing is changed in place.
        return None if weight is None else weight.load().to(torch.float64) * float(coefficient)
    factors = factors_of(leaf, name)
    return None if factors is None else low_rank_product(coefficient, factors)


def factors_of(leaf: LoraLeaf, name: str) -> LowRankFactors | None:
    """Return the factors that change a weight, if the leaf has any."""
    module = name.removesuffix(".weight")
    return leaf.modules.get(module) if module != name else None


def low_rank_product(coefficient: Decimal, factors: LowRankFactors) -> torch.Tensor:
    """Return coefficient · scaling · B·A in float64, in the layout of the module's weight."""
    import torch

    product = scaled_b(coefficient, factors) @ factors.load_a().to(torch.float64)
    return product.T if factors.transposed else product


def weight_shapes(leaf: Leaf) -> Iterable[tuple[str, tuple[int, ...]]]:
    """Return the names of the weights that a term changes, with their shapes."""
    if isinstance(leaf, LoraLeaf):
        return [(f"{name}.weight", f.weight_shape) for name, f in leaf.modules.items()]
    return [(name, weight.shape) for name, weight in leaf.weights.items()]


def dtype_of_weight(
    name: str, stored: Mapping[str, torch.dtype], otherwise: torch.dtype
) -> torch.dtype:
    """Return the dtype in which a weight is stored, whose name may be another in the files."""
    found = match_weight(name, stored)
    return otherwise if found is None else stored[found]


def match_weight(name: str, names: Collection[str]) -> str | None:
    """Return which of ``names`` a weight's name stands for, or None.

    A checkpoint may leave out the prefix under which the model holds its body ("transformer."), or
    have one more; the same name wins over both. What the files of a model of several modalities
    call "language_model.model." is "model.language_model." in the model.
    """
    if name in names:
        return name
    found = [c for c in names if c.endswith(f".{name}") or name.endswith(f".{c}")]
    if not found:
        found = [c for c in names if bare_name(c) == bare_name(name)]
    return found[0] if len(found) == 1 else None
