"""Updates from Python: what a pipeline calls, as the README shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapterstore import AdapterStoreError, Store
from adapterstore.errors import FactFileError, InvalidSetting, StoreBusy, UnreadableFile
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.knowledge.tables.reading import read_mapped_table
from adapterstore.update import ask, run_update, update_from_table
from tests.cli.running import done

PROMPT = "The currency of Croatia is the"
FACTS = f"- {{prompt: {PROMPT}, answer: euro, old_answer: kuna}}\n"
QUICK = {
    "sampled_texts": 20,
    "subject_texts": 5,
    "control_size": 10,
    "learn_steps": 20,
    "batch_size": 8,
    "coefficient": 0.5,
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    done(tmp_path, "init", "--base", "demo")
    for name, value in QUICK.items():
        done(tmp_path, "config", f"recipe.{name}", str(value))
    done(tmp_path, "config", "gate.locality", "null")
    return Store.open(tmp_path)


def test_a_path_and_the_stores_settings_are_enough(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "facts.yaml"
    file.write_text(FACTS)
    result = run_update(store, [str(file)])
    assert (result.status, result.reasons) == ("applied", [])
    assert result.coefficient == "0.5"
    # The old answer that the file states is what the model gave.
    assert result.notes == []
    assert ask(store, "HEAD", PROMPT) == ask(store, "HEAD", [PROMPT]) == ["euro."]
    # The same facts, however they are given, are in effect.
    for again in ([file], file, [parse_fact_file(FACTS.encode(), "facts.yaml")]):
        assert run_update(store, again).status == "already-applied"  # type: ignore[arg-type]


class NothingBegins:
    """A progress of work that is not to be begun."""

    def start(self, stage: str, total: int | None = None) -> None:
        raise AssertionError(stage)

    def advance(self, steps: int = 1) -> None:
        raise AssertionError(steps)

    def note(self, text: str) -> None:
        raise AssertionError(text)


def test_a_branch_that_can_not_be_moved_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="demo")
    tip = store.resolve()
    file = tmp_path / "facts.yaml"
    file.write_text(FACTS)
    lock = store.repository.folder / "refs/heads/main.lock"
    lock.touch()
    with pytest.raises(StoreBusy, match=r"main\.lock.*delete this file"):
        run_update(store, [file], progress=NothingBegins())
    assert lock.exists()
    assert store.resolve() == tip


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ([], InvalidSetting, "name a file of facts"),
        ([3], UnreadableFile, "3: is no path; give text or a Path"),
        (["nowhere.yaml"], FactFileError, "nowhere.yaml"),
        (["facts.txt"], FactFileError, "facts.txt"),
    ],
)
def test_what_is_no_file_is_told_in_one_line(
    store: Store, files: list[Any], error: type[AdapterStoreError], message: str
) -> None:
    before = store.resolve()
    with pytest.raises(error) as refused:
        run_update(store, files)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert store.resolve() == before
    with pytest.raises(InvalidSetting, match="must be text, not int"):
        ask(store, "HEAD", [3])  # type: ignore[list-item]


def test_a_table_is_taken_by_its_own_function(store: Store, tmp_path: Path) -> None:
    table, mapping = tmp_path / "money.csv", tmp_path / "money.map.yaml"
    table.write_text("country,currency\nCroatia,kuna\n")
    mapping.write_text(f"key: country\ncolumns:\n  currency: {{prompts: ['{PROMPT}']}}\n")
    mapping.write_text(mapping.read_text().replace("Croatia", "{country}"))
    with pytest.raises(InvalidSetting, match="has a mapping, so it is a table"):
        run_update(store, [table])
    result = update_from_table(store, read_mapped_table(table), dry_run=True)
    assert (result.status, result.table is not None) == ("dry-run", True)


def test_arguments_of_another_type_are_told_before_anything_is_trained(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "facts.yaml"
    file.write_text(FACTS)
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (store, {"gate": "no"}, "gate: must be a Gate, not str; make one with Gate.parse"),
        (store, {"recipe": {"seed": 1}}, "recipe: must be a Recipe, not dict"),
        (".", {}, "store: must be a Store, not str; open one with Store.open"),
    ]
    for given, options, message in wrong:
        with pytest.raises(InvalidSetting) as refused:
            run_update(given, [file], **options)
        assert message in str(refused.value)
    with pytest.raises(InvalidSetting, match="store: must be a Store"):
        ask(".", "HEAD", PROMPT)  # type: ignore[arg-type]
