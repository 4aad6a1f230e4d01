"""How much each update changed each layer of the model."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from adapterstore.history.viewing.magnitude import Magnitude

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
OTHER = "other"
"""Weights that are of no layer: embeddings, the last norm, the output layer."""


def layer_of(name: str) -> str:
    """Return the number of the layer that a weight is of, as text, or `OTHER`."""
    match = _LAYER.search(name)
    return match[1] if match is not None else OTHER


def norms_by_layer(updates: Sequence[tuple[int, Magnitude]]) -> dict[str, Any]:
    """Return ‖Δ‖ by layer and update: √(Σ ‖ΔW‖²) over the layer's weights.

    ``norms`` has one row a layer, from the first on, and one column an update; ``updates`` are the
    numbers of these.
    """
    columns: list[dict[str, list[float]]] = []
    for _, magnitude in updates:
        column: dict[str, list[float]] = {}
        for module in magnitude.modules:
            column.setdefault(layer_of(module.name), []).append(module.norm)
        columns.append(column)
    names = sorted({name for column in columns for name in column}, key=_order)
    return {
        "layers": names,
        "updates": [number for number, _ in updates],
        "norms": [[math.hypot(*column.get(name, ())) for column in columns] for name in names],
    }


def _order(name: str) -> tuple[bool, int]:
    return (name == OTHER, int(name) if name.isdecimal() else 0)
