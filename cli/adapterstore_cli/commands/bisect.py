"""``adapterstore bisect``."""

from __future__ import annotations

import click

from adapterstore_cli.commands.blame import bisection_json, print_bisection
from adapterstore_cli.output import print_json
from adapterstore_cli.session import Session, json_option, progress


@click.command()
@click.argument("prompt", metavar="PROMPT")
@click.option("--good", required=True, metavar="REV", help="Where it was still as it should be.")
@click.option("--bad", default="HEAD", metavar="REV", help="Where it is not any more (HEAD).")
@click.option("--answer", metavar="TEXT", help="Look for this answer, not for the one at --bad.")
@json_option
@click.pass_obj
def command(
    session: Session, prompt: str, good: str, bad: str, answer: str | None, as_json: bool
) -> None:
    """Find the commit between two at which the model's answer to PROMPT changed.

    The states between are asked, by halves: at most ⌈log₂ n⌉ + 2 of n. The commit found gives what
    the state at --bad gives (with --answer: gives TEXT, or gives it no more), and its parent does
    not. --good has to be on the first-parent history of --bad. As blame --model, with ends.

    \b
    Examples:
      adapterstore bisect "The currency of Croatia is the" --good main~20
      adapterstore bisect "ウクライナの首都は" --good main~9 --bad main~2 --answer キエフ
    """
    from adapterstore.update.bisecting import bisect_answer

    store = session.open()
    found = bisect_answer(store, prompt, bad, good, answer, progress(as_json))
    if as_json:
        print_json(bisection_json(session, found))
    else:
        print_bisection(session, found)
