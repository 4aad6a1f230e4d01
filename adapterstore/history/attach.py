"""Put a model into a state: the same function that an export writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.adapters.live_weights import LiveWeight, LiveWeights, taken_for_experts
from adapterstore.adapters.model_folder import read_model_folder
from adapterstore.adapters.tensor_file import FLOAT_DTYPES
from adapterstore.algebra.composition import Composition
from adapterstore.algebra.dense import (
    DenseSum,
    Leaf,
    dtype_of_weight,
    match_weight,
    weight_shapes,
)
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.algebra.lowrank import (
    LoraTerm,
    MaterializedLora,
    check_terms_agree,
    materialize_lora,
)
from adapterstore.errors import AdapterStoreError, BaseModelMismatch, CannotExport, ShapeMismatch
from adapterstore.history.leaves import Leaves, open_leaves, summarize_delta
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store.repository import Repository

if TYPE_CHECKING:
    import torch

_IN_A_STATE = "_adapterstore_dense_state"


def attach_composition(
    repository: Repository,
    composition: Composition,
    model: Any,
    stored: Mapping[str, torch.dtype] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Any:
    """Return ``model``, the base, in the state of a composition: frozen, in eval mode.

    Args:
        repository: holds the deltas.
        composition: the state.
        model: the base model, a transformers model; it is changed in place.
        stored: what dense sums are rounded to, once: the dtype of each weight in the base's files
            (`stored_dtypes`), which the model may compute in a wider one. Without it, the dtype
            that each weight has in the model.
        progress: told of every file.

    Raises:
        CorruptStore: a delta's bytes are not what its id says.
        BaseModelMismatch, ShapeMismatch: the model is not the deltas' base.
        CannotExport: a term is not finite, or the sum is beyond the weights' dtype.
    """
    with open_leaves(repository, composition, progress) as leaves:
        return _attach(model, leaves, stored)


def attach_to_base(
    repository: Repository, composition: Composition, model: Any, base_folder: Path | None = None
) -> Any:
    """Return somebody's model in the state of a composition, if it is a base; else change nothing.

    Where ``base_folder`` has the base's weights, the first rows of those that the state changes are
    compared with them: another state's change may have been merged into the model.

    Raises:
        BaseModelMismatch: it is no model, has no values, has adapters, is in a state with dense
            terms, or its weights are not the base's.
        AdapterStoreError: as `attach_composition`.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    kind = type(model).__name__
    if not isinstance(model, torch.nn.Module):
        raise BaseModelMismatch(
            kind, kind, f"a state is put on the base as a transformers model, not on {kind}"
        )
    adapted = [n for n, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    if adapted or getattr(model, _IN_A_STATE, False):
        has = f"has an adapter on {adapted[0]!r}" if adapted else "is in a state with dense terms"
        raise BaseModelMismatch(
            kind, kind, f"{kind} {has}; a state is put on the base: unload() it, or load it anew"
        )
    empty = (name for name, parameter in model.named_parameters() if parameter.is_meta)
    # Layers that accelerate keeps elsewhere are on it, too, while they do not compute.
    if (name := next(empty, None)) is not None and not hasattr(model, "hf_device_map"):
        raise BaseModelMismatch(
            kind, kind, f"{kind} has no values ({name!r} is on the meta device); load its weights"
        )
    with open_leaves(repository, composition) as leaves:
        if base_folder is not None:
            _check_first_rows(model, leaves, base_folder)
        return _attach(model, leaves)


def _check_first_rows(model: Any, leaves: Leaves, base_folder: Path) -> None:
    """Raise if a weight that the leaves change begins otherwise than in the base's files.

    What loading the base may make otherwise passes: packed weights, and rounding to 16 bits.
    """
    import torch

    try:
        folder = read_model_folder(base_folder)
    except AdapterStoreError:
        # A part of the model in the Hub cache, or pickled weights: nothing to compare with.
        return
    if folder.config.get("quantization_config") is not None:
        return
    stored, weights = folder.weights, LiveWeights(model)
    changed = {name for _, leaf in leaves.terms for name, _ in weight_shapes(leaf)}
    for name in sorted(changed):
        live, file = weights.find(name), match_weight(name, stored)
        if live is None or live.part is not None or file is None:
            continue
        if type(live.parameter) is not torch.nn.Parameter:
            continue
        here, there = live.parameter.detach(), stored[file]
        floats = here.is_floating_point() and there.info.dtype in FLOAT_DTYPES
        alike = here.dim() > 0 and tuple(here.shape) == there.info.shape
        if here.is_meta or not floats or not alike:
            continue
        rows = there.load(first=1).to(torch.float32)
        if not torch.allclose(here[:1].cpu().float(), rows, rtol=2**-8, atol=2**-20):
            kind = type(model).__name__
            raise BaseModelMismatch(
                kind,
                kind,
                f"{kind}: its weight {live.name!r} is not the one of the base in {base_folder} "
                "(was another state merged into it?); a state is put on the base: load it anew",
            )


def _attach(
    model: Any,
    leaves: Leaves,
    stored: Mapping[str, torch.dtype] | None = None,
    copies: list[tuple[LiveWeight, torch.Tensor]] | None = None,
) -> Any:
    """Return a model in the state of opened terms, frozen and in eval mode; see `_add_dense`."""
    # What can be refused is refused before the model changes.
    weights = LiveWeights(model)
    beside, into = _place(model, weights, leaves)
    changed = _find_changed(model, weights, beside, into)
    lora = materialize_lora(beside) if beside else None
    if into:
        # Whatever stops it half way, another state must not come on top.
        setattr(model, _IN_A_STATE, True)
    _add_dense(changed, DenseSum(into), stored or {}, copies)
    if lora is not None:
        model = _attach_lora(model, lora)
    model.requires_grad_(False)
    return model.eval()


def _place(
    model: Any, weights: LiveWeights, leaves: Leaves
) -> tuple[list[LoraTerm], list[tuple[Decimal, Leaf]]]:
    """Return the terms that stand beside modules of a model, and those that go into its weights.

    A LoRA of experts that the model fuses has no module to stand beside, nor has one of modules
    that peft takes for such.
    """
    modules = {name for name, _ in model.named_modules()}
    modules -= taken_for_experts(model, {name for _, leaf in leaves.lora for name in leaf.modules})
    beside: list[LoraTerm] = []
    into: list[tuple[Decimal, Leaf]] = [*leaves.dense]
    for coefficient, leaf in leaves.lora:
        # Two names of one module would become one below.
        check_terms_agree([(coefficient, leaf)])
        fused, own = {}, {}
        for name, factors in leaf.modules.items():
            weight = weights.find(f"{name}.weight") if name not in modules else None
            if weight is not None and (weight.part is not None or weight.name == f"{name}.weight"):
                fused[name] = factors
            else:
                # An adapter of another release may name the module as the files do.
                own[name if weight is None else weight.name.removesuffix(".weight")] = factors
        if fused:
            into.append((coefficient, dataclasses.replace(leaf, modules=fused)))
        if own:
            beside.append((coefficient, dataclasses.replace(leaf, modules=own)))
    return beside, into


def _find_changed(
    model: Any,
    weights: LiveWeights,
    beside: Sequence[LoraTerm],
    into: Sequence[tuple[Decimal, Leaf]],
) -> dict[str, LiveWeight]:
    """Return the weights that terms go into, by the terms' names, if all terms fit the model.

    Raises:
        BaseModelMismatch, ShapeMismatch: a weight or module is missing, or of another shape.
    """
    import torch

    modules = dict(model.named_modules())
    own = {id(parameter): name for name, parameter in model.named_parameters()}
    wanted = [(leaf.label, *weight) for _, leaf in into for weight in weight_shapes(leaf)]
    changed: dict[str, LiveWeight] = {}
    for label, name, shape in wanted:
        weight = weights.find(name)
        if weight is None:
            raise BaseModelMismatch(type(model).__name__, name, f"the model has no weight {name!r}")
        changed[name] = weight
        if weight.shape != tuple(shape):
            raise ShapeMismatch(name, "the model", weight.shape, label, shape)
    held = {weight.name for weight in changed.values()}
    for name, weight in changed.items():
        main = own[id(weight.parameter)]
        if main not in held:
            raise CannotExport(
                f"weight {name}",
                f"in this model it is one weight with {main}, which the state does not change",
            )
    for _, adapter in beside:
        for name, factors in adapter.modules.items():
            if name not in modules:
                raise BaseModelMismatch(
                    type(model).__name__, name, f"the model has no module {name!r}"
                )
            # Quantised weights are packed, or have another name.
            held_there = getattr(modules[name], "weight", None)
            if not isinstance(held_there, torch.Tensor) or not held_there.is_floating_point():
                continue
            shape = tuple(held_there.shape)
            if shape != factors.weight_shape:
                raise ShapeMismatch(name, "the model", shape, adapter.label, factors.weight_shape)
    return changed


@contextmanager
def attached(
    repository: Repository,
    composition: Composition,
    model: Any,
    stored: Mapping[str, torch.dtype] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[Any]:
    """Give ``model`` in the state of a composition; afterwards it is the base again, bit for bit.

    So one loaded base serves many states. Low-rank terms stand beside the weights and are taken
    off; of weights that dense terms change, a copy is kept meanwhile and put back.

    Raises:
        AdapterStoreError: as `attach_composition`.
    """
    import torch

    copies: list[tuple[LiveWeight, torch.Tensor]] = []
    wrapped = model
    try:
        with open_leaves(repository, composition, progress) as leaves:
            wrapped = _attach(model, leaves, stored, copies)
        yield wrapped
    finally:
        if wrapped is not model:
            wrapped.unload()
        with torch.no_grad():
            for weight, copy in copies:
                weight.write(copy)
        setattr(model, _IN_A_STATE, False)


def has_dense_terms(repository: Repository, composition: Composition) -> bool:
    """Return whether a sum has a full fine-tune's delta, without reading a tensor."""
    return any(summarize_delta(repository, term.delta).kind == "dense" for term in composition)


@contextmanager
def base_beside(
    repository: Repository, composition: Composition, load: Callable[[], Any], model: Any
) -> Iterator[Any]:
    """Give the base for a while, where ``model`` is in the state of a composition.

    Low-rank terms are switched off meanwhile. Dense ones are in the weights: then the base is
    loaded beside the model.

    Args:
        repository: holds the deltas.
        composition: the state.
        load: loads the base.
        model: what `attach_composition` returned for the state.

    Raises:
        AdapterStoreError: as ``load``.
    """
    if has_dense_terms(repository, composition):
        yield load()
        return
    if not composition.terms:
        yield model
        return
    try:
        with model.disable_adapter():
            yield model
    finally:
        # peft lets adapters train when it switches them on again.
        model.requires_grad_(False)


def _add_dense(
    changed: Mapping[str, LiveWeight],
    total: Mapping[str, DenseWeight],
    stored: Mapping[str, torch.dtype],
    copies: list[tuple[LiveWeight, torch.Tensor]] | None,
) -> None:
    """Add differences to weights: in float64, rounded once as `attach_composition` says.

    ``copies`` receives each weight that changes, with a copy of what it was.
    """
    import torch

    first: dict[tuple[int, str | None], str] = {}
    with torch.no_grad():
        # Parts of one parameter come one after the other: their places are found once.
        for name in sorted(total, key=lambda name: (changed[name].name, name)):
            live, change = changed[name], total[name]
            other = first.setdefault((id(live.parameter), live.part), name)
            if other != name:
                # Tied weights are one tensor under two names: it changes once.
                if not change.load().equal(total[other].load()):
                    raise CannotExport(
                        f"{other} and {name}",
                        "they are one weight of this model, and the state changes them differently",
                    )
                continue
            before = live.read()
            exact = before.to(torch.float64) + change.load().to(before.device, torch.float64)
            rounded = exact.to(dtype_of_weight(name, stored, before.dtype))
            if not bool(rounded.isfinite().all()):
                raise CannotExport(f"weight {name}", f"the sum has values beyond {rounded.dtype}")
            if copies is not None:
                copies.append((live, before.detach().clone()))
            live.write(rounded)


def _attach_lora(model: Any, lora: MaterializedLora) -> Any:
    """Return a PEFT model with an adapter beside the base's weights.

    It is not merged: adding a small update to bf16 weights would round it away. On a model that
    computes in 16 bits its factors stay in float32, as peft's own loader has them. It has the name
    that peft gives an only adapter, so ``save_pretrained`` writes it as one.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    options = {name: value for name, value in lora.config.items() if name != "peft_type"}
    wrapped = get_peft_model(model, LoraConfig(**options))
    loaded: Any = set_peft_model_state_dict(wrapped, dict(lora.tensors))
    for key in loaded.unexpected_keys:
        raise BaseModelMismatch(type(model).__name__, key, f"the model has no module for {key!r}")
    return wrapped
