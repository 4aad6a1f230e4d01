"""Local settings of a store: ``adapterstore.yaml``. Not versioned, not cloned.

This module reads and writes the file; all sections but ``base`` are understood by the layers that
use them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterstore.errors import InvalidSetting, StoreBusy
from adapterstore.store.durable import write_file
from adapterstore.store.refs import store_lock

SETTINGS_NAME = "adapterstore.yaml"
SECTIONS = ("base", "recipe", "gate", "daemon", "compact", "drift")
_BASE_KEYS: Mapping[str, type] = {"path": str, "aliases": list}


class Settings:
    """The content of one settings file; a missing file is an empty one."""

    def __init__(self, path: Path, content: dict[str, dict[str, Any]], text: str | None = None):
        """Hold ``content``, made of the file's ``text`` (None: there was no file)."""
        self.path = path
        self._content = content
        self._text = text

    @classmethod
    def read(cls, store_folder: Path) -> Settings:
        """Read the settings of a store.

        Raises:
            InvalidSetting: the file is not YAML, or names an unknown section.
        """
        import yaml

        path = store_folder / SETTINGS_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(path, {})
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSetting(str(path), f"can't be read: {error}") from error
        try:
            content = yaml.safe_load(text) or {}
        except yaml.MarkedYAMLError as error:
            from adapterstore.knowledge.yaml_content import explain_error

            problem, line = explain_error(error, text)
            raise InvalidSetting(f"{path}:{line}", f"not YAML: {problem}") from error
        # PyYAML passes on what is said of values such as 2018-99-99 and !!bool x.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
            raise InvalidSetting(str(path), f"not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise InvalidSetting(str(path), "must hold sections, such as 'recipe:'")
        for name, section in content.items():
            if name not in SECTIONS:
                raise InvalidSetting(
                    f"{path}: {name}", f"unknown section; there are {', '.join(SECTIONS)}"
                )
            if not isinstance(section, dict):
                raise InvalidSetting(f"{path}: {name}", "must hold 'name: value' lines")
        settings = cls(path, content, text)
        settings._check_base()
        return settings

    def _check_base(self) -> None:
        for key, value in self.section("base").items():
            kind = _BASE_KEYS.get(str(key))
            if kind is None:
                raise InvalidSetting(
                    f"{self.path}: base.{key}", f"unknown; there are {', '.join(_BASE_KEYS)}"
                )
            if not isinstance(value, kind):
                raise InvalidSetting(f"{self.path}: base.{key}", f"must be a {kind.__name__}")

    def section(self, name: str) -> dict[str, Any]:
        """Return a copy of one section's values."""
        return copy.deepcopy(self._content.get(name, {}))

    def with_value(self, key: str, value: Any) -> Settings:
        """Return settings with ``section.name`` set; see `write`.

        Raises:
            InvalidSetting: no such section.
        """
        section, name = _split(key)
        content = copy.deepcopy(self._content)
        content.setdefault(section, {})[name] = value
        changed = Settings(self.path, content, self._text)
        changed._check_base()
        return changed

    def without_value(self, key: str) -> Settings:
        """Return settings in which ``section.name`` has its default; see `write`.

        Raises:
            InvalidSetting: no such section.
        """
        section, name = _split(key)
        content = copy.deepcopy(self._content)
        content.get(section, {}).pop(name, None)
        return Settings(self.path, {k: v for k, v in content.items() if v}, self._text)

    def write(self) -> None:
        """Replace the settings file at once.

        Raises:
            StoreBusy: somebody else has changed the file since it was read.
        """
        import yaml

        text = yaml.safe_dump(self._content, allow_unicode=True, sort_keys=True)
        with store_lock(self.path.parent):
            if Settings.read(self.path.parent)._text != self._text:
                raise StoreBusy(
                    str(self.path), "changed meanwhile; nothing was written: run the command again"
                )
            write_file(self.path, text.encode() if self._content else b"")

    @property
    def base_path(self) -> Path | None:
        """Where the base model's weights lie on this machine."""
        path = self.section("base").get("path")
        return Path(path) if path is not None else None

    @property
    def base_aliases(self) -> list[str]:
        """Other names under which adapters know the base model."""
        return [str(name) for name in self.section("base").get("aliases", [])]


def _split(key: str) -> tuple[str, str]:
    section, _, name = key.partition(".")
    if section not in SECTIONS or not name:
        raise InvalidSetting(key, f"must be SECTION.NAME, SECTION of {', '.join(SECTIONS)}")
    return section, name
