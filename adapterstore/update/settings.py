"""The recipe and the gate of a store: its settings, with what this call says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterstore.history.settings import Settings

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.recipe import Recipe
    from adapterstore.update.daemon_settings import DaemonSettings


def read_update_settings(settings: Settings, overrides: Mapping[str, Any]) -> tuple[Recipe, Gate]:
    """Return the recipe (settings, then ``overrides``) and the gate.

    Raises:
        InvalidSetting: an unknown name, or a value out of range.
    """
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.recipe import Recipe

    recipe = Recipe.parse({**settings.section("recipe"), **overrides}, "recipe")
    return recipe, Gate.parse(settings.section("gate"), "gate")


def read_daemon_settings(settings: Settings) -> DaemonSettings:
    """Return the daemon's settings.

    Raises:
        InvalidSetting: an unknown name, or a value out of range.
    """
    from adapterstore.update.daemon_settings import DaemonSettings

    return DaemonSettings.parse(settings.section("daemon"), "daemon")
