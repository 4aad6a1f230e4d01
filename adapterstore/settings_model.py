"""The kind of value that a section of the settings file becomes."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from adapterstore.errors import InvalidSetting


class SettingsModel(BaseModel):
    """An immutable set of named values; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Return the values; raise `InvalidSetting` in one line for the first that is wrong."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                problem = f"there is no such setting; there are {', '.join(cls.model_fields)}"
            else:
                # YAML can write in a line what would fill the memory if it were all shown.
                problem = f"{first['msg']} (it is {reprlib.repr(first['input'])[:100]})"
            raise InvalidSetting(f"{where}.{name}" if name else where, problem) from error
