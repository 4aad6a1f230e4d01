"""The group of verbs, and the one place that turns errors into words and exit codes."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import click

from adapterstore import __version__, errors
from adapterstore.errors import AdapterStoreError
from adapterstore.streams import outlive_readers
from adapterstore.telling import told
from adapterstore_cli.session import Session

VERBS = {
    "init": "initialize",
    "commit": "commit",
    "add": "add",
    "subtract": "subtract",
    "revert": "revert",
    "compact": "compact",
    "branch": "branch",
    "switch": "switch",
    "merge": "merge",
    "cherry-pick": "cherry_pick",
    "reset": "reset",
    "reflog": "reflog",
    "tag": "tag",
    "update": "update",
    "table": "table",
    "ask": "ask",
    "eval": "evaluate",
    "facts": "facts",
    "suite": "suite",
    "blame": "blame",
    "bisect": "bisect",
    "log": "log",
    "show": "show",
    "diff": "diff",
    "report": "report",
    "drift": "drift",
    "status": "status",
    "export": "export",
    "fsck": "fsck",
    "verify": "verify",
    "attest": "attest",
    "gc": "gc",
    "prune": "prune",
    "forget-data": "forget_data",
    "config": "config",
    "demo": "demo",
}
"""Verb → its module in ``commands``; read only when it is called."""

# What the libraries below would write on a terminal that is not theirs, and nothing from the net.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that spin while they wait make an update ten times slower beside any other work.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class Verbs(click.Group):
    """A group that imports a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, in the order in which they are met."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb's command."""
        module = VERBS.get(cmd_name)
        if module is None:
            return None
        found: click.Command = importlib.import_module(
            f"adapterstore_cli.commands.{module}"
        ).command
        return found


def exit_codes() -> str:
    """Return the table of exit codes, read off the library's errors."""
    by_code: dict[int, list[str]] = {}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, AdapterStoreError) and kind is not AdapterStoreError:
            by_code.setdefault(kind.exit_code, []).append(name)
    lines = ["0    done, or nothing was to be done"]
    lines += ["1    the system refused (disk full, …), or an error that nobody foresaw"]
    lines += ["2    wrong usage"]
    lines += [f"{code:<4} {', '.join(names)}" for code, names in sorted(by_code.items())]
    lines += ["130  interrupted", "143  terminated (SIGTERM)"]
    return "\b\nExit codes:\n  " + "\n  ".join(lines)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=exit_codes(),
)
@click.option(
    "-C",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Work in DIR, as if it were the current folder.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error, too.")
@click.version_option(__version__, prog_name="adapterstore")
@click.pass_context
def cli(ctx: click.Context, folder: Path, debug: bool) -> None:
    """Version control for what a language model knows.

    A store holds every change ever made to one base model: adapters, deltas, and updates from fact
    files. A state is the base plus an exact sum of them, so any change can be added, taken out or
    put back at any time, without retraining.

    \b
    Begin:
      adapterstore init --base demo
      adapterstore ask "The currency of Croatia is the"
      adapterstore demo                      the whole story, in a minute
    """
    os.chdir(folder)
    ctx.obj = Session()


def main() -> NoReturn:
    """Run the command line; shows a traceback only if asked to."""
    debug = "--debug" in sys.argv[1:]
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not debug:
        warnings.simplefilter("ignore")
        # peft imports torchao where it is installed, which tells of every kernel that it lacks.
        for name in ("torchao", "torch.utils._pytree"):
            logging.getLogger(name).setLevel(logging.ERROR)
    outlive_readers()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Unless told to ignore it, as nohup does: end as by an error, so that drafts are removed.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    try:
        code = cli.main(prog_name="adapterstore", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("adapterstore: error: interrupted", err=True)
        code = 130
    except Exception as error:  # noqa: BLE001
        if _ended:
            # Libraries that are being imported tell of the signal as of a fault of theirs.
            sys.exit(128 + _ended[0])
        text, code = told(error, "adapterstore", debug)
        click.echo(text, err=True)
    sys.exit(code if isinstance(code, int) else 0)


_ended: list[int] = []
"""The signal that ended the command."""


def _end(number: int, _: object) -> NoReturn:
    _ended.append(number)
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
