"""A process that has read the libraries, and forks one for each command: seconds less a command.

Each command is a process of its own all the same, with its own folder, environment, streams and
exit code, and may be killed. What of ours it needs it imports itself; only torch, transformers and
the like, which take seconds, are there already.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

LIBRARIES = (
    "click",
    "jinja2",
    "numpy",
    "peft",
    "pydantic",
    "pygit2",
    "regex",
    "rich.progress",
    "rich.table",
    "safetensors.numpy",
    "safetensors.torch",
    "torch",
    "torchao",
    "transformers.models.llama.modeling_llama",
    "transformers.trainer",
    "watchdog.observers",
    "yaml",
)
ENVIRONMENT = {
    # What the command lines set before they read the libraries.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "OMP_WAIT_POLICY": "PASSIVE",
}
_LONGEST = 1 << 20


class Forked:
    """A module that runs as a command; what a test needs of it is named as in `subprocess.Popen`.

    It reads nothing, and what it writes goes to files that `communicate` reads and closes.
    """

    def __init__(self, folder: Path, module: str, *arguments: str):
        self.args = [module, *arguments]
        self.returncode: int | None = None
        self._streams = [_file(), _file()]
        request = {
            "arguments": self.args,
            "folder": str(folder),
            "environment": dict(os.environ),
        }
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [theirs.fileno(), *(stream.fileno() for stream in self._streams)]
        socket.send_fds(_forking(), [json.dumps(request).encode()], files)
        theirs.close()
        self.pid = self._hear(None)

    def _hear(self, timeout: float | None) -> int:
        self._line.settimeout(timeout)
        try:
            said = self._line.recv(_LONGEST)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
        if not said:
            raise RuntimeError("the process that forks has ended")
        return int(said)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return the exit code, which is a signal's number below zero."""
        if self.returncode is None:
            self.returncode = self._hear(timeout)
            self._line.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            # It may end just now, and be waited for by its parent before it is heard here.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Wait for its end; return what it wrote."""
        self.wait(timeout)
        written = []
        for stream in self._streams:
            stream.seek(0)
            written.append(stream.read())
            stream.close()
        return written[0], written[1]


def _file() -> IO[bytes]:
    return tempfile.TemporaryFile()


@functools.cache
def _forking() -> socket.socket:
    """Start the process that forks, once; return our end of the line to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**ENVIRONMENT, **os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    theirs.close()

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _serve(line: socket.socket) -> None:
    """Read the libraries; then fork for each request, until the other end is closed."""
    # The folder of this file, which no command would search.
    sys.path.pop(0)
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    while True:
        request, files, _, _ = socket.recv_fds(line, _LONGEST, 3)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not request:
            return
        if os.fork() == 0:
            line.close()
            _attend(json.loads(request), *files)
        for file in files:
            os.close(file)


def _attend(request: dict[str, Any], back: int, output: int, errors: int) -> None:
    """Start what a request asks for; say its process id, and its exit code when it has ended."""
    child = os.fork()
    if child == 0:
        os.close(back)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
        _become(request)
    os.close(output)
    os.close(errors)
    with socket.socket(fileno=back) as line:
        try:
            line.send(str(child).encode())
            line.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
        except OSError:
            # Nobody waits for it any more.
            os._exit(1)
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Be ``python -m MODULE ARGUMENTS`` in its folder and environment."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    module = request["arguments"][0]
    sys.argv = list(request["arguments"])
    sys.path.insert(0, request["folder"])
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    # To take all the libraries down costs more than most commands.
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
