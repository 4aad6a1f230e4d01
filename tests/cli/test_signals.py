"""A command that is told to end removes what it has begun."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adapterstore import Store
from tests.cli.running import done, lora_folder
from tests.waiting import wait_until

# An export that has begun its draft and takes for ever.
EXPORTING = """
import signal
import adapterstore.history.export as export
import adapterstore_cli.main as main

def write_lora(lora, folder, progress):
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    while True:
        signal.pause()

export.write_lora = write_lora
# Who runs the tests under nohup has this one ignored, and so would a child.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
main.main()
"""


WAITING = """
import signal
import adapterstore.store.locks as locks
import adapterstore_cli.main as main

locks.TELL_SECONDS = 0.05
signal.signal(signal.SIGINT, signal.default_int_handler)
main.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_wait_for_gc_is_told_and_can_be_ended(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    repository = Store.init(tmp_path).repository
    with (
        repository.collecting(),
        subprocess.Popen(
            [sys.executable, "-c", WAITING, "branch", "other"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "waiting for gc, at most 600 s\n"
            process.send_signal(number)
            assert process.wait(60) == code
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_is_ended_leaves_no_draft(tmp_path: Path, number: signal.Signals) -> None:
    done(tmp_path, "init", "--base", "example/base")
    done(tmp_path, "add", str(lora_folder(tmp_path / "adapter")))
    (tmp_path / "out").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", EXPORTING, "export", "HEAD", "out/state"], cwd=tmp_path
    ) as process:
        try:
            wait_until(lambda: any((tmp_path / "out").glob("*/*")), "the draft")
            process.send_signal(number)
            assert process.wait(60) == 128 + number
        finally:
            process.kill()
    assert list((tmp_path / "out").iterdir()) == []
