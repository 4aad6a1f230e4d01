"""What is one delivery: a content, with its mapping, whose file is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from adapterstore.knowledge.formats import MAXIMUM_BYTES
from tests.cli.running import done, run_code
from tests.daemon.test_daemon import Daemon, journal, names, once, operations
from tests.forking import Forked
from tests.waiting import wait_until

FACTS = "- {prompt: The currency of Croatia is the, answer: euro}\n"
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
def start(folder: Path) -> Iterator[Callable[[], Daemon]]:
    """Starts daemons; ends those that a test leaves running."""
    started: list[Daemon] = []

    def start() -> Daemon:
        started.append(Daemon(folder))
        return started[-1]

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.end()


def without_weights(folder: Path) -> None:
    """Let every delivery wait: trouble that is not its file's."""
    done(folder, "config", "base.path", str(folder / "nowhere"))


def with_weights(folder: Path) -> None:
    done(folder, "config", "base.path", "--unset")


def states(folder: Path) -> dict[object, object]:
    """Return the state of each name's last delivery."""
    return {row["name"]: row["state"] for row in journal(folder)}


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
    former, now = journal(folder)
    assert former["mapping"] != now["mapping"]
    assert (former["state"], former["message"]) == ("gone", "its content or mapping has changed")
    assert now["state"] == "pending"
    assert names(folder / "drops") == {"countries.csv", "countries.map.yaml"}


def test_a_file_that_has_gone_before_it_was_done_has_an_end_and_may_return(
    folder: Path, start: Callable[[], Daemon]
) -> None:
    without_weights(folder)
    # Its name is not UTF-8: the journal has it as well as it can.
    stays = folder / "drops" / os.fsdecode(b"\xff stays.yaml")
    stays.write_text(FACTS.replace("Croatia", "Bulgaria"))
    path = folder / "drops" / "a.yaml"
    path.write_text(FACTS)
    daemon = start()
    daemon.wait_for("later a.yaml: ")
    path.unlink()
    wait_until(lambda: states(folder) == {"\\xff stays.yaml": "pending", "a.yaml": "gone"}, "gone")
    path.write_text(FACTS)
    wait_until(lambda: states(folder)["a.yaml"] == "pending", "the file to be taken up again")
    assert daemon.end() == 0

    # While nobody watches: the next start tells what has gone; not while the whole folder is away.
    path.unlink()
    drops = folder / "drops"
    drops.rename(folder / "away")
    drops.symlink_to(folder / "nowhere")
    daemon = start()
    assert daemon.process.wait(60) != 0
    drops.unlink()
    (folder / "elsewhere").mkdir()
    assert once(folder, "elsewhere")[0] == 0
    assert states(folder)["a.yaml"] == "pending"
    (folder / "away").rename(drops)
    assert once(folder)[0] == 1
    assert states(folder) == {"\\xff stays.yaml": "pending", "a.yaml": "gone"}
    assert [row["message"] for row in journal(folder)].count("its file has gone") == 2


def test_a_folder_that_is_away_for_a_moment_takes_no_delivery_with_it(
    folder: Path, start: Callable[[], Daemon]
) -> None:
    without_weights(folder)
    drops = folder / "drops"
    (drops / "a.yaml").write_text(FACTS)
    daemon = start()
    daemon.wait_for("later a.yaml: ")
    drops.rename(folder / "away")
    daemon.wait_for("later drops: No such file or directory")
    assert states(folder) == {"a.yaml": "pending"}
    # As where a disk was mounted. A file that lands there shows that it was looked at.
    drops.mkdir()
    daemon.wait_for("watching drops again")
    (drops / "b.yaml").write_text("nothing")
    daemon.wait_for("rejected b.yaml")
    assert states(folder) == {"a.yaml": "pending", "b.yaml": "rejected"}
    shutil.rmtree(drops)
    missed = "later drops: No such file or directory"
    wait_until(lambda: daemon.log.read_text().count(missed) == 2, "the folder to be missed again")
    (folder / "away").rename(drops)
    daemon.wait_for("watching drops again")
    with_weights(folder)
    daemon.wait_for("applied a.yaml as")
    assert daemon.end() == 0
    assert states(folder) == {"a.yaml": "applied", "b.yaml": "rejected"}
    assert len(journal(folder)) == 2


def test_a_table_that_has_gone_is_not_the_one_that_was_put_away_for_another_mapping(
    folder: Path,
) -> None:
    without_weights(folder)
    land_table(folder, "currencies", CURRENCY)
    os.utime(folder / "drops" / "currencies.csv", (1, 1))
    land_table(folder, "areas", CURRENCY.replace("currency", "area"))
    assert once(folder)[0] == 13
    assert states(folder) == {"currencies.csv": "pending", "areas.csv": "rejected"}
    (folder / "drops" / "currencies.csv").unlink()
    assert once(folder)[0] == 0
    assert states(folder) == {"currencies.csv": "gone", "areas.csv": "rejected"}


