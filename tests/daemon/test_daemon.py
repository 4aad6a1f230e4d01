"""The daemon as a process: files land, and become commits or refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapterstore import Store
from adapterstore.demo import FACTS_PATH
from tests.cli.running import done
from tests.forking import Forked
from tests.signing import configure, git, make_key
from tests.waiting import wait_until

CROATIA = FACTS_PATH / "2023-croatia-euro.yaml"


class Daemon:
    """A running ``adapterstored`` and what it says."""

    def __init__(self, folder: Path, *arguments: str):
        self.log = folder / f"daemon-{len(list(folder.glob('daemon-*')))}.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "adapterstore_daemon", "run", "drops", *arguments],
                cwd=folder,
                stderr=stream,
            )

    def said(self, text: str) -> bool:
        return text in self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        wait_until(
            lambda: self.said(text) or self.process.poll() is not None, f"the daemon to say {text}"
        )
        assert self.said(text), self.log.read_text(encoding="utf-8")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    running = Daemon(folder)
    running.wait_for("watching drops")
    yield running
    if running.process.poll() is None:
        assert running.end() == 0


def once(folder: Path, drops: str = "drops") -> tuple[int, str]:
    """Run a daemon that ends when it has handled what is there; return its code and its log."""
    daemon = Forked(folder, "adapterstore_daemon", "run", drops, "--once")
    _, said = daemon.communicate(120)
    return daemon.wait(), said.decode()


def operations(folder: Path) -> list[str | None]:
    return [entry.operation for entry in Store.open(folder).log()]


def shown(folder: Path) -> dict[str, Any]:
    """Return what ``adapterstored status`` shows."""
    run = subprocess.run(
        [sys.executable, "-m", "adapterstore_daemon", "status", "--json"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(run.stdout)
    return document


def journal(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = shown(folder)["deliveries"]
    return rows


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_that_lands_becomes_an_update(folder: Path, daemon: Daemon) -> None:
    shutil.copy(CROATIA, folder / "drops" / "ユーロ.yaml")
    daemon.wait_for("applied ユーロ.yaml as update/")
    assert operations(folder) == ["learn", "forget", "init"]
    processed = folder / "drops" / "processed"
    assert names(processed) == {"ユーロ.yaml", "ユーロ.yaml.result.json"}
    assert (processed / "ユーロ.yaml").read_bytes() == CROATIA.read_bytes()
    result = json.loads((processed / "ユーロ.yaml.result.json").read_text(encoding="utf-8"))
    (row,) = journal(folder)
    assert (row["state"], row["update_id"]) == ("applied", result["update"])
    assert row["commits"] == result["commits"]

    # The same content again, under another name: put away, and nothing is learned twice.
    shutil.copy(CROATIA, folder / "drops" / "again.yaml")
    daemon.wait_for("applied again.yaml already as")
    assert operations(folder) == ["learn", "forget", "init"]
    assert [row["state"] for row in journal(folder)] == ["applied", "applied"]

    # The same name again: the earlier file is not replaced.
    (folder / "drops" / "ユーロ.yaml").write_bytes(CROATIA.read_bytes() + b"\n")
    wait_until((processed / "ユーロ-2.yaml").exists, "the second file of one name")
    assert (processed / "ユーロ.yaml").read_bytes() == CROATIA.read_bytes()


def test_a_bad_file_is_put_away_with_the_reason(folder: Path, daemon: Daemon) -> None:
    (folder / "drops" / "bad.yaml").write_text("facts:\n  - {prompt: P}\n", encoding="utf-8")
    daemon.wait_for("rejected bad.yaml: bad.yaml:2:")
    rejected = folder / "drops" / "rejected"
    assert names(rejected) == {"bad.yaml", "bad.yaml.reason.txt"}
    reason = (rejected / "bad.yaml.reason.txt").read_text(encoding="utf-8")
    assert reason.startswith("bad.yaml:2: ")
    assert "answer" in reason
    assert operations(folder) == ["init"]


def test_a_prompt_that_the_base_can_not_read_is_the_files_fault(folder: Path) -> None:
    text = f"- {{prompt: {'very ' * 1900}long, answer: euro}}\n"
    (folder / "drops" / "long.yaml").write_text(text, encoding="utf-8")
    code, said = once(folder)
    assert code == 13, said
    reason = (folder / "drops" / "rejected" / "long.yaml.reason.txt").read_text(encoding="utf-8")
    assert "shorten the prompt" in reason
    assert operations(folder)[-1] == "init"


def test_settings_that_do_not_fit_the_base_are_not_the_files_fault(folder: Path) -> None:
    done(folder, "config", "recipe.target_modules", "[no_such_layer]")
    (folder / "drops" / "fine.yaml").write_bytes(CROATIA.read_bytes())
    code, said = once(folder)
    assert code == 1, said
    assert "later fine.yaml: recipe.target_modules: no linear layer" in said
    assert (folder / "drops" / "fine.yaml").exists()


def test_a_slow_writer_is_waited_for(folder: Path, daemon: Daemon) -> None:
    """While the writer has the file open, it is not read, however long nothing is written."""
    path = folder / "drops" / "slow.yaml"
    bell = folder / "drops" / "bell.yaml"
    with path.open("w", encoding="utf-8") as file:
        file.write("facts:\n")
        file.flush()
        # A file that lands later is handled meanwhile: the daemon had time to look at both.
        bell.write_text("[]", encoding="utf-8")
        daemon.wait_for("rejected bell.yaml")
        assert not daemon.said("slow.yaml")
        file.write("  - {prompt: P}\n")
    daemon.wait_for("rejected slow.yaml: slow.yaml:2:")


def test_what_is_no_fact_file_is_left_alone(folder: Path, daemon: Daemon) -> None:
    drops = folder / "drops"
    os.mkfifo(drops / "pipe.yaml")
    (drops / "link.yaml").symlink_to(CROATIA)
    (drops / "folder.yaml").mkdir()
    (drops / ".hidden.yaml").write_text("[]")
    (drops / "half.yaml.part").write_text("[]")
    (drops / "notes.txt").write_text("[]")
    (drops / "bell.yaml").write_text("[]")
    daemon.wait_for("rejected bell.yaml")
    daemon.wait_for("ignored pipe.yaml: not a regular file")
    daemon.wait_for("ignored notes.txt: its name ends in none of .yaml .yml .json .jsonl .csv")
    for name in (".hidden.yaml", "half.yaml.part", "rejected"):
        assert not daemon.said(f"ignored {name}")
    left = {"pipe.yaml", "link.yaml", "folder.yaml", ".hidden.yaml", "half.yaml.part", "notes.txt"}
    assert names(drops) == left | {"rejected"}
    assert operations(folder) == ["init"]


def test_trouble_that_is_not_the_files_is_tried_again(folder: Path, daemon: Daemon) -> None:
    done(folder, "config", "base.path", str(folder / "nowhere"))
    shutil.copy(CROATIA, folder / "drops")
    daemon.wait_for(f"later {CROATIA.name}: base model 'demo': base.path is")
    assert (folder / "drops" / CROATIA.name).exists()
    done(folder, "config", "base.path", "--unset")
    daemon.wait_for(f"applied {CROATIA.name} as")
    (row,) = journal(folder)
    assert row["state"] == "applied"
    assert int(str(row["attempts"])) >= 2


def test_one_daemon_a_store(folder: Path, daemon: Daemon) -> None:
    second = Daemon(folder)
    assert second.process.wait(60) == 5
    assert second.said("another adapterstored runs on this store")


def test_a_folder_that_is_gone_for_a_moment_is_watched_again(folder: Path, daemon: Daemon) -> None:
    drops = folder / "drops"
    for _ in range(2):
        drops.rmdir()
        daemon.wait_for("later drops: No such file or directory")
        drops.mkdir()
        daemon.wait_for("watching drops again")
        (drops / "bad.yaml").write_text("[]")
        daemon.wait_for("rejected bad.yaml")
        shutil.rmtree(drops / "rejected")
        assert daemon.log.read_text(encoding="utf-8").count("later drops: ") == 1
        daemon.log.write_text("")


def test_sigterm_lays_the_work_down_and_the_next_start_takes_it_up(folder: Path) -> None:
    # More than anybody would wait for.
    done(folder, "config", "recipe.forget_steps", "1000000")
    shutil.copy(CROATIA, folder / "drops")
    daemon = Daemon(folder)
    daemon.wait_for(f"seen {CROATIA.name}")
    (folder / "drops" / "次の.yaml").write_text("[]")
    status = shown(folder)
    assert (status["daemon"]["process"], status["daemon"]["runs"]) == (daemon.process.pid, True)
    assert status["daemon"]["folder"] == str(folder / "drops")
    assert [row["state"] for row in status["deliveries"]] == ["running"]
    assert status["waiting"] == ["次の.yaml"]
    assert daemon.end() == 0
    assert daemon.said("ended")
    status = shown(folder)
    assert (status["daemon"]["runs"], status["waiting"]) == (False, ["次の.yaml"])
    (folder / "drops" / "次の.yaml").unlink()
    assert operations(folder) == ["init"]
    assert (folder / "drops" / CROATIA.name).exists()
    assert [row["state"] for row in journal(folder)] == ["pending"]
    daemon = Daemon(folder, "--once")
    daemon.wait_for("attempt 2")
    # Taken away while it is trained: nothing comes of it.
    (folder / "drops" / CROATIA.name).unlink()
    assert daemon.process.wait(60) == 1
    assert daemon.said(f"gone {CROATIA.name}: its file has gone")
    shutil.copy(CROATIA, folder / "drops")
    done(folder, "config", "recipe.forget_steps", "5")
    assert once(folder)[0] == 0
    assert operations(folder) == ["learn", "forget", "init"]
    assert [row["state"] for row in journal(folder)] == ["gone", "applied"]


def test_sigterm_ends_a_wait_for_gc(folder: Path) -> None:
    shutil.copy(CROATIA, folder / "drops" / "euro.yaml")
    with Store.open(folder).repository.collecting():
        daemon = Daemon(folder)
        daemon.wait_for("waiting for gc, at most 600 s")
        assert daemon.end() == 0
    assert journal(folder)[0]["state"] == "pending"


def test_once_says_by_its_exit_code_what_came_of_the_files(folder: Path) -> None:
    assert once(folder)[0] == 0
    (folder / "drops" / "bad.json").write_text("{")
    assert once(folder)[0] == 13


def test_a_content_lands_again_after_it_was_reverted(folder: Path) -> None:
    shutil.copy(CROATIA, folder / "drops")
    assert once(folder)[0] == 0
    done(folder, "revert", "HEAD~2..HEAD")
    shutil.copy(CROATIA, folder / "drops")
    assert once(folder)[0] == 0
    assert operations(folder) == ["learn", "forget", "revert", "learn", "forget", "init"]
    first, second = (str(row["update_id"]) for row in journal(folder))
    assert second == f"{first}-2"


@pytest.mark.parametrize("arguments", [["run", "nowhere"], ["run", "drops", "--branch", "none"]])
def test_a_wrong_call_is_one_line(folder: Path, arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "adapterstore_daemon", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in (4, 7)
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stderr.startswith("adapterstored: error: ")


def test_what_the_daemon_publishes_is_signed_as_git_is_configured(folder: Path) -> None:
    key = make_key(folder / "keys", "robot")
    configure(folder / ".adapterstore", key)
    shutil.copy(CROATIA, folder / "drops")
    assert once(folder)[0] == 0
    assert operations(folder) == ["learn", "forget", "init"]
    for revision in ("main", "main~1"):
        verified = git(folder / ".adapterstore", "verify-commit", revision)
        assert f"for {key.principal}" in verified.stderr
    done(folder, "verify", "HEAD~2..HEAD", "--require-signatures")


def test_a_locked_key_is_told_before_any_training_and_the_file_stays(folder: Path) -> None:
    configure(folder / ".adapterstore", make_key(folder / "keys", "locked", passphrase="secret"))
    shutil.copy(CROATIA, folder / "drops")
    code, said = once(folder)
    assert code == 1
    assert f"later {CROATIA.name}: can't sign with" in said
    assert "the key needs its passphrase" in said
    assert "forgetting" not in said
    assert operations(folder) == ["init"]
    assert (folder / "drops" / CROATIA.name).exists()
