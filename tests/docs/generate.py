"""``make docs``: write docs/cli.md and docs/errors.md from the code."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
from adapterstore_cli.main import cli as adapterstore
from adapterstore_daemon.main import cli as adapterstored

from adapterstore import errors
from adapterstore.errors import AdapterStoreError

DOCS = Path(__file__).parents[2] / "docs"
NOTICE = "<!-- Written by `make docs` from the code; changes here are lost. -->\n\n"


def error_page() -> str:
    """Return the list of errors with their exit codes."""
    lines = [
        "# Errors and exit codes\n",
        "Every error is one line on stderr that says what, where and what to do; but for wrong "
        "usage (2), which click prints below the command's usage line. `--debug` before the verb, "
        "of `adapterstore` and `adapterstored`, shows the traceback above that line. In Python "
        "they are exceptions of `adapterstore.errors`, which carry their data as attributes.\n",
        "| exit code | error | when |",
        "|---|---|---|",
        "| 0 | | done, or nothing was to be done |",
        "| 1 | | the system refused (disk full, …), or an error that nobody foresaw |",
        "| 2 | | wrong usage |",
    ]
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, AdapterStoreError) and kind is not AdapterStoreError
    ]
    for kind in sorted(kinds, key=lambda k: (k.exit_code, k.__name__)):
        summary = (inspect.getdoc(kind) or "").splitlines()[0]
        lines.append(f"| {kind.exit_code} | `{kind.__name__}` | {summary} |")
    lines += ["| 130 | | interrupted |", "| 143 | | terminated (SIGTERM) |"]
    return NOTICE + "\n".join(lines) + "\n"


def command_page() -> str:
    """Return the help of every command."""
    parts = ["# Commands\n"]
    for name, group in (("adapterstore", adapterstore), ("adapterstored", adapterstored)):
        settings = {**group.context_settings, "max_content_width": 100, "terminal_width": 100}
        parent = click.Context(group, info_name=name, **settings)
        parts.append(_section(f"## {name}", group, parent))
        for verb in group.list_commands(parent):
            command = group.get_command(parent, verb)
            assert command is not None
            context = click.Context(command, info_name=verb, parent=parent, terminal_width=100)
            parts.append(_section(f"### {name} {verb}", command, context))
            if isinstance(command, click.Group):
                for inner, part in command.commands.items():
                    below = click.Context(part, info_name=inner, parent=context, terminal_width=100)
                    parts.append(_section(f"### {name} {verb} {inner}", part, below))
    return NOTICE + "\n".join(parts)


def _section(title: str, command: click.Command, context: click.Context) -> str:
    return f"{title}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"


PAGES = {"errors.md": error_page, "cli.md": command_page}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