def test_what_an_earlier_attempt_failed_of_is_not_said_of_one_that_runs(
    folder: Path, start: Callable[[], Daemon]
) -> None:
    without_weights(folder)
    (folder / "drops" / "a.yaml").write_text(FACTS)
    assert once(folder)[0] == 1
    (row,) = journal(folder)
    assert "base.path" in str(row["message"])
    with_weights(folder)
    # More than anybody would wait for.
    done(folder, "config", "recipe.forget_steps", "1000000")
    daemon = start()
    daemon.wait_for("seen a.yaml")
    (row,) = journal(folder)
    assert (row["state"], row["attempts"], row["message"]) == ("running", 2, "")


def once_as_anybody(folder: Path) -> tuple[int, str]:
    """Run a daemon as `once` does, without root's right to read anything."""
    command = [sys.executable, "-m", "adapterstore_daemon", "run", "drops", "--once"]
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        command[:0] = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    run = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    return run.returncode, run.stderr


def test_what_can_not_be_read_has_a_row_too(folder: Path) -> None:
    drops = folder / "drops"
    for name in ("locked.yaml", "too-big.yaml", "t.csv"):
        (drops / name).write_text(FACTS)
    (drops / "locked.yaml").chmod(0)
    os.truncate(drops / "too-big.yaml", MAXIMUM_BYTES + 1)
    (drops / "t.map.yaml").write_text(CURRENCY)
    (drops / "t.map.yaml").chmod(0)
    code, said = once_as_anybody(folder)
    assert code == 13, said
    assert states(folder) == dict.fromkeys(("locked.yaml", "too-big.yaml", "t.csv"), "rejected")
    assert names(drops / "rejected") >= {"locked.yaml", "too-big.yaml", "t.csv"}
    told = {row["name"]: str(row["message"]) for row in journal(folder)}
    assert told["locked.yaml"].startswith("locked.yaml: no permission to read it; ")
    assert told["too-big.yaml"].startswith("too-big.yaml: 67108865 bytes; at most 67108864 are")
    assert "t.map.yaml: can't be read: Permission denied" in told["t.csv"]
    shown = Forked(folder, "adapterstore_daemon", "status").communicate(60)[0].decode()
    assert "rejected  locked.yaml  locked.yaml: no permission" in shown


def test_what_can_neither_be_read_nor_put_away_waits_in_its_row(folder: Path) -> None:
    without_weights(folder)
    drops = folder / "drops"
    (drops / "rejected").write_text("in the way")
    for name in ("a.yaml", "b.yaml"):
        (drops / name).write_text(FACTS)
        (drops / name).chmod(0)
    for attempts in (1, 2):
        code, said = once_as_anybody(folder)
        assert code == 1, said
        assert states(folder) == {"a.yaml": "pending", "b.yaml": "pending"}
        assert [row["attempts"] for row in journal(folder)] == [attempts, attempts]
    # Readable again: a delivery like any other. Here the base is what it waits for.
    (drops / "a.yaml").chmod(0o600)
    (drops / "b.yaml").unlink()
    assert once_as_anybody(folder)[0] == 1
    rows = [(row["name"], row["state"], bool(row["update_id"])) for row in journal(folder)]
    assert rows == [("a.yaml", "pending", True), ("b.yaml", "gone", False)]


WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
import adapterstore_daemon.main as main
main.main()
"""


@pytest.mark.parametrize("contrary", [True, False])
def test_a_file_that_waited_takes_nothing_back_that_newer_ones_say(
    folder: Path, contrary: bool
) -> None:
    drops = folder / "drops"
    columns = {"country": ["Croatia"], "currency": ["kuna"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), drops / "old.parquet")
    os.utime(drops / "old.parquet", (1, 1))
    (drops / "old.map.yaml").write_text(CURRENCY)
    (drops / "newer.yaml").write_text(FACTS if contrary else FACTS.replace("Croatia", "Kosovo"))
    run = run_code(folder, WITHOUT_PYARROW, "run", "drops", "--once")
    assert run.returncode == 1, run.stderr
    assert "applied newer.yaml" in run.stderr
    (waiting,) = [row for row in journal(folder) if row["state"] == "pending"]
    assert "pyarrow" in str(waiting["message"])
    newer = str(next(row["update_id"] for row in journal(folder) if row["state"] == "applied"))
    code, said = once(folder)
    if not contrary:
        assert (code, states(folder)["old.parquet"]) == (0, "applied"), said
        return
    assert code == 13
    reason = (drops / "rejected" / "old.parquet.reason.txt").read_text()
    assert reason == (
        "The currency of Croatia is the: old.parquet:1 column currency says 'kuna', but "
        f"update/{newer} says 'euro'; newer.yaml was applied while this file waited; put it there "
        "again if it is right\n"
    )
    # Who says so twice means it.
    (drops / "rejected" / "old.parquet").rename(drops / "old.parquet")
    assert once(folder)[0] == 0
    assert states(folder)["old.parquet"] == "applied"


def test_a_file_that_can_not_be_read_for_a_while_keeps_its_delivery(folder: Path) -> None:
    without_weights(folder)
    drops = folder / "drops"
    (drops / "rejected").write_text("in the way")
    (drops / "a.yaml").write_text(FACTS)
    for mode in (0o600, 0, 0o600):
        (drops / "a.yaml").chmod(mode)
        code, said = once_as_anybody(folder)
        assert code == 1, said
    rows = [(row["state"], row["attempts"], bool(row["update_id"])) for row in journal(folder)]
    assert rows == [("pending", 2, True), ("gone", 1, False)]
