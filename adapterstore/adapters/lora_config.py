"""What of PEFT's LoRA options is a linear change of weights, and what is refused.

An option that this module does not know is refused unless it is off: silence would mean a wrong
sum. Options: peft 0.21, ``peft/tuners/lora/config.py``.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any

from adapterstore.errors import MalformedAdapter, NotLinear

_MAX_PATTERN_LENGTH = 500
_REPEAT = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_MAX_REPEATS = 3
_MAX_SECONDS = 2.0
"""For matching all modules of an adapter with its patterns; real ones take milliseconds."""

_READ_ELSEWHERE = frozenset(
    {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "bias"}
    | {"peft_type", "base_model_name_or_path", "revision", "init_lora_weights"}
)

_NO_EFFECT_ON_WEIGHTS = frozenset(
    {"auto_mapping", "corda_config", "eva_config", "exclude_modules", "inference_mode"}
    | {"layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config"}
    | {"megatron_config", "megatron_core", "peft_version", "qalora_group_size", "runtime_config"}
    | {"target_modules", "task_type"}
)
"""Where and how training went; ΔW is what the tensors say."""

_REFUSED = {
    "use_dora": "DoRA rescales the whole weight, so two of them have no sum",
    "lora_bias": "a bias on LoRA's B is no change of a weight matrix",
    "modules_to_save": "whole modules stand in for the base's; commit the model's delta instead",
    "trainable_token_indices": "replaced embedding rows are no low-rank change",
    "layer_replication": "it makes a model with other layers than the base has",
    "target_parameters": "adapters of bare parameters are not supported",
    "alora_invocation_tokens": "an activated LoRA depends on the tokens, not only on weights",
    "use_qalora": "QALoRA pools its inputs, which is no change of the base's weights",
    "arrow_config": "Arrow routes between adapters for each token",
    "use_bdlora": "block-diagonal LoRA has another layout of its factors",
    "ensure_weight_tying": "tied adapters depend on how the base ties its weights",
    "kasa_config": "KaSA changes the base's weights, and puts a diagonal between B and A",
}

_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""They set A and B, and leave the base's weights as they are."""


def check_linear(config: dict[str, Any], label: str) -> None:
    """Raise unless the adapter of this config is exactly ΔW = scaling · B·A on its modules.

    Raises:
        NotLinear: the option that makes it something else is named.
        MalformedAdapter: ``r`` or ``lora_alpha`` is missing or no number.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        raise NotLinear(label, f"PEFT type {kind!r}", "only LoRA adapters are sums of B·A")
    for option, why in _REFUSED.items():
        if config.get(option):
            raise NotLinear(label, f"{option}={_short(config[option])}", why)
    bias = config.get("bias", "none")
    if bias != "none":
        raise NotLinear(label, f"bias={_short(bias)}", "trained biases are not part of B·A")
    start = config.get("init_lora_weights", True)
    # peft takes these names in any case.
    plain_start = start.lower() if isinstance(start, str) else start
    if not any(plain_start is plain or plain_start == plain for plain in _PLAIN_STARTS):
        raise NotLinear(
            label,
            f"init_lora_weights={_short(start)}",
            "such a start changes the base's weights; convert it with peft's "
            "path_initial_model_for_weight_conversion",
        )
    known = _READ_ELSEWHERE | _NO_EFFECT_ON_WEIGHTS | set(_REFUSED)
    for option in sorted(set(config) - known):
        if config[option] not in (None, False, {}, []):
            name = option if option.isidentifier() and len(option) <= 60 else _short(option)
            raise NotLinear(
                label, f"{name}={_short(config[option])}", "this release does not know the option"
            )
    for option in ("r", "lora_alpha"):
        if option not in config:
            raise MalformedAdapter(
                label,
                f"its adapter_config.json has no {option!r}; save the adapter again with peft",
            )
    if not _is_rank(config.get("r")):
        raise MalformedAdapter(label, f"r={_short(config.get('r'))} is no rank")
    if not _is_alpha(config.get("lora_alpha")):
        raise MalformedAdapter(label, f"lora_alpha={_short(config.get('lora_alpha'))} is no number")


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_alpha(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _fits_a_float(value)


def _fits_a_float(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


_Patterns = list[tuple[Any, float]]


class Scalings:
    """Rank and scaling of each module, as peft finds them.

    scaling = alpha / r, or alpha / √r with rsLoRA (Kalajdzievski 2023, arXiv 2312.03732); ``r`` and
    alpha come from the first pattern that the module's name ends with, else from the config.
    """

    def __init__(self, config: dict[str, Any], label: str):
        self._rank = config["r"]
        self._alpha = config["lora_alpha"]
        self._rank_stabilized = bool(config.get("use_rslora"))
        self._ranks = _patterns(config, "rank_pattern", _is_rank, label)
        self._alphas = _patterns(config, "alpha_pattern", _is_alpha, label)
        self._label = label
        self._seconds = _MAX_SECONDS

    def rank(self, module: str) -> int:
        """Return the rank that the config states for a module."""
        return int(self._match(self._ranks, module, self._rank))

    def scaling(self, module: str, rank: int) -> float:
        """Return the factor before B·A for a module of this rank."""
        alpha = float(self._match(self._alphas, module, self._alpha))
        return alpha / math.sqrt(rank) if self._rank_stabilized else alpha / rank

    def _match(self, patterns: _Patterns, module: str, default: float) -> float:
        started = time.monotonic()
        try:
            for pattern, value in patterns:
                if pattern.match(module, timeout=max(self._seconds, 0.001)):
                    return value
        except TimeoutError as error:
            raise MalformedAdapter(
                self._label, f"its patterns take over {_MAX_SECONDS:g} s to match; simplify them"
            ) from error
        finally:
            self._seconds -= time.monotonic() - started
        return default


def _patterns(
    config: dict[str, Any], option: str, is_proper: Callable[[object], bool], label: str
) -> _Patterns:
    patterns = config.get(option) or {}
    if not isinstance(patterns, dict):
        raise MalformedAdapter(label, f"{option} is not a map of patterns to numbers")
    if not patterns:
        return []
    # Python's own engine, which peft uses, has no limit on how long it tries.
    import regex

    compiled = []
    for pattern, value in patterns.items():
        if not is_proper(value):
            raise MalformedAdapter(
                label, f"{option}: {_short(pattern)} has the value {_short(value)}"
            )
        # Nested or many repeats can take for ever to match.
        if (
            len(pattern) > _MAX_PATTERN_LENGTH
            or len(_REPEAT.findall(pattern)) > _MAX_REPEATS
            or _REPEATED_GROUP.search(pattern)
        ):
            raise MalformedAdapter(label, f"{option}: {_short(pattern)} is too complex a pattern")
        try:
            # The same expression as peft's get_pattern_key, or the ranks would differ from peft's.
            expression = rf"(.*\.)?({pattern})$"
            re.compile(expression)
            compiled.append((regex.compile(expression), value))
        except (re.error, regex.error, RecursionError) as error:
            raise MalformedAdapter(label, f"{option}: {_short(pattern)}: {error}") from error
    return compiled
