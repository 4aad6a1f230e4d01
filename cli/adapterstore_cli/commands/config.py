"""``adapterstore config``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterstore.errors import InvalidSetting
from adapterstore_cli.output import print_json
from adapterstore_cli.session import Session, json_option, tell_missing_weights

if TYPE_CHECKING:
    from adapterstore.history.settings import Settings


@click.command()
@click.argument("key", required=False, metavar="[KEY]")
@click.argument("value", required=False, metavar="[VALUE]")
@click.option("--add", metavar="VALUE", help="Append VALUE to a list, such as base.aliases.")
@click.option("--unset", is_flag=True, help="Back to the default.")
@json_option
@click.pass_obj
def command(
    session: Session,
    key: str | None,
    value: str | None,
    add: str | None,
    unset: bool,
    as_json: bool,
) -> None:
    """Show or change the store's local settings (adapterstore.yaml).

    KEY is SECTION.NAME: base.path and base.aliases; recipe.* for training, gate.* for the least
    share of each figure, daemon.* for the daemon, compact.* for the rank at which an update folds
    the sum, drift.* for the alarms of long runs. Values are written as in YAML.

    \b
    Examples:
      adapterstore config
      adapterstore config base.path ./llama-3.2-1b
      adapterstore config base.aliases --add unsloth/Llama-3.2-1B
      adapterstore config gate.retention 0.95
      adapterstore config gate.generality null
      adapterstore config compact.rank_limit 64
      adapterstore config recipe.method --unset
    """
    import yaml

    store = session.open()
    settings = store.settings
    changes = value is not None or add is not None or unset
    if as_json and changes:
        raise click.UsageError("--json is for what is read")
    if key is None:
        shown = _effective(settings)
        if as_json:
            print_json(shown)
        else:
            click.echo(yaml.safe_dump(shown, allow_unicode=True, sort_keys=False).rstrip())
        return
    section, _, name = key.partition(".")
    if not changes:
        found = _effective(settings).get(section, {})
        if name not in found:
            raise InvalidSetting(key, "there is no such setting; 'adapterstore config' lists all")
        if as_json:
            print_json(found[name])
        else:
            click.echo(_plain(found[name]))
        return
    changed = _change(settings, section, name, value, add, unset)
    # Checked as a whole before it is written: a store never has settings that it can't read.
    _effective(changed)
    changed.write()
    if key == "base.path":
        tell_missing_weights(store)


def _change(
    settings: Settings, section: str, name: str, value: str | None, add: str | None, unset: bool
) -> Settings:
    import yaml

    key = f"{section}.{name}"
    if add is not None:
        present = settings.section(section).get(name, [])
        if not isinstance(present, list):
            raise InvalidSetting(key, "is not a list")
        return settings.with_value(key, [*present, add])
    if unset:
        return settings.without_value(key)
    if key == "base.path":
        # Found again from any folder in which a command is run.
        return settings.with_value(key, str(Path(str(value)).expanduser().absolute()))
    if section == "base":
        return settings.with_value(key, value)
    try:
        parsed: Any = yaml.safe_load(str(value))
    # PyYAML passes on what is said of values such as 2018-99-99 and !!bool x.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidSetting(key, f"{value!r} is not YAML") from error
    return settings.with_value(key, parsed)


def _effective(settings: Settings) -> dict[str, Any]:
    """Return every setting with its default; raise `InvalidSetting` if one is wrong."""
    from adapterstore.update.settings import (
        read_compact_settings,
        read_daemon_settings,
        read_drift_settings,
        read_update_settings,
    )

    recipe, gate = read_update_settings(settings, {})
    return {
        "base": {"path": None, "aliases": [], **settings.section("base")},
        "recipe": recipe.model_dump(mode="json"),
        "gate": gate.model_dump(mode="json"),
        "daemon": read_daemon_settings(settings).model_dump(mode="json"),
        "compact": read_compact_settings(settings).model_dump(mode="json"),
        "drift": read_drift_settings(settings).model_dump(mode="json"),
    }


def _plain(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
