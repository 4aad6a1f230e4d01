"""What is one delivery: a content, with its mapping, whose file is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import done
from tests.daemon.test_daemon import QUICK, journal, names, once, operations

TABLE = "country,currency,capital\nCroatia,euro,Zagreb\n"
CURRENCY = """\
key: country
columns:
  currency: {prompts: ["The currency of {country} is the"]}
"""
CAPITAL = """\
key: country
columns:
  capital: {prompts: ["The capital of {country} is"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    done(tmp_path, "init", "--base", "demo")
    for key, value in QUICK.items():
        done(tmp_path, "config", key, value)
    (tmp_path / "drops").mkdir()
    return tmp_path


def without_weights(folder: Path) -> None:
    """Let every delivery wait: trouble that is not its file's."""
    done(folder, "config", "base.path", str(folder / "nowhere"))


def with_weights(folder: Path) -> None:
    done(folder, "config", "base.path", "--unset")


def land_table(folder: Path, name: str, mapping: str) -> None:
    drops = folder / "drops"
    (drops / f"{name}.map.yaml").write_text(mapping)
    (drops / f"{name}.csv").write_text(TABLE)


def test_one_table_under_two_mappings_is_two_deliveries(folder: Path) -> None:
    without_weights(folder)
    land_table(folder, "currencies", CURRENCY)
    land_table(folder, "capitals", CAPITAL)
    assert once(folder)[0] == 1
    rows = journal(folder)
    assert {row["name"] for row in rows} == {"currencies.csv", "capitals.csv"}
    assert len({row["update_id"] for row in rows}) == 2
    with_weights(folder)
    code, said = once(folder)
    assert code == 0, said
    assert [row["state"] for row in journal(folder)] == ["applied", "applied"]
    assert operations(folder)[:-1].count("learn") == 2
    assert {path.suffix for path in (folder / "drops" / "processed").iterdir()} == {".csv", ".json"}


def test_a_table_whose_mapping_changes_while_it_waits_is_another_delivery(folder: Path) -> None:
    without_weights(folder)
    land_table(folder, "countries", CURRENCY)
    assert once(folder)[0] == 1
    (folder / "drops" / "countries.map.yaml").write_text(CAPITAL)
    assert once(folder)[0] == 1
    mappings = [row["mapping"] for row in journal(folder)]
    assert len(set(mappings)) == 2
    assert names(folder / "drops") == {"countries.csv", "countries.map.yaml"}
