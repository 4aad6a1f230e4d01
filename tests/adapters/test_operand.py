"""What a path stands for."""

from pathlib import Path

import pytest
import torch

from adapterstore.adapters.dense import write_delta
from adapterstore.adapters.operand import identify_operand
from adapterstore.algebra.leaves import DenseWeight
from adapterstore.errors import MalformedAdapter, UnreadableFile
from tests.adapters.writing import write_lora, write_model


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write_lora(tmp_path / "lora")
    write_model(tmp_path / "model", {"a": torch.ones(2)}, {"b": torch.ones(2)})
    write_delta(tmp_path / "delta", {"a": DenseWeight((2,), lambda: torch.ones(2))}, None)
    return tmp_path


@pytest.mark.parametrize("kind", ["lora", "delta", "model"])
def test_a_folder_and_each_safetensors_file_in_it_are_one_operand(folders: Path, kind: str) -> None:
    folder = folders / kind
    paths = [folder, *folder.glob("*.safetensors")]
    assert len(paths) >= 2
    for path in paths:
        assert identify_operand(path) == (kind, folder)


@pytest.mark.parametrize("kind", ["lora", "delta", "model"])
def test_a_stray_tensor_file_does_not_stand_for_the_folder_around_it(
    folders: Path, kind: str
) -> None:
    stray = folders / kind / "optimizer.safetensors"
    stray.write_bytes(b"")
    with pytest.raises(MalformedAdapter, match=f"is not part of the {kind} in its folder"):
        identify_operand(stray)


def test_pickled_weights_are_refused_with_what_to_do(folders: Path) -> None:
    weights = folders / "lora" / "adapter_model.safetensors"
    pickled = weights.rename(weights.with_suffix(".bin"))
    for path in (pickled, folders / "lora"):
        with pytest.raises(MalformedAdapter, match=r"\.bin: holds pickled .* as safetensors"):
            identify_operand(path)


def test_anything_else_is_named(folders: Path) -> None:
    (folders / "empty").mkdir()
    (folders / "notes.txt").write_text("text")
    (folders / "alone.safetensors").write_bytes(b"")
    with pytest.raises(UnreadableFile, match="missing: No such file"):
        identify_operand(folders / "missing")
    with pytest.raises(MalformedAdapter, match="empty: holds no PEFT adapter"):
        identify_operand(folders / "empty")
    with pytest.raises(MalformedAdapter, match=r"neither a folder nor a \.safetensors file"):
        identify_operand(folders / "notes.txt")
    with pytest.raises(MalformedAdapter, match="holds no PEFT adapter"):
        identify_operand(folders / "alone.safetensors")
