"""What the tests of learning have in common."""

from __future__ import annotations

from typing import Any

import pytest

from adapterstore.demo import MODEL_PATH
from adapterstore.learning.loading import load_base


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    """The demo model, which no test changes, and its tokenizer."""
    return load_base(MODEL_PATH, "cpu")
