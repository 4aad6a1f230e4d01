"""A command that is told to end removes what it has begun."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
