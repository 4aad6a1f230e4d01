"""Whether a delta belongs to the store's base model, and what it tells of a base not seen yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from adapterstore.adapters.base_model import Alias, BaseModel, check_adapter_fits, check_same_base
from adapterstore.adapters.dense import DenseDelta
from adapterstore.adapters.lora import LoraAdapter
from adapterstore.errors import BaseModelMismatch, ShapeMismatch


def base_with_adapter(base: BaseModel, adapter: LoraAdapter, aliases: Sequence[Alias]) -> BaseModel:
    """Check an adapter against the base; return the base with the shapes that the adapter shows.

    While the base's weights have not been seen, its name and the shapes of its modules are what
    the adapters so far say.

    Raises:
        BaseModelMismatch: made for a base of another name.
        ShapeMismatch: a module of another shape.
    """
    check_adapter_fits(base, adapter, aliases)
    if base.digests is not None:
        return base
    shapes = dict(base.shapes)
    for module in adapter.modules.values():
        shape = [module.out_features, module.in_features]
        if module.embedding or adapter.fan_in_fan_out:
            shape.reverse()
        shapes.setdefault(f"{module.name}.weight", shape)
    return _named(dataclasses.replace(base, shapes=shapes), adapter.base_name, adapter.revision)


def base_with_delta(base: BaseModel, delta: DenseDelta, aliases: Sequence[Alias]) -> BaseModel:
    """Check a dense delta against the base; return the base with the shapes that it shows.

    Raises:
        BaseModelMismatch: made for a base of another name, or for weights that the base lacks.
        ShapeMismatch: a weight of another shape.
    """
    known = {base.name, *aliases, None}
    if base.name is not None and delta.base_name not in known:
        raise BaseModelMismatch(base.name, str(delta.base_name))
    shapes = dict(base.shapes)
    for name, shape in delta.shapes.items():
        if name in shapes and list(shapes[name]) != list(shape):
            raise ShapeMismatch(name, "the base model", shapes[name], str(delta.folder), shape)
        if name not in shapes and base.digests is not None:
            raise BaseModelMismatch(
                str(base.name),
                str(delta.folder),
                f"{delta.folder}: changes {name}, which the base model {base.name!r} does not have",
            )
        shapes.setdefault(name, list(shape))
    if base.digests is not None:
        return base
    return _named(dataclasses.replace(base, shapes=shapes), delta.base_name, None)


def join_bases(left: BaseModel, right: BaseModel, aliases: Sequence[str]) -> BaseModel:
    """Return what two states know together of the one base model that both must have.

    Raises:
        BaseModelMismatch: they are of different base models.
        ShapeMismatch: they know different shapes of one weight.
    """
    if left == right:
        return left
    names = {left.name, right.name} - {None}
    if len(names - set(aliases)) > 1:
        raise BaseModelMismatch(str(left.name), str(right.name))
    if left.digests is None and right.digests is None:
        for name in sorted(set(left.shapes) & set(right.shapes)):
            if list(left.shapes[name]) != list(right.shapes[name]):
                raise ShapeMismatch(
                    name, "one side", left.shapes[name], "the other", right.shapes[name]
                )
        named = left if left.name is not None else right
        return dataclasses.replace(named, shapes={**right.shapes, **left.shapes})
    seen, other = (left, right) if left.digests is not None else (right, left)
    check_same_base(other, seen)
    if left.name is not None:
        return dataclasses.replace(seen, name=left.name, revision=left.revision)
    return seen


def _named(base: BaseModel, name: str | None, revision: str | None) -> BaseModel:
    if base.name is not None or name is None:
        return base
    return dataclasses.replace(base, name=name, revision=revision)
