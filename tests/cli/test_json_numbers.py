"""What programs read is JSON, and nothing that only Python takes for it."""

from __future__ import annotations

import json
import math

import pytest
from adapterstore_cli.output import print_json, print_json_list


def refuse(constant: str) -> None:
    raise AssertionError(constant)


def test_numbers_that_json_has_not_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [math.nan, 1.5, {"b": -math.inf}], "c": (math.inf, "NaN", True)})
    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=refuse) == {
        "a": [None, 1.5, {"b": None}],
        "c": [None, "NaN", True],
    }
    print_json_list([{"d": math.nan}])
    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == [{"d": None}]
