"""Which model a store is about, and whether weights and adapters are that model's."""

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from adapterstore.adapters.base_model import (
    BaseModel,
    check_adapter_fits,
    check_same_base,
    describe_base,
)
from adapterstore.adapters.lora import LoraAdapter, read_lora
from adapterstore.errors import (
    BaseModelMismatch,
    BaseModelUnavailable,
    CorruptStore,
    NotLinear,
    ShapeMismatch,
    UnsupportedFormat,
)
from tests.adapters.writing import embedding_tensors, lora_tensors, write_lora, write_model

Q, EMBED = "model.q_proj.weight", "model.embed_tokens.weight"
WEIGHTS = {Q: torch.ones(3, 4), EMBED: torch.ones(5, 3)}


def model(folder: Path, weights: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    write_model(folder, WEIGHTS if weights is None else weights, **config)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_description_reads_back_as_it_was_written(tmp_path: Path) -> None:
    config: dict[str, Any] = {"quantization_config": {"bits": 4}, "rope_scaling": {"factor": 2.0}}
    base = describe_base(model(tmp_path, None, **config), "組織/模型", "abc")
    assert base.name == "組織/模型"
    assert base.shapes == {EMBED: [5, 3], Q: [3, 4]}
    assert set(base.digests or {}) == {"config", "weights", "tokenizer"}
    assert base.quantization == {"bits": 4}
    assert base.rope == {"factor": 2.0}
    assert BaseModel.from_bytes(base.to_bytes(), "test") == base
    assert "組織/模型".encode() in base.to_bytes()


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        (b"", CorruptStore, "is not JSON"),
        (b"[]", CorruptStore, "names no format version"),
        (b'{"format": "1"}', CorruptStore, "names no format version"),
        (b'{"format": 2}', UnsupportedFormat, "format version 2, but this release reads up to 1"),
        (b'{"format": 1, "more": 1}', CorruptStore, "has other fields"),
        (b'{"format": 1}', CorruptStore, "not in canonical form"),
    ],
)
def test_a_description_that_is_not_canonical_is_corrupt(
    text: bytes, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        BaseModel.from_bytes(text, "commit 1")


def test_the_same_bytes_are_the_same_base_however_sharded_files_are_named(tmp_path: Path) -> None:
    base = describe_base(model(tmp_path / "one"), "org/base", None)
    check_same_base(base, describe_base(model(tmp_path / "two"), "copy", None))


@pytest.mark.parametrize(
    ("role", "file"),
    [("config", "config.json"), ("weights", "model.safetensors"), ("tokenizer", "tokenizer.json")],
)
def test_a_changed_file_is_another_base(tmp_path: Path, role: str, file: str) -> None:
    folder = model(tmp_path)
    base = describe_base(folder, "org/base", None)
    if role == "weights":
        data = bytearray((folder / file).read_bytes())
        data[-1] ^= 1
        (folder / file).write_bytes(data)
    else:
        (folder / file).write_text((folder / file).read_text() + "\n")
    with pytest.raises(BaseModelMismatch, match=f"base model 'org/base': its {role} has SHA-256"):
        check_same_base(base, describe_base(folder, "org/base", None))


def test_a_chat_template_that_came_or_went_is_another_base(tmp_path: Path) -> None:
    folder = model(tmp_path)
    without = describe_base(folder, "org/base", None)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with_template = describe_base(folder, "org/base", None)
    with pytest.raises(BaseModelMismatch, match="its chat_template is not there, but the store"):
        check_same_base(with_template, without)
    with pytest.raises(BaseModelMismatch, match="made over one that is not there; set"):
        check_same_base(without, with_template)


def test_a_base_not_seen_yet_is_checked_by_the_shapes_that_adapters_showed(tmp_path: Path) -> None:
    loaded = describe_base(model(tmp_path), "org/base", None)
    check_same_base(BaseModel(name="org/base", shapes={Q: [3, 4]}), loaded)
    with pytest.raises(BaseModelMismatch, match=r"q_proj.weight has shape \[3, 4\], but"):
        check_same_base(BaseModel(name="org/base", shapes={Q: [3, 5]}), loaded)
    with pytest.raises(BaseModelMismatch, match=r"v_proj\.weight has shape None"):
        check_same_base(BaseModel(name="org/base", shapes={"model.v_proj.weight": [1]}), loaded)


@pytest.mark.parametrize(
    "change", [{"name": 7}, {"shapes": []}, {"shapes": {"w": 3}}, {"digests": {"config": 1}}]
)
def test_a_description_of_other_types_is_corrupt(change: dict[str, Any]) -> None:
    data = dataclasses.replace(BaseModel(), **change).to_bytes()
    with pytest.raises(CorruptStore, match="field of another type"):
        BaseModel.from_bytes(data, "commit 1")


@pytest.mark.parametrize("damage", ["no folder", "no config", "no weights"])
def test_a_folder_without_a_model_is_unavailable(tmp_path: Path, damage: str) -> None:
    folder = model(tmp_path / "base")
    if damage == "no config":
        (folder / "config.json").unlink()
    if damage == "no weights":
        (folder / "model.safetensors").unlink()
    if damage == "no folder":
        folder = tmp_path / "missing"
    with pytest.raises(BaseModelUnavailable, match=r"base model 'org/base': .*base\.path FOLDER"):
        describe_base(folder, "org/base", None)


def adapter(folder: Path, tensors: Any = None, **options: Any) -> LoraAdapter:
    return read_lora(write_lora(folder, tensors, **options))


@pytest.mark.parametrize(
    "given",
    [
        "org/base",
        None,
        "/data/models/base",
        "/data/models/base/",
        "./base",
        "~/base",
        "C:\\models\\base",
        "/home/a/.cache/huggingface/hub/models--org--base/snapshots/0a1b2c",
        "other/name",
        "/data/name",
    ],
)
def test_a_name_an_alias_or_a_path_that_ends_with_one_of_them_fits(
    tmp_path: Path, given: str | None
) -> None:
    base = BaseModel(name="org/base", shapes={Q: [3, 4]})
    check_adapter_fits(
        base, adapter(tmp_path, base_model_name_or_path=given), aliases=["other/name"]
    )


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ("/data/models/llama/", True),
        ("./models/llama", True),
        ("../llama", True),
        ("models\\llama", True),
        ("llama", True),
        ("/elsewhere/models/llama", False),
        ("C:\\data\\models\\llama", False),
        ("~/models/llama", False),
        ("./other/llama", False),
        ("..", False),
    ],
)
def test_a_folder_is_known_by_its_path_and_by_the_end_of_it(
    tmp_path: Path, given: str, fits: bool
) -> None:
    base = BaseModel(name="org/base", shapes={Q: [3, 4]})
    found = adapter(tmp_path, base_model_name_or_path=given)
    with nullcontext() if fits else pytest.raises(BaseModelMismatch):
        check_adapter_fits(base, found, aliases=[Path("/data/models/llama")])


