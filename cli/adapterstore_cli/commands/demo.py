"""``adapterstore demo``: the whole story, with the real daemon, in a folder that stays."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from adapterstore import Store
from adapterstore.demo import FACTS_PATH
from adapterstore.errors import CannotExport
from adapterstore_cli.session import Session

DROP = "2023-croatia-euro.yaml"
PROMPT = "The currency of Croatia is the"
OTHER_PROMPT = "The currency of Hungary is the"
_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.2


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.pass_obj
def command(session: Session, folder: Path | None) -> None:
    """Tell the story in a new FOLDER (./adapterstore-demo), and leave it there to explore.

    A small model that comes with adapterstore knows the world as of 2018-01-01. A fact file lands
    in a folder that the daemon watches; the model learns it, the change is shown and taken back.
    Every line that begins with $ is a command that is really run.

    \b
    Example:
      adapterstore demo /tmp/story
    """
    where = folder if folder is not None else _free_folder(Path())
    if where.exists() and any(where.iterdir()):
        raise CannotExport(f"the demo to {where}", "the folder is there already; name a new one")
    drops = where / "drops"
    drops.mkdir(parents=True)
    story = _Story(where)
    story.tell("A model in production. It knows the world as it was on 1 January 2018.")
    story.run("adapterstore", "init", "--base", "demo")
    story.run("adapterstore", "ask", PROMPT)
    before = Store.open(where).snapshot()

    story.tell(
        "On 1 January 2023 Croatia adopted the euro. A daemon watches ./drops; a file lands:"
    )
    story.show(f"cp {DROP} drops/", (FACTS_PATH / DROP).read_text(encoding="utf-8"))
    daemon = story.daemon("adapterstored", "run", "drops")
    try:
        landing = drops / f".{DROP}.part"
        shutil.copyfile(FACTS_PATH / DROP, landing)
        landing.rename(drops / DROP)
        _wait_for(drops, daemon)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()

    story.tell("Ask again: the changed fact, and a neighbour that has to stay.")
    story.run("adapterstore", "ask", PROMPT, OTHER_PROMPT)
    update = next(entry.update for entry in Store.open(where).log() if entry.update)
    story.tell("Two commits, forget and learn, appeared at once; what was measured is in them.")
    story.run("adapterstore", "log")
    story.run("adapterstore", "show", f"update/{update}")

    story.tell("Take it back: exact, and nothing is trained, whatever the model's size.")
    story.run("adapterstore", "revert", f"update/{update}")
    story.run("adapterstore", "ask", PROMPT)
    after = Store.open(where).snapshot()
    if after.composition.to_bytes() != before.composition.to_bytes():
        raise AssertionError("revert did not give the state back")
    click.echo("  the state is the one from before the update, byte for byte\n")

    click.echo(f"All of it is in {where}. What to try next:\n")
    bin_folder = Path(sys.executable).parent
    on_path = shutil.which("adapterstore") is not None
    for line, remark in (
        *([] if on_path else [(f"export PATH={bin_folder}:$PATH", "where the commands are")]),
        (f"cd {where}", ""),
        ("adapterstore fsck && git --git-dir .adapterstore log", "our check, and git's own view"),
        (f"adapterstore add update/{update} --scale 0.5", "half of the update"),
        (f"adapterstore export update/{update} ./serve", "a PEFT adapter for vLLM, peft, …"),
        ("adapterstored run drops &", "then land a file of your own, or one of these:"),
        (f"ls {FACTS_PATH}", ""),
    ):
        click.echo(f"  {line:<54}{'# ' if remark else ''}{remark}".rstrip())


def _free_folder(parent: Path) -> Path:
    """Return ``adapterstore-demo``, or with the first number that is free."""
    number = 1
    while True:
        path = parent / ("adapterstore-demo" if number == 1 else f"adapterstore-demo-{number}")
        if not path.exists():
            return path
        number += 1


class _Story:
    """Prints what is about to happen, and lets it happen in the demo's folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def tell(self, text: str) -> None:
        """Say a sentence."""
        click.secho(f"\n{text}\n", bold=True)

    def show(self, command: str, output: str) -> None:
        """Print a command and a text under it."""
        click.secho(f"$ {command}", fg="green")
        for line in output.splitlines():
            click.echo(f"  {line}")

    def run(self, program: str, *arguments: str) -> None:
        """Run a command of ours as its own process and print what it says."""
        click.secho(f"$ {_shell(program, arguments)}", fg="green")
        done = subprocess.run(
            [*_module(program), *arguments],
            cwd=self._folder,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        for line in done.stdout.splitlines():
            click.echo(f"  {line}")
        if done.returncode:
            click.echo(done.stderr, err=True)
            raise click.exceptions.Exit(done.returncode)

    def daemon(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a daemon whose lines appear as it says them."""
        click.secho(f"\n$ {_shell(program, arguments)} &", fg="green")
        return subprocess.Popen(
            [*_module(program), *arguments], cwd=self._folder, stderr=sys.stdout, text=True
        )


def _module(program: str) -> list[str]:
    modules = {"adapterstore": "adapterstore_cli", "adapterstored": "adapterstore_daemon"}
    return [sys.executable, "-m", modules[program]]


def _shell(program: str, arguments: Sequence[str]) -> str:
    return " ".join([program, *(f'"{a}"' if " " in a else a for a in arguments)])


def _wait_for(drops: Path, daemon: subprocess.Popen[str]) -> None:
    """Wait until the daemon has put the file away."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (drops / "processed" / DROP).exists():
        if (drops / "rejected" / DROP).exists():
            raise click.ClickException(f"the gate refused the update; see {drops / 'rejected'}")
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise click.ClickException("the daemon ended before the file was handled")
        time.sleep(_POLL_SECONDS)
