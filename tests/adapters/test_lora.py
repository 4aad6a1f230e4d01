"""What a PEFT LoRA folder says, and what is refused because it has no exact sum."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.adapters.lora import LoraModule, lora_leaf, read_lora
from adapterstore.errors import MalformedAdapter, NotLinear, ShapeMismatch, UnreadableFile
from tests.adapters.writing import PREFIX, embedding_tensors, lora_tensors, write_lora


def test_a_module_is_rank_scaling_and_shapes(tmp_path: Path) -> None:
    adapter = read_lora(write_lora(tmp_path, revision="abc"))
    assert adapter.base_name == "org/base"
    assert adapter.revision == "abc"
    assert adapter.modules == {
        "model.q_proj": LoraModule(
            name="model.q_proj",
            rank=2,
            scaling=2.0,
            in_features=4,
            out_features=3,
            embedding=False,
            a_key="base_model.model.model.q_proj.lora_A.weight",
            b_key="base_model.model.model.q_proj.lora_B.weight",
            dtype="F32",
        )
    }


def test_weights_may_lie_elsewhere_under_any_name(tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "adapter")
    weights = (folder / "adapter_model.safetensors").rename(tmp_path / "0a1b2c")
    assert read_lora(folder, weights=weights).tensor_file.path == weights
    with pytest.raises(UnreadableFile, match=r"adapter_model.safetensors: No such file"):
        read_lora(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_factors_load_in_the_dtype_they_are_stored_in(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = lora_tensors(dtype=dtype)
    leaf = lora_leaf(read_lora(write_lora(tmp_path, tensors)))
    factors = leaf.modules["model.q_proj"]
    assert torch.equal(factors.load_a(), tensors[f"{PREFIX}model.q_proj.lora_A.weight"])
    assert torch.equal(factors.load_b(), tensors[f"{PREFIX}model.q_proj.lora_B.weight"])
    assert factors.load_a().dtype == dtype


def test_rank_stabilized_scaling_divides_by_the_root_of_the_rank(tmp_path: Path) -> None:
    adapter = read_lora(write_lora(tmp_path, use_rslora=True))
    assert adapter.modules["model.q_proj"].scaling == 4 / math.sqrt(2)


def test_an_embedding_changes_its_weight_by_the_transpose(tmp_path: Path) -> None:
    adapter = read_lora(write_lora(tmp_path, embedding_tensors(rows=5, dimensions=3)))
    factors = lora_leaf(adapter).modules["model.embed_tokens"]
    assert factors.embedding
    assert factors.weight_shape == (5, 3)


def test_fan_in_fan_out_keeps_weights_as_in_by_out(tmp_path: Path) -> None:
    adapter = read_lora(write_lora(tmp_path, fan_in_fan_out=True))
    assert lora_leaf(adapter).modules["model.q_proj"].weight_shape == (4, 3)


def test_a_frozen_layer_beside_its_factors_is_let_be(tmp_path: Path) -> None:
    tensors = {
        **embedding_tensors(rows=5, dimensions=3),
        f"{PREFIX}model.embed_tokens.base_layer.weight": torch.zeros(5, 3),
        **lora_tensors("lm_head", rows=5, columns=3),
        f"{PREFIX}lm_head.base_layer.weight": torch.zeros(5, 3),
        f"{PREFIX}lm_head.base_layer.bias": torch.zeros(5),
    }
    assert set(read_lora(write_lora(tmp_path, tensors)).modules) == {
        "model.embed_tokens",
        "lm_head",
    }


@pytest.mark.parametrize(
    ("options", "feature"),
    [
        ({"use_dora": True}, "use_dora=True can't be stored: DoRA rescales"),
        ({"lora_bias": True}, "lora_bias=True can't be stored: a bias on LoRA's B"),
        ({"bias": "all"}, "bias='all' can't be stored: trained biases"),
        ({"bias": "lora_only"}, "bias='lora_only' can't be stored: trained biases"),
        ({"modules_to_save": ["score"]}, r"modules_to_save=\['score'\] can't be stored"),
        ({"trainable_token_indices": [7]}, r"trainable_token_indices=\[7\] can't be stored"),
        ({"layer_replication": [[0, 2]]}, r"layer_replication=\[\[0, 2\]\] can't be stored"),
        ({"target_parameters": ["experts"]}, "target_parameters=.* can't be stored"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens=.* depends on the tokens"),
        ({"use_qalora": True}, "use_qalora=True can't be stored"),
        ({"arrow_config": {"top_k": 2}}, "arrow_config=.* can't be stored"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora=.* can't be stored"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying=True can't be stored"),
        ({"init_lora_weights": "pissa"}, "'pissa' can't be stored: .* changes the base's weights"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
        ({"init_lora_weights": "corda"}, "init_lora_weights='corda'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights='loftq'"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights='lora_ga'"),
        ({"init_lora_weights": ["pissa"]}, "init_lora_weights="),
        ({"peft_type": "LOHA"}, "PEFT type 'LOHA' can't be stored: only LoRA"),
        ({"peft_type": "ADALORA"}, "PEFT type 'ADALORA'"),
        ({"peft_type": None}, "PEFT type None"),
        ({"option_of_tomorrow": 1}, "option_of_tomorrow=1 .* does not know the option"),
    ],
)
def test_what_is_no_linear_change_is_refused(
    tmp_path: Path, options: dict[str, Any], feature: str
) -> None:
    write_lora(tmp_path, **options)
    with pytest.raises(NotLinear, match=feature):
        read_lora(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("init_lora_weights", True),
        ("init_lora_weights", False),
        ("init_lora_weights", "gaussian"),
        ("init_lora_weights", "eva"),
        ("option_of_tomorrow", None),
        ("option_of_tomorrow", False),
        ("option_of_tomorrow", []),
        ("option_of_tomorrow", {}),
        ("lora_alpha", -4),
        ("lora_alpha", 0.5),
        ("task_type", "CAUSAL_LM"),
        ("lora_dropout", 0.1),
    ],
)
def test_what_leaves_the_sum_alone_is_taken(tmp_path: Path, option: str, value: Any) -> None:
    assert set(read_lora(write_lora(tmp_path, **{option: value})).modules) == {"model.q_proj"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"r": 3}, "model.q_proj: its tensors have rank 2, its config says 3"),
        ({"rank_pattern": {"q_proj": 3}}, "tensors have rank 2, its config says 3"),
        ({"r": None}, "r=None is no rank"),
        ({"r": 0}, "r=0 is no rank"),
        ({"r": 2.0}, "r=2.0 is no rank"),
        ({"r": True}, "r=True is no rank"),
        ({"lora_alpha": "16"}, "lora_alpha='16' is no number"),
        ({"lora_alpha": math.nan}, "lora_alpha=nan is no number"),
        ({"lora_alpha": math.inf}, "lora_alpha=inf is no number"),
        ({"lora_alpha": 10**400}, "lora_alpha=1000"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern is not a map"),
        ({"rank_pattern": {"q_proj": "2"}}, "rank_pattern: 'q_proj' has the value '2'"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern: 'q_proj' has the value None"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern: '\(': missing \)"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "too complex a pattern"),
        ({"alpha_pattern": {".*.*.*.*": 1}}, "too complex a pattern"),
        ({"alpha_pattern": {"a" * 501: 1}}, "too complex a pattern"),
        ({"base_model_name_or_path": "half \ud800"}, "base_model_name_or_path is no name"),
        ({"base_model_name_or_path": "x" * 10**6}, "base_model_name_or_path is no name: 'x{40}'"),
        ({"task_type": "two\nlines"}, "task_type is no name"),
        ({"base_model_name_or_path": 7}, "base_model_name_or_path is not a text"),
        ({"revision": ["main"]}, "revision is not a text"),
        ({"task_type": ["CAUSAL_LM"]}, "task_type is not a text"),
    ],
)
def test_a_config_that_contradicts_itself_is_malformed(
    tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    write_lora(tmp_path, **options)
    with pytest.raises(MalformedAdapter, match=problem):
        read_lora(tmp_path)


def without(tensors: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in tensors.items() if part not in key}


@pytest.mark.parametrize(
    ("tensors", "error", "problem"),
    [
        ({}, MalformedAdapter, "has no LoRA factors"),
        (without(lora_tensors(), "lora_B"), MalformedAdapter, "has lora_A without its partner"),
        (without(lora_tensors(), "lora_A"), MalformedAdapter, "has lora_B without its partner"),
        (
            {
                f"{PREFIX}m.lora_A.weight": torch.zeros(2, 4),
                f"{PREFIX}m.lora_embedding_B": torch.zeros(3, 2),
            },
            MalformedAdapter,
            "m has lora_AB without its partner",
        ),
        (
            {**lora_tensors("m"), f"{PREFIX}m.lora_embedding_B": torch.zeros(3, 2)},
            MalformedAdapter,
            "m has two kinds of lora_B",
        ),
        (
            {
                f"{PREFIX}m.lora_A.weight": torch.zeros(2, 4),
                f"{PREFIX}m.lora_B.weight": torch.zeros(3, 5),
            },
            MalformedAdapter,
            r"A is \(2, 4\) and B \(3, 5\): ranks differ",
        ),
        (lora_tensors(rank=0), MalformedAdapter, "is empty"),
        (lora_tensors("m" * 250), MalformedAdapter, "characters long"),
        (
            {
                f"{PREFIX}conv.lora_A.weight": torch.zeros(2, 4, 3, 3),
                f"{PREFIX}conv.lora_B.weight": torch.zeros(3, 2, 1, 1),
            },
            NotLinear,
            "no convolutions",
        ),
        (
            {k: v.to(torch.int8) for k, v in lora_tensors().items()},
            NotLinear,
            "of dtype I8 can't be stored: factors are floats",
        ),
        (
            {**lora_tensors(), f"{PREFIX}model.q_proj.lora_magnitude_vector": torch.zeros(3)},
            NotLinear,
            "lora_magnitude_vector can't be stored: DoRA",
        ),
        (
            {**lora_tensors(), f"{PREFIX}model.q_proj.lora_B.bias": torch.zeros(3)},
            NotLinear,
            "a bias on LoRA's B",
        ),
        (
            {**lora_tensors(), f"{PREFIX}score.weight": torch.zeros(3)},
            NotLinear,
            "score.weight can't be stored: it is no LoRA factor",
        ),
        (
            {**lora_tensors(), "model.q_proj.lora_A.weight": torch.zeros(2, 4)},
            NotLinear,
            "tensor model.q_proj.lora_A.weight can't be stored",
        ),
        (
            {**lora_tensors(), f"{PREFIX}lm_head.base_layer.weight": torch.zeros(3)},
            NotLinear,
            "lm_head.base_layer.weight can't be stored: a base weight",
        ),
        (
            {**embedding_tensors(), f"{PREFIX}model.embed_tokens.base_layer.weight": torch.ones(6)},
            ShapeMismatch,
            "base_layer has shape",
        ),
    ],
)
def test_tensors_that_are_no_pairs_of_factors_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], error: type[Exception], problem: str
) -> None:
    write_lora(tmp_path, tensors)
    with pytest.raises(error, match=problem):
        read_lora(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
    ],
)
def test_a_config_that_is_no_json_object_is_malformed(
    tmp_path: Path, text: bytes, problem: str
) -> None:
    write_lora(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(text)
    with pytest.raises(MalformedAdapter, match=rf"delta 7: adapter_config.json: {problem}"):
        read_lora(tmp_path, label="delta 7")


def test_a_huge_config_is_not_read(tmp_path: Path) -> None:
    write_lora(tmp_path)
    with (tmp_path / "adapter_config.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(MalformedAdapter, match="is over 64 MiB"):
        read_lora(tmp_path)


def test_a_missing_config_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"adapter_config.json: No such file"):
        read_lora(tmp_path)
    (tmp_path / "adapter_config.json").mkdir()
    with pytest.raises(UnreadableFile, match=r"adapter_config.json: not a regular file"):
        read_lora(tmp_path)


def test_names_beyond_ascii_are_names(tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "アダプタ", base_model_name_or_path="模型/基")
    assert read_lora(folder).base_name == "模型/基"
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2


@pytest.mark.parametrize("pattern", ["(aa|a)" * 40 + "c", "(a|aa|ab)" * 50 + "c"])
def test_a_pattern_that_takes_for_ever_to_match_is_given_up(tmp_path: Path, pattern: str) -> None:
    write_lora(tmp_path, lora_tensors("a" * 200), rank_pattern={pattern: 2})
    with pytest.raises(MalformedAdapter, match="take over 2 s to match"):
        read_lora(tmp_path)


@pytest.mark.parametrize("option", ["r", "lora_alpha"])
def test_what_a_config_lacks_is_named(tmp_path: Path, option: str) -> None:
    path = write_lora(tmp_path) / "adapter_config.json"
    config = json.loads(path.read_text())
    del config[option]
    path.write_text(json.dumps(config))
    with pytest.raises(MalformedAdapter, match=f"its adapter_config.json has no '{option}'"):
        read_lora(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_that_peft_cannot_read_is_not_taken(tmp_path: Path, encoding: str) -> None:
    write_lora(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text(encoding="utf-8"), encoding=encoding)
    with pytest.raises(MalformedAdapter, match="is not JSON"):
        read_lora(tmp_path)
