"""Files that a command is told to write: whole, behind links too, and never in a device's place."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from adapterstore_cli.output import write_output

from tests.cli.running import done


def test_a_file_is_replaced_and_a_link_to_it_stays(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "report.html"
    target.parent.mkdir()
    (tmp_path / "link").symlink_to("folder/report.html")
    for data in (b"new", b"newer"):
        write_output(tmp_path / "link", data)
        assert target.read_bytes() == data
        assert (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done(tmp_path, "init", "--base", "example/base")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    done(tmp_path, "report", "-o", "pipe")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.join(60)
    assert read[0].startswith(b"<!doctype html>")
    assert read[0].rstrip().endswith(b"</html>")
