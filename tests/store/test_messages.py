"""Commit messages: what we write, git's own tools read."""

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from adapterstore.store.messages import body_of, format_message, parse_trailers, subject_of

TRAILERS = {"Operation": "learn", "Update": "5f0c2a9b1d3e", "Operand": "prices/ユーロ.yaml"}


def test_git_reads_the_trailers() -> None:
    message = format_message("Learn 2 facts: ユーロ.yaml", "Source: catalogue: 2026.", TRAILERS)
    shown = subprocess.run(
        ["git", "interpret-trailers", "--parse"],
        input=message.encode(),
        capture_output=True,
        check=True,
    )
    assert shown.stdout.decode() == "".join(f"{k}: {v}\n" for k, v in TRAILERS.items())


@settings(derandomize=True)
@given(subject=st.text(max_size=40), body=st.text(max_size=80), value=st.text(max_size=30))
def test_no_text_of_a_user_adds_or_hides_a_trailer(subject: str, body: str, value: str) -> None:
    message = format_message(f"Add {subject}", body, {"Operation": "add", "Operand": f"x {value}"})
    trailers = parse_trailers(message)
    assert trailers["Operation"] == "add"
    assert set(trailers) == {"Operation", "Operand"}
    assert subject_of(message).startswith("Add")


def test_a_message_of_somebody_else_has_no_trailers() -> None:
    assert parse_trailers("Fix: the thing\n") == {}
    assert parse_trailers("Subject\n\nSome: text\nand prose\n") == {}


def test_the_body_is_what_stands_between() -> None:
    body = "Source: catalogue.\n\nTwo paragraphs."
    assert body_of(format_message("Subject", body, TRAILERS)) == body
    assert body_of(format_message("Subject", "", TRAILERS)) == ""
    assert body_of(format_message("Subject", body, {})) == body
    assert body_of("Subject") == ""
