"""``adapterstore report``."""

from __future__ import annotations

from pathlib import Path

import click

from adapterstore_cli.output import print_json, size, write_output
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@click.argument("revision", default="HEAD", metavar="[REV|A..B]")
@click.option(
    "-o", "--output", "target", metavar="FILE.html", type=click.Path(dir_okay=False, path_type=Path)
)
@json_option
@click.pass_obj
def command(session: Session, revision: str, target: Path | None, as_json: bool) -> None:
    """Write one HTML file about a revision's history, or about a range, for people to look at.

    It shows the facts with their provenance and the old answers that they replaced, the updates
    with what was measured and which cells of a table they came from, the search for λ, which layers
    changed, and the history as a graph. The file opens from disk, loads nothing, and is the same
    whenever it is made from the same history. --json prints what it is made from. Needs the extra
    'report' (matplotlib).

    \b
    Examples:
      adapterstore report -o report.html
      adapterstore report v1..main -o since-v1.html
      adapterstore report --json | jq '.facts[] | {prompt, after, files}'
    """
    from adapterstore.report import collect_report, render_page

    if target is None and not as_json:
        raise click.UsageError("name the file to write: -o FILE.html (or --json)")
    content = collect_report(session.open(), revision, progress(as_json))
    if target is not None:
        page = render_page(content).encode()
        write_output(target, page)
    if as_json:
        print_json(content)
    elif target is not None:
        click.echo(f"wrote {target} ({size(len(page))})")
