"""The base model's weights on this machine, and that they are the ones the store was made over."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from adapterstore.adapters.base_model import BaseModel, check_same_base, describe_base, file_digest
from adapterstore.adapters.model_folder import CONFIG_NAME, read_model_folder
from adapterstore.adapters.tensor_file import FLOAT_DTYPES
from adapterstore.adapters.tensor_writer import torch_dtype
from adapterstore.demo import MODEL_PATH
from adapterstore.errors import BaseModelUnavailable, UnreadableFile
from adapterstore.history.settings import Settings

if TYPE_CHECKING:
    import torch

DEMO_NAME = "demo"
_NOT_NAMED = "not named yet"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def name_base(text: str, revision: str | None) -> tuple[BaseModel, Path | None]:
    """Return what ``init --base TEXT`` says: ``demo``, a folder, or a Hub name.

    The second value is the folder with the weights, if they are at hand.

    Raises:
        UnreadableFile: blank, or a path that is not a folder.
        BaseModelUnavailable: the folder has no model in it.
    """
    if not text.strip() or not text.isprintable():
        raise UnreadableFile(repr(text), "names no model; give its folder or its name on the Hub")
    folder = Path(text).expanduser()
    if text == DEMO_NAME:
        return describe_base(MODEL_PATH, DEMO_NAME, None), MODEL_PATH
    if folder.is_dir():
        return describe_base(folder, folder.resolve().name, revision), folder.resolve()
    if text.startswith((".", "/", "~")) or folder.exists():
        raise UnreadableFile(text, "not a folder; give a model's folder or its name on the Hub")
    return BaseModel(name=text, revision=revision), None


def find_base(base: BaseModel, settings: Settings) -> Path:
    """Return the folder of the base model's weights; nothing is downloaded.

    Looked for in this order: the setting ``base.path``, the demo model, the Hub cache.

    Raises:
        BaseModelUnavailable: not at hand.
    """
    if (path := settings.base_path) is not None:
        name = base.name or _NOT_NAMED
        if not path.is_dir():
            raise BaseModelUnavailable(name, f"base.path is {path}, which is no folder")
        if not (path / CONFIG_NAME).is_file():
            raise BaseModelUnavailable(name, f"base.path is {path}, which has no {CONFIG_NAME}")
        return path
    if base.name is None:
        raise BaseModelUnavailable(_NOT_NAMED, "commit an adapter that names its base")
    if base.name == DEMO_NAME:
        return MODEL_PATH
    return _find_in_hub_cache(base.name, base.revision)


def base_folders(base: BaseModel, settings: Settings) -> list[Path]:
    """Return the paths by which an adapter that was trained here may know the base."""
    if (path := settings.base_path) is not None:
        return [path, path.resolve()]
    return [MODEL_PATH] if base.name == DEMO_NAME else []


def name_for_peft(base: BaseModel, settings: Settings) -> str | None:
    """Return by what peft can load the base: its name on the Hub; of a local one, its folder.

    The demo model keeps its name, so that its exports are the same bytes on every machine.
    """
    path = settings.base_path
    if base.name is None or _HUB_NAME.fullmatch(base.name) or path is None:
        return base.name
    return str(path.absolute())


def _find_in_hub_cache(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError as error:
        # An adapter may name the folder of its base; where a file points to is not followed.
        raise BaseModelUnavailable(name, "is no name on the Hub") from error
    except LocalEntryNotFoundError as error:
        at = f" at revision {revision}" if revision else ""
        raise BaseModelUnavailable(
            name, f"not in the Hub cache{at}; fetch it with 'hf download {name}'"
        ) from error


def check_base(
    recorded: BaseModel, folder: Path, digest: Callable[[Path], str] = file_digest
) -> BaseModel:
    """Compare the weights in a folder with the store's record; return the full description.

    ``digest`` gives a file's SHA-256; by default the file is read.

    Raises:
        BaseModelMismatch: these are other weights, or another tokenizer.
    """
    loaded = describe_base(folder, recorded.name, recorded.revision, digest)
    check_same_base(recorded, loaded)
    return loaded


def stored_dtypes(folder: Path) -> dict[str, torch.dtype]:
    """Return the dtype in which a model folder keeps each weight that is a float, by its name."""
    return {
        name: torch_dtype(info.dtype)
        for tensor_file in read_model_folder(folder).files.values()
        for name, info in tensor_file.tensors.items()
        if info.dtype in FLOAT_DTYPES
    }
