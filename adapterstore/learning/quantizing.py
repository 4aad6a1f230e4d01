"""Quantise a model's weights as an inference server would; torchao does it.

Round to nearest, symmetric, weights only: 8 bits with a scale for each output channel, 4 bits with
one for each group of up to 32 inputs. Embeddings, the output layer and what routes between experts
stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd
from typing import Any, Literal

from adapterstore.errors import MissingLibrary, TrainingFailed
from adapterstore.learning.loading import quantization

Bits = Literal[8, 4]
GROUP = 32
"""Inputs that share a scale in 4 bits; fewer where a layer's width is no multiple of it."""


def check_can_quantize() -> None:
    """Raise `MissingLibrary` unless the library is there; cheap, so that it can be asked first."""
    try:
        with _quiet():
            import torchao.quantization
    except ImportError as error:
        raise MissingLibrary("quantize", "torchao") from error
    del torchao


@contextmanager
def _quiet() -> Iterator[None]:
    """Hear nothing meanwhile: on import, torchao tells of every kernel that this machine lacks."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def quantize(model: Any, bits: Bits) -> int:
    """Quantise every linear layer but the output layer, in place; return how many.

    An expert's matrices of a mixture are layers, too; they are rounded to what they would be.

    Args:
        model: a transformers model without adapters; it computes in the dtype that it had.
        bits: of a weight.

    Raises:
        MissingLibrary: torchao is not installed.
        TrainingFailed: the weights are quantised already, or there is no linear layer.
    """
    import torch

    check_can_quantize()
    stage = f"{bits}-bit quantisation"
    if (method := quantization(model.config)) is not None:
        raise TrainingFailed(stage, f"the base's weights are quantised already ({method})")
    _replace_transposed(model)
    output = model.get_output_embeddings()
    layers = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not output
    ]
    if not layers:
        raise TrainingFailed(stage, "the model has no linear layers")
    for layer in layers:
        _quantize(layer, bits)
    return len(layers) + sum(_round_experts(module, bits) for module in model.modules())


def _quantize(layer: Any, bits: Bits) -> None:
    """Quantise one linear layer, in place."""
    import torch
    from torchao.quantization import IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_

    if bits == 8:
        config = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
    else:
        group = gcd(layer.in_features, GROUP)
        four: Any = torch.int4  # type: ignore[attr-defined]
        config = IntxWeightOnlyConfig(weight_dtype=four, granularity=PerGroup(group))
    quantize_(layer, config)


def _round_experts(module: Any, bits: Bits) -> int:
    """Round the matrices that a module holds in one tensor, an expert each; return how many."""
    import torch

    count = 0
    for parameter in module.parameters(recurse=False):
        if parameter.dim() != 3 or not parameter.is_floating_point():
            continue
        for matrix in parameter.detach():
            # Some models keep them as (in, out).
            weight = matrix.T if getattr(module, "is_transposed", False) else matrix
            outputs, inputs = weight.shape
            linear = torch.nn.Linear(inputs, outputs, bias=False, device="meta")
            linear.weight = torch.nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
            _quantize(linear, bits)
            rounded: Any = linear.weight
            weight.copy_(rounded.dequantize())
            count += 1
    return count


def _replace_transposed(model: Any) -> None:
    """Put linear layers in the place of GPT-2's, which keep their weights the other way round."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            inputs, outputs = module.weight.shape
            linear = torch.nn.Linear(inputs, outputs, device="meta")
            linear.weight = torch.nn.Parameter(module.weight.detach().T.contiguous())
            linear.bias = module.bias
            model.set_submodule(name, linear)
