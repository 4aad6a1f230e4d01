"""The cache: what is read is what was written, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore.store.cache import Cache


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "norms")
    assert cache.read("鍵") is None
    cache.write("鍵", [{"norm": 0.1, "rank": None}])
    assert Cache(tmp_path, "norms").read("鍵") == [{"norm": 0.1, "rank": None}]
    assert Cache(tmp_path, "other").read("鍵") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-3],
        lambda data: b"[" * 100_000,
        lambda data: data.replace(b"0.25", b"0.26"),
        lambda data: b"[]",
        lambda data: data.replace(b'"key": "k"', b'"key": "l"'),
        lambda data: b"\xff" + data,
    ],
)
def test_a_damaged_entry_is_as_good_as_none_and_can_be_written_again(
    tmp_path: Path, damage: object
) -> None:
    cache = Cache(tmp_path, "norms")
    cache.write("k", {"norm": 0.25})
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert cache.read("k") is None
    cache.write("k", {"norm": 0.25})
    assert cache.read("k") == {"norm": 0.25}


def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    cache = Cache(tmp_path, "norms")
    cache.write("k", 1)
    assert cache.read("k") is None
    assert [path.name for path in files(tmp_path)] == ["cache"]
