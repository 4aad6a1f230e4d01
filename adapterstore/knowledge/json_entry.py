"""Ledger and suite keep one small JSON file an entry: its fields, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from adapterstore.errors import CorruptStore

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def entry_to_bytes(entry: DataclassInstance) -> bytes:
    """Return canonical JSON: sorted keys, one a line, UTF-8 unescaped, a newline at the end."""
    text = json.dumps(asdict(entry), ensure_ascii=False, indent=1, sort_keys=True)
    return f"{text}\n".encode()


def read_entry(
    kind: type[DataclassInstance], data: bytes, where: str, fits: Callable[[str, object], bool]
) -> dict[str, Any]:
    """Return the fields of an entry that `entry_to_bytes` wrote.

    Args:
        kind: the dataclass whose fields they are.
        data: the file.
        where: names it in errors.
        fits: whether a field may have a value.

    Raises:
        CorruptStore: anything else.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptStore(where, f"not JSON ({error})") from error
    names = [field.name for field in fields(kind)]
    if not isinstance(content, dict) or sorted(content) != sorted(names):
        raise CorruptStore(where, f"does not have exactly the fields {', '.join(names)}")
    for name in names:
        if not fits(name, content[name]):
            raise CorruptStore(where, f"{name} is not what it should be")
    return content