@pytest.mark.parametrize("given", ["org/other", "somebody/base", "base", "/data/base/other", "/"])
def test_another_name_does_not_fit(tmp_path: Path, given: str) -> None:
    base = BaseModel(name="org/base", shapes={Q: [3, 4]})
    with pytest.raises(BaseModelMismatch, match=r"base\.aliases --add") as caught:
        check_adapter_fits(base, adapter(tmp_path, base_model_name_or_path=given), aliases=[])
    assert (caught.value.store, caught.value.adapter) == ("org/base", given)


def described(folder: Path, **config: Any) -> BaseModel:
    return describe_base(model(folder, **config), "org/base", None)


@pytest.mark.parametrize("name", ["model.q_proj", "q_proj", "base_model.model.q_proj"])
def test_a_module_is_found_with_a_prefix_more_or_less(tmp_path: Path, name: str) -> None:
    base = described(tmp_path / "base")
    check_adapter_fits(base, adapter(tmp_path / "adapter", lora_tensors(name)), aliases=[])


def test_a_module_of_another_shape_is_refused(tmp_path: Path) -> None:
    base = described(tmp_path / "base")
    wide = adapter(tmp_path / "wide", lora_tensors(columns=5))
    with pytest.raises(ShapeMismatch, match=r"q_proj: base model 'org/base' has shape \[3, 4\]"):
        check_adapter_fits(base, wide, aliases=[])
    with pytest.raises(NotLinear, match=r"fan_in_fan_out=True .* keeps that weight as \[3, 4\]"):
        check_adapter_fits(base, adapter(tmp_path / "conv1d", fan_in_fan_out=True), aliases=[])


