"""JSON files that hold one object: read as data, of bounded size."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from adapterstore.errors import MalformedAdapter, UnreadableFile

MAX_BYTES = 64 << 20
"""Far over the largest index of a sharded model."""


def read_json_object(path: Path, label: str | None = None) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object.

    Args:
        path: the file.
        label: what messages call the adapter or model it belongs to (None: the file's path).

    Raises:
        UnreadableFile: no such file, no permission, or not a regular file.
        MalformedAdapter: it is too large, or holds something else.
    """
    where = str(path) if label is None else f"{label}: {path.name}"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile(str(path), "not a regular file")
        if status.st_size > MAX_BYTES:
            raise MalformedAdapter(where, f"is over {MAX_BYTES >> 20} MiB")
        # Not of bytes, of which json would take UTF-16 too: the field's tools read UTF-8.
        content = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise MalformedAdapter(where, f"is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise MalformedAdapter(where, "is not a JSON object")
    return content
