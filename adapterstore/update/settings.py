"""The recipe and the gate of a store: its settings, with what this call says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterstore.history.settings import Settings

if TYPE_CHECKING:
    from adapterstore.evaluation.gate import Gate
    from adapterstore.learning.recipe import Recipe
    from adapterstore.update.compact_settings import CompactSettings
    from adapterstore.update.daemon_settings import DaemonSettings
    from adapterstore.update.drift_settings import DriftSettings


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


def read_compact_settings(settings: Settings) -> CompactSettings:
    """Return when sums are folded.

    Raises:
        InvalidSetting: an unknown name, or a value out of range.
    """
    from adapterstore.update.compact_settings import CompactSettings

    return CompactSettings.parse(settings.section("compact"), "compact")


def read_drift_settings(settings: Settings) -> DriftSettings:
    """Return when the drift monitor raises an alarm.

    Raises:
        InvalidSetting: an unknown name, or a value out of range.
    """
    from adapterstore.update.drift_settings import DriftSettings

    return DriftSettings.parse(settings.section("drift"), "drift")
