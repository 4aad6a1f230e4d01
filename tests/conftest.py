"""What a test of a store leaves behind is shown to stock git and git-lfs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stock_tools import stock_tools_agree, stores_below

JUDGED = ("history", "cli", "update", "daemon", "store", "learning", "tables", "reading")
"""The folders of tests that make stores; ``compat`` and ``durability`` ask by themselves."""


LONGEST = "test_story.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest test, so that no worker begins it when the others have ended."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def pytest_collection_finish() -> None:
    """Have no later collection of garbage look through what the libraries are made of.

    Every training ends with one; over half a million objects that stay, it takes longer than a
    short training does.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _stock_tools_judge_what_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """At the end, ask stock tools about every store below the test's folder.

    A test that damages its store on purpose says so: ``@pytest.mark.damages_the_store``.
    """
    part = request.path.relative_to(Path(__file__).parent).parts[0]
    judged = part in JUDGED and "tmp_path" in request.fixturenames
    folder: Path | None = request.getfixturevalue("tmp_path") if judged else None
    yield
    if folder is not None and request.node.get_closest_marker("damages_the_store") is None:
        for store in stores_below(folder):
            stock_tools_agree(store)
