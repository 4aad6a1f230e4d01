"""``make bench-exactness``: 1·Δa − 0.7·Δb by the methods of peft and by ours.

    python -m tests.benchmarks.exactness [--width N] [--rank N]

Printed is ‖ΔW − ΔW*‖ / ‖ΔW*‖ over all adapted weights, with ΔW* formed in float64.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import torch

from adapterstore.adapters.lora import lora_leaf, read_lora
from adapterstore.algebra.leaves import LoraLeaf
from adapterstore.algebra.lowrank import materialize_lora

COEFFICIENTS = {"a": Decimal("1"), "b": Decimal("-0.7")}
METHODS: dict[str, dict[str, Any]] = {
    "linear": {},
    "svd": {},
    "ties": {"density": 0.5},
    "cat": {},
}
"""peft's ``combination_type`` → its other options."""


def make_base(width: int) -> Any:
    """Return a small Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=4,
        )
    )


def write_adapter(folder: Path, name: str, width: int, rank: int) -> LoraLeaf:
    """Write an adapter with peft: A as peft begins it, B random as if it had been trained."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    model = get_peft_model(make_base(width), config)
    generator = torch.Generator().manual_seed(ord(name))
    for key, parameter in model.named_parameters():
        if "lora_B" in key:
            parameter.data.normal_(std=0.02, generator=generator)
        elif "lora_A" in key:
            bound = parameter.shape[1] ** -0.5
            parameter.data.uniform_(-bound, bound, generator=generator)
    model.save_pretrained(str(folder / name))
    return lora_leaf(read_lora(folder / name))


def relative_error(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Return ‖found − expected‖ / ‖expected‖ over all weights."""
    off = sum(float((found[name] - exact).square().sum()) for name, exact in expected.items())
    whole = sum(float(exact.square().sum()) for exact in expected.values())
    return float((off / whole) ** 0.5)


def in_float64(leaves: dict[str, LoraLeaf]) -> dict[str, torch.Tensor]:
    """Return the sum that is meant, formed in float64."""
    names = leaves["a"].modules
    return {
        name: sum(
            (
                float(coefficient)
                * leaves[key].modules[name].scaling
                * (
                    leaves[key].modules[name].load_b().double()
                    @ leaves[key].modules[name].load_a().double()
                )
                for key, coefficient in COEFFICIENTS.items()
            ),
            torch.zeros((), dtype=torch.float64),
        )
        for name in names
    }


def by_peft(folder: Path, width: int, rank: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield each method of peft's with the rank and the ΔW that it gives."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    model: Any = PeftModel.from_pretrained(make_base(width), str(folder / "a"), adapter_name="a")
    model.load_adapter(str(folder / "b"), adapter_name="b")
    for method, options in METHODS.items():
        weights = [float(coefficient) for coefficient in COEFFICIENTS.values()]
        model.add_weighted_adapter(
            list(COEFFICIENTS), weights, method, combination_type=method, **options
        )
        layers: dict[str, Any] = {
            key.removeprefix("base_model.model."): layer
            for key, layer in model.named_modules()
            if isinstance(layer, LoraLayer)
        }
        ranks = {layer.r[method] for layer in layers.values()}
        changes = {
            key: layer.scaling[method]
            * (layer.lora_B[method].weight.double() @ layer.lora_A[method].weight.double())
            for key, layer in layers.items()
        }
        yield f"peft, {method}", max(ranks), {k: c.detach() for k, c in changes.items()}


def ours(leaves: dict[str, LoraLeaf]) -> tuple[str, int, dict[str, torch.Tensor]]:
    """Return our sum: the adapter that an export writes."""
    lora = materialize_lora([(c, leaves[key]) for key, c in COEFFICIENTS.items()])
    prefix = "base_model.model."
    changes = {
        name: lora.tensors[f"{prefix}{name}.lora_B.weight"].double()
        @ lora.tensors[f"{prefix}{name}.lora_A.weight"].double()
        for name in leaves["a"].modules
    }
    return "adapterstore", lora.rank, changes


def measure(width: int, rank: int) -> list[tuple[str, int, float]]:
    """Return method, rank of its result and relative error, for each."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(scratch)
        leaves = {name: write_adapter(folder, name, width, rank) for name in COEFFICIENTS}
        expected = in_float64(leaves)
        return [
            (method, result_rank, relative_error(found, expected))
            for method, result_rank, found in (*by_peft(folder, width, rank), ours(leaves))
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256, help="hidden size of the base model")
    parser.add_argument("--rank", type=int, default=8, help="rank of the two adapters")
    options = parser.parse_args()
    print("1·Δa − 0.7·Δb       rank   relative error in ΔW")
    for method, rank, error in measure(options.width, options.rank):
        print(f"{method:<18} {rank:>5}   {error:.1e}")


if __name__ == "__main__":
    main()
