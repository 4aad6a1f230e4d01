"""``adapterstore ask``."""

from __future__ import annotations

import click

from adapterstore_cli.output import print_json
from adapterstore_cli.session import Session, at_option, json_option, progress


@click.command()
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@at_option
@json_option
@click.pass_obj
def command(session: Session, prompts: tuple[str, ...], revision: str, as_json: bool) -> None:
    """Let a state complete PROMPT, greedily: what does the model say there?

    The state stays as it is. Where the base's weights are seen for the first time, a commit records
    their digests.

    \b
    Examples:
      adapterstore ask "The currency of Croatia is the"
      adapterstore ask "The currency of Croatia is the" --at HEAD~2
      adapterstore ask "カザフスタンの首都は" "The capital of Kazakhstan is"
    """
    from adapterstore.update.asking import ask

    answers = ask(session.open(), revision, prompts, progress(quiet=True))
    if as_json:
        rows = zip(prompts, answers, strict=True)
        print_json([{"prompt": prompt, "answer": answer} for prompt, answer in rows])
        return
    for answer in answers:
        click.echo(answer)
