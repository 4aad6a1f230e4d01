from __future__ import annotations

from typing import Any

import pytest

from adapterstore.demo import MODEL_PATH
from adapterstore.learning.loading import load_base


@pytest.fixture(scope="package")
def loaded() -> tuple[Any, Any]:
    return load_base(MODEL_PATH, "cpu")


@pytest.fixture(scope="package")
def model(loaded: tuple[Any, Any]) -> Any:
    """The demo model; no test changes it."""
    return loaded[0]


@pytest.fixture(scope="package")
def tokenizer(loaded: tuple[Any, Any]) -> Any:
    return loaded[1]
