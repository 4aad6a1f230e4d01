"""What the tests of updates have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store over the demo model."""
    return Store.init(tmp_path, base="demo")
