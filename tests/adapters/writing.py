"""Write the files of the field by hand, so that a test can break just one thing in them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

LORA_CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": "org/base",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
}
PREFIX = "base_model.model."


def write_header(path: Path, header: object, data: bytes = b"") -> Path:
    """Write a safetensors file with this header, be it right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def factors(
    rank: int = 2, rows: int = 3, columns: int = 4, seed: int = 0, dtype: torch.dtype | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random A (rank, columns) and B (rows, rank)."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, columns, generator=generator).to(dtype)
    return a, torch.randn(rows, rank, generator=generator).to(dtype)


def lora_tensors(name: str = "model.q_proj", **shape: Any) -> dict[str, torch.Tensor]:
    """Return the two factors of a linear module under peft's keys."""
    a, b = factors(**shape)
    return {f"{PREFIX}{name}.lora_A.weight": a, f"{PREFIX}{name}.lora_B.weight": b}


def embedding_tensors(
    name: str = "model.embed_tokens", rows: int = 5, dimensions: int = 3, rank: int = 2
) -> dict[str, torch.Tensor]:
    """Return the two factors of an embedding under peft's keys."""
    a, b = factors(rank, dimensions, rows, seed=9)
    return {f"{PREFIX}{name}.lora_embedding_A": a, f"{PREFIX}{name}.lora_embedding_B": b}


def write_lora(
    folder: Path, tensors: Mapping[str, torch.Tensor] | None = None, **options: Any
) -> Path:
    """Write a PEFT folder: two factors of one module, or the tensors given."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**LORA_CONFIG, **options}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(
        dict(lora_tensors() if tensors is None else tensors), folder / "adapter_model.safetensors"
    )
    return folder


def write_model(folder: Path, *shards: Mapping[str, torch.Tensor], **config: Any) -> Path:
    """Write a model folder in the transformers layout; with an index if it has several shards."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model_type": "llama", "tie_word_embeddings": False, **config})
    (folder / "config.json").write_text(text, encoding="utf-8")
    if len(shards) == 1:
        save_file(dict(shards[0]), folder / "model.safetensors", {"format": "pt"})
        return folder
    placed = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(dict(shard), folder / name, {"format": "pt"})
        placed.update(dict.fromkeys(shard, name))
    index = json.dumps({"metadata": {}, "weight_map": placed})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    return folder
