"""What an update was made of and where: the part of report.json that an auditor asks for."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from adapterstore.adapters.base_model import BaseModel
from adapterstore.knowledge.facts import FactFile

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.recipe import Recipe

LIBRARIES = ("adapterstore", "torch", "transformers", "peft", "safetensors", "tokenizers")
"""Those whose versions decide what training gives."""


def provenance(
    base: BaseModel, files: Sequence[tuple[str, FactFile]], recipe: Recipe, gate: Gate
) -> dict[str, Any]:
    """Return what is recorded of an update beside its figures, as JSON values.

    Args:
        base: the base model, with the digests of the weights that were trained on.
        files: the fact files in their order, each with its name in ``update/``.
        recipe: how it is trained.
        gate: what its figures are held against.
    """
    return {
        "base": {"name": base.name, "revision": base.revision, "digests": base.digests},
        "facts": [{"name": name, "sha256": file.digest} for name, file in files],
        "recipe_sha256": hashlib.sha256(recipe.to_yaml().encode()).hexdigest(),
        "seed": recipe.seed,
        "gate": gate.model_dump(mode="json"),
        "environment": environment(recipe.device),
    }


def environment(device: str) -> dict[str, Any]:
    """Return the versions and the machine on which an update's bits depend.

    On a CPU, equal environments give equal updates, bit for bit.
    """
    import torch

    from adapterstore.learning.loading import find_device

    chosen = find_device(device)
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in LIBRARIES},
        },
        "platform": f"{platform.system()} {platform.machine()}",
        # Which instructions the kernels choose decides the order of sums.
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else str(chosen),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        from adapterstore import __version__

        # Run from its source folder.
        return __version__


def environment_differences(recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return, in words, what of the recorded environment is another one now."""
    versions = recorded.get("versions")
    then = versions if isinstance(versions, dict) else {}
    pairs = [
        *((name, then.get(name), value) for name, value in now["versions"].items()),
        *((name, recorded.get(name), now[name]) for name in now if name != "versions"),
    ]
    return [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
