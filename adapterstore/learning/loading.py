"""Load a base model from a folder: files at hand only, no code from the folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterstore.adapters.base_model import TOKENIZER_FILES
from adapterstore.errors import BaseModelUnavailable, InvalidSetting
from adapterstore.evaluation.chat import with_chat_template
from adapterstore.learning.warm_base import warm

if TYPE_CHECKING:
    import torch

    from adapterstore.learning.recipe import Recipe

_DROPOUTS = ("dropout", "drop", "pdrop", "dropout_prob", "dropout_rate")
_MOST_REASON = 300
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_NO_TOKENIZER = "its folder holds no tokenizer; copy the tokenizer's files beside its weights"


def load_for(folder: Path, recipe: Recipe) -> tuple[Any, Any]:
    """Return the base and its tokenizer as a recipe wants them: device, chat template.

    Raises:
        BaseModelUnavailable, InvalidSetting: see `load_base` and `with_chat_template`; or the
            recipe trains the weights of a quantised base.
    """
    if "full" in (recipe.phase_method("forget"), recipe.phase_method("learn")):
        _check_weights_can_be_trained(folder)
    model, tokenizer = warm(
        folder,
        recipe.device,
        recipe.device_map,
        lambda: load_base(folder, recipe.device, recipe.device_map),
    )
    return model, with_chat_template(tokenizer, recipe.chat_template)


def load_base(folder: Path, device: str = "auto", device_map: str | None = None) -> tuple[Any, Any]:
    """Return the model and its tokenizer.

    On a CPU the model computes in float32, elsewhere in the dtype of its files. Dropout is off: an
    update is judged by how far the model moves, and noise of that size would hide it. What the
    folder says of generation is not taken over (a repetition penalty, say): greedy is greedy.

    Args:
        folder: the model's.
        device: ``auto``, or torch's name of one.
        device_map: ``auto`` lets accelerate spread the layers over the devices that are there.

    Raises:
        BaseModelUnavailable: transformers can't load the folder as a causal language model, or the
            folder lacks some of its weights, or they do not fit the devices.
        InvalidSetting: there is no such device here.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if device_map is not None and device != "auto":
        raise InvalidSetting("recipe.device_map", f"recipe.device is {device!r} already; unset one")
    chosen = find_device(device)
    with _told_as_unavailable(folder):
        config = AutoConfig.from_pretrained(folder, **_LOCAL)
    # Before the weights, which take long.
    tokenizer = _load_tokenizer(folder)
    with _told_as_unavailable(folder):
        _turn_dropout_off(config)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32 if chosen.type == "cpu" else "auto",
            device_map=device_map,
            use_safetensors=True,
            output_loading_info=True,
            **_LOCAL,
        )
    model, info = loaded
    if info["missing_keys"]:
        # transformers makes them up at random.
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise BaseModelUnavailable(
            folder.name, f"{len(info['missing_keys'])} weights are not in its files ({missing})"
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise BaseModelUnavailable(
            folder.name, "its layers do not fit the devices, and some would stay on disk"
        )
    _settle_padding(model, tokenizer)
    model.generation_config = _plain_generation(model.generation_config)
    if not _is_placed(model):
        model = model.to(chosen)
    return model.eval(), tokenizer


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        with _told_as_unavailable(folder):
            tokenizer = AutoTokenizer.from_pretrained(folder, **_LOCAL)
    except BaseModelUnavailable as error:
        if any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise
        # transformers lists which libraries it would take for files that are not there.
        raise BaseModelUnavailable(folder.name, _NO_TOKENIZER) from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # Of some architectures, transformers makes an empty one up.
        raise BaseModelUnavailable(folder.name, _NO_TOKENIZER)
    return tokenizer


@contextmanager
def _told_as_unavailable(folder: Path) -> Iterator[None]:
    """Tell in one line what transformers raises of a folder that it can't load."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        RuntimeError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        reason = " ".join(str(error).split())[:_MOST_REASON]
        raise BaseModelUnavailable(folder.name, f"can't be loaded: {reason}") from error


def quantization(config: Any) -> str | None:
    """Return by what method a base's weights are quantised (None: they are not).

    Args:
        config: the content of ``config.json``, or what transformers made of it.
    """
    if isinstance(config, dict):
        found = config.get("quantization_config")
    else:
        found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else found.quant_method
    return str(getattr(method, "value", method) or "an unnamed method")


def _check_weights_can_be_trained(folder: Path) -> None:
    from transformers import PretrainedConfig

    try:
        content, _ = PretrainedConfig.get_config_dict(folder, local_files_only=True)
    except (OSError, ValueError):
        # Loading it says what is wrong.
        return
    method = quantization(content)
    if method is not None:
        raise InvalidSetting(
            "recipe.method",
            f"full fine-tuning changes the base's own weights, and those of {folder.name} are "
            f"quantised ({method}); use lora",
        )


def _turn_dropout_off(config: Any) -> None:
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for name, value in part.to_dict().items():
            if name.endswith(_DROPOUTS) and isinstance(value, float):
                setattr(part, name, 0.0)


def _settle_padding(model: Any, tokenizer: Any) -> None:
    """Give the tokenizer a padding token that the model has an embedding of."""
    rows = model.get_input_embeddings().weight.shape[0]
    padding = tokenizer.pad_token_id
    if (padding is None or padding >= rows) and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token


def _plain_generation(config: Any) -> Any:
    from transformers import GenerationConfig

    settings: Any = GenerationConfig
    return settings(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


def _is_placed(model: Any) -> bool:
    """Return whether the model is where it shall be already: spread, or quantised."""
    placed = getattr(model, "hf_device_map", None) is not None
    return placed or quantization(model.config) is not None


def find_device(name: str) -> torch.device:
    """Return the device that a recipe names; ``auto`` is the first GPU, or the CPU without one.

    Raises:
        InvalidSetting: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # Only using a device tells whether it is there.
        device = torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:_MOST_REASON]
        raise InvalidSetting("recipe.device", f"no device {name!r} here: {reason}") from error
    if device.index:
        # The Trainer takes the first one, whatever the model is on.
        raise InvalidSetting(
            "recipe.device",
            f"training is on the first device only; to use {name}, set it to {device.type} and the "
            f"environment variable CUDA_VISIBLE_DEVICES to {device.index}",
        )
    return device
