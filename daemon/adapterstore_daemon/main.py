"""``adapterstored``: its commands, and the one place that turns errors into words and codes."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import warnings
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from adapterstore import Store, __version__
from adapterstore.errors import UnreadableFile, UpdateRejected
from adapterstore.streams import outlive_readers
from adapterstore.telling import one_line, told
from adapterstore_daemon.filing import clock_of
from adapterstore_daemon.journal import OPEN_STATES, Journal
from adapterstore_daemon.landing import printable
from adapterstore_daemon.presence import files_behind, last_daemon, only_daemon

if TYPE_CHECKING:
    from adapterstore_daemon.worker import Outcome

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that spin while they wait make an update ten times slower beside any other work.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error, too.")
@click.version_option(__version__, prog_name="adapterstored")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Turn fact files that land in a folder into tested, revertible commits."""
    ctx.obj = debug


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-C", "store_folder", type=click.Path(path_type=Path), default=Path(), metavar="DIR",
    help="The store's folder (the current one).",
)  # fmt: skip
@click.option("--branch", default="main", show_default=True, help="The branch to update.")
@click.option("--once", is_flag=True, help="Handle what is there, then end.")
@click.pass_obj
def run(debug: bool, folder: Path, store_folder: Path, branch: str, once: bool) -> None:
    """Watch FOLDER and update the store by each fact file that lands there.

    A file is taken up once it is complete: unchanged for daemon.settle_seconds and open for writing
    nowhere. It is moved to processed/ with a .result.json beside it, or to rejected/ with a
    .reason.txt. Each content takes effect exactly once, over restarts and kills. Trouble that is
    not the file's (no weights, a full disk) leaves it there and is tried again.

    SIGTERM, SIGINT and SIGHUP end it; unfinished work is taken up at the next start. With --once
    the exit code is 13 if a file was refused, 1 if one had to be left for later.

    \b
    Examples:
      adapterstored run ./drops
      adapterstored run ./drops --once -C /srv/knowledge
    """
    from adapterstore.update.settings import read_daemon_settings
    from adapterstore_daemon.watching import Watch
    from adapterstore_daemon.worker import Stopped, Worker, local_update

    store = Store.open(store_folder)
    store.tip(branch)
    settings = read_daemon_settings(store.settings)
    if not folder.is_dir():
        raise UnreadableFile(str(folder), "not a folder; make it first")
    if folder.resolve().is_relative_to(store.repository.folder.resolve()):
        raise UnreadableFile(str(folder), "the store's own folder; watch another one")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Who starts it with nohup wants it to go on.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    progress = store.repository.waiting = _StopBetweenSteps(stop, Stopped)
    with only_daemon(store.repository.folder / "daemon", folder.resolve(), branch) as state_folder:
        journal = Journal(
            state_folder / "journal.sqlite3", clock=partial(clock_of, folder.resolve())
        )
        worker = Worker(
            store=store,
            branch=branch,
            folder=folder.resolve(),
            journal=journal,
            update=local_update(store, branch),
            progress=progress,
            say=_say,
            debug=debug,
        )
        watch = Watch(
            worker.folder,
            worker,
            stop,
            settings.settle_seconds,
            settings.rescan_seconds,
            settings.retry_seconds,
        )
        outcomes: list[Outcome] = []
        try:
            worker.recover()
            _say(f"watching {folder} for {store.repository.folder}, branch {branch}")
            if once:
                outcomes = watch.run_once()
            else:
                watch.run()
        except Stopped:
            # What was under way stays in the folder and in the journal, for the next start.
            pass
        finally:
            journal.close()
        _say("ended")
    if outcomes:
        refused = "rejected" in outcomes
        code = UpdateRejected.exit_code if refused else int("later" in outcomes)
        raise click.exceptions.Exit(code)


@cli.command()
@click.option(
    "-C", "store_folder", type=click.Path(path_type=Path), default=Path(), metavar="DIR",
    help="The store's folder (the current one).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(store_folder: Path, as_json: bool) -> None:
    """Show what landed, what came of it, what waits, and whether a daemon runs.

    \b
    Example:
      adapterstored status --json | jq '.deliveries[] | select(.state == "rejected")'
    """
    state_folder = Store.open(store_folder).repository.folder / "daemon"
    deliveries = []
    if (path := state_folder / "journal.sqlite3").exists():
        journal = Journal(path, read_only=True)
        deliveries = journal.deliveries()
        journal.close()
    daemon = last_daemon(state_folder)
    waiting = files_behind(daemon, deliveries) if daemon is not None else []
    watched = printable(daemon.folder) if daemon is not None else ""
    if as_json:
        document = {
            "daemon": {**asdict(daemon), "folder": watched} if daemon is not None else None,
            "waiting": waiting,
            "deliveries": [asdict(d) for d in deliveries],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for delivery in deliveries:
        # What nobody could read has no update.
        update = f"update/{delivery.update_id}  " if delivery.update_id else ""
        place = (delivery.folder, delivery.branch)
        is_elsewhere = daemon is not None and place != (watched, daemon.branch)
        is_left = is_elsewhere and delivery.state in OPEN_STATES
        left = ", which no daemon watches" if is_left else ""
        elsewhere = f" (of {place[0]}, branch {place[1]}{left})" if is_elsewhere else ""
        # It was killed over it; that is written down when one looks after that folder again.
        is_cut_off = delivery.state == "running" and (is_left or (daemon and not daemon.runs))
        click.echo(
            f"{delivery.changed_at}  {'cut off' if is_cut_off else delivery.state:<8}  "
            f"{one_line(delivery.name)}  {update}"
            f"{one_line(delivery.message + elsewhere)}"
        )
    if daemon is None:
        return
    for name in waiting:
        click.echo(f"waiting   {one_line(name)}")
    work = one_line(f"{watched} for branch {daemon.branch}")
    if daemon.runs:
        click.echo(f"process {daemon.process} watches {work}, since {daemon.since}")
    else:
        click.echo(f"no daemon runs; the last one watched {work}")


class _StopBetweenSteps:
    """A progress that ends the work when the daemon is told to stop."""

    def __init__(self, stop: threading.Event, reason: type[Exception]):
        self._stop, self._reason = stop, reason

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage, unless the daemon is to stop."""
        self.advance()

    def advance(self, steps: int = 1) -> None:
        """Go on, unless the daemon is to stop."""
        if self._stop.is_set():
            raise self._reason

    def note(self, text: str) -> None:
        """Say a line."""
        _say(text)


def _say(line: str) -> None:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    click.echo(f"{now} {one_line(line)}", err=True)


def main() -> NoReturn:
    """Run the daemon's command line; shows a traceback only if asked to."""
    debug = "--debug" in sys.argv[1:]
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not debug:
        warnings.simplefilter("ignore")
        # It complains of events that come while it stops; there is nothing for a user to do about
        # them, and what it misses is found when the folder is read again.
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)
        # peft imports torchao where it is installed, which tells of every kernel that it lacks.
        for name in ("torchao", "torch.utils._pytree"):
            logging.getLogger(name).setLevel(logging.ERROR)
    outlive_readers()
    try:
        code = cli.main(prog_name="adapterstored", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:  # noqa: BLE001
        text, code = told(error, "adapterstored", debug)
        click.echo(text, err=True)
    sys.exit(code if isinstance(code, int) else 0)