C_ATTN, C_PROJ, PROJ = "h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.attn.proj"


@pytest.mark.parametrize(
    ("c_attn", "module", "transposed"),
    [([4, 12], C_PROJ, True), ([4, 12], PROJ, False), ([12, 4], C_PROJ, False)],
)
def test_the_layout_of_a_square_weight_follows_from_the_architecture(
    tmp_path: Path, c_attn: list[int], module: str, transposed: bool
) -> None:
    shapes = {f"{C_ATTN}.weight": c_attn, f"{module}.weight": [4, 4]}
    base = BaseModel(name="org/base", shapes=shapes, digests={})
    square = lora_tensors(module, rows=4, columns=4)
    right = adapter(tmp_path / "right", square, fan_in_fan_out=transposed)
    wrong = adapter(tmp_path / "wrong", square, fan_in_fan_out=not transposed)
    check_adapter_fits(base, right, aliases=[])
    kept = r"\(in, out\)" if transposed else r"\(out, in\)"
    with pytest.raises(NotLinear, match=f"{module} with .* keeps that weight as {kept}, the other"):
        check_adapter_fits(base, wrong, aliases=[])
    for unknown in (BaseModel(name="org/base"), dataclasses.replace(base, quantization={"b": 4})):
        for either in (right, wrong):
            check_adapter_fits(unknown, either, aliases=[])


def test_an_embedding_has_the_shape_rows_by_dimensions(tmp_path: Path) -> None:
    base = described(tmp_path / "base")
    fits = adapter(tmp_path / "fits", embedding_tensors(rows=5, dimensions=3))
    check_adapter_fits(base, fits, aliases=[])
    with pytest.raises(ShapeMismatch, match=r"embed_tokens: .*\[5, 3\], but .* has \[6, 3\]"):
        check_adapter_fits(base, adapter(tmp_path / "other", embedding_tensors(rows=6)), aliases=[])


def test_a_module_that_the_base_lacks_is_refused_once_the_base_was_seen(tmp_path: Path) -> None:
    other = adapter(tmp_path / "adapter", lora_tensors("model.layers.9.q_proj"))
    check_adapter_fits(BaseModel(name="org/base", shapes={}), other, aliases=[])
    with pytest.raises(BaseModelMismatch, match=r"adapts model.layers.9.q_proj, which"):
        check_adapter_fits(described(tmp_path / "base"), other, aliases=[])


def test_an_output_layer_that_is_the_embedding_can_be_adapted(tmp_path: Path) -> None:
    head = adapter(tmp_path / "adapter", lora_tensors("lm_head", rows=5, columns=3))
    tied = described(tmp_path / "tied", tie_word_embeddings=True, vocab_size=5)
    assert tied.shapes["lm_head.weight"] == [5, 3]
    check_adapter_fits(tied, head, aliases=[])
    with pytest.raises(BaseModelMismatch, match="adapts lm_head, which"):
        check_adapter_fits(described(tmp_path / "untied"), head, aliases=[])


def test_packed_weights_of_a_quantized_base_are_not_compared(tmp_path: Path) -> None:
    base = described(tmp_path / "base")
    packed = dataclasses.replace(base, shapes={Q: [6, 1]}, quantization={"bits": 4})
    check_adapter_fits(packed, adapter(tmp_path / "adapter"), aliases=[])
    check_same_base(BaseModel(name="org/base", shapes={Q: [3, 4]}), packed)


def test_base_json_is_one_canonical_text(tmp_path: Path) -> None:
    text = described(tmp_path).to_bytes().decode()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
