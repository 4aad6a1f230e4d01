"""The README.md of a commit or an export: a model card that the Hub can read."""

from __future__ import annotations

import json

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.coefficient import format_coefficient
from adapterstore.algebra.composition import Composition


def model_card(base: BaseModel, composition: Composition, subject: str) -> str:
    """Return the text; equal states get equal texts."""
    lines = ["---"]
    if base.name is not None:
        # A JSON string is a YAML string too, whatever stands in it.
        lines += [f"base_model: {json.dumps(base.name, ensure_ascii=False)}"]
        lines += ["base_model_relation: adapter"]
    lines += ["library_name: peft", "tags:", "- adapterstore", "---", ""]
    lines += [f"# {subject}", "", "A knowledge state, kept by adapterstore: the base model"]
    lines += [f"`{base.name or 'not named yet'}` plus the sum of these deltas.", ""]
    if composition.terms:
        lines += ["| coefficient | delta | role |", "|---|---|---|"]
        lines += [
            f"| {format_coefficient(term.coefficient)} | `deltas/{term.delta}` | {term.role} |"
            for term in composition
        ]
    else:
        lines += ["The sum is empty: this is the base model itself."]
    return "\n".join(lines) + "\n"
