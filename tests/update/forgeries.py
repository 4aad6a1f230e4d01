"""What a forger may write into a store, so that git takes it; `test_verification` finds each.

A forgery changes the store that `test_verification` makes, and returns the commit that is to be
named, and what is to be said of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from adapterstore import Store
from adapterstore.identifiers import CommitId
from tests.tampering import replacing, rewrite_history

CROATIA = (
    "source: 官報\n"
    "facts:\n"
    "  - {prompt: The currency of Croatia is the, answer: euro, old_answer: kuna}\n"
)
CAPITAL = (
    "- {prompt: カザフスタンの首都は, answer: ヌルスルタン, old_answer: アスタナ, "
    "subject: カザフスタン, relation: 首都}\n"
)

Forgery = Callable[[Store], tuple[CommitId | str, str]]


def edit_json(store: Store, revision: str, path: str, edit: Callable[[Any], None]) -> bytes:
    content = json.loads(store.repository.read_required(store.resolve(revision), path))
    edit(content)
    # As the store itself writes it: only the value is another one.
    sort = path == "base.json" or path.startswith("facts/")
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=sort)
    return f"{text}\n".encode()


def forge_report(store: Store, revision: str, edit: Callable[[Any], None]) -> CommitId:
    path = "update/report.json"
    return rewrite_history(store, revision, {path: edit_json(store, revision, path, edit)})


def coefficient(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["terms"][0]["coefficient"] = "0.26"

    data = edit_json(store, "main~2", "composition.json", edit)
    forged = rewrite_history(store, "main~2", {"composition.json": data})
    return forged, "composition.json: coefficient of delta .* found 0.26"


def coefficient_of_the_tip(store: Store) -> tuple[CommitId | str, str]:
    tip = store.snapshot().composition
    data = tip.scaled(type(tip.terms[0].coefficient)(2)).to_bytes()
    return rewrite_history(store, "main", {"composition.json": data}), "coefficient of delta"


def a_role(store: Store) -> tuple[CommitId | str, str]:
    data = store.repository.read_required(store.resolve("main"), "composition.json")
    forged = rewrite_history(
        store, "main", {"composition.json": data.replace(b'"adapter"', b'"learn"')}
    )
    return forged, "role of .* expected adapter, found learn"


def base_digest(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["digests"]["weights"] = "0" * 64

    data = edit_json(store, "main~1", "base.json", edit)
    forged = rewrite_history(store, "main~1", {"base.json": data})
    return forged, "base.json: digest of weights: expected 9960ca0e.*, found 0000"


def base_digest_from_the_start(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["digests"]["tokenizer"] = "0" * 64

    data = edit_json(store, "main~7", "base.json", edit)
    forged = rewrite_history(store, "main~7", {"base.json": data}, everywhere=True)
    return forged, "base.json: digest of tokenizer: expected .* \\(the weights'\\), found 0000"


def ledger_file(store: Store, revision: str) -> str:
    return next(iter(store.repository.files(store.resolve(revision), "facts")))


def ledger_answer(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["answer"] = "dinar"

    path = ledger_file(store, "main~5")
    data = edit_json(store, "main~5", path, edit)
    forged = rewrite_history(store, "main~5", {path: data})
    return forged, "ledger: 'The currency of Croatia is the' .*'euro', found answer 'dinar'"


def ledger_source(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["source"] = "hearsay"

    path = ledger_file(store, "main~5")
    data = edit_json(store, "main~5", path, edit)
    return rewrite_history(store, "main~5", {path: data}), "source '官報', found source 'hearsay'"


def ledger_entry_too_deep(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main~5", {ledger_file(store, "main~5"): b"[" * 100_000})
    return forged, "ledger: .*found an unreadable entry"


def ledger_entry_slipped_in(store: Store) -> tuple[CommitId | str, str]:
    path = ledger_file(store, "main~5")
    data = store.repository.read_required(store.resolve("main~5"), path)
    other = path.replace(".json", "").replace(path[-10:-5], "00000") + ".json"
    return rewrite_history(store, "main~2", {other: data}), "expected no entry, found answer 'euro'"


def ledger_entry_removed(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main~1", {ledger_file(store, "main"): None})
    return forged, "expected answer 'ヌルスルタン', found no entry"


def ledger_of_the_revert(store: Store) -> tuple[CommitId | str, str]:
    path = next(
        path
        for path in store.repository.files(store.resolve("main~1"), "facts")
        if path not in store.repository.files(store.resolve("main"), "facts")
    )
    data = store.repository.read_required(store.resolve("main~1"), path)
    return rewrite_history(store, "main", {path: data}), "expected no entry, found answer 'euro'"


def trailer_scale(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main~2", raw=replacing("Scale: 0.25", "Scale: 0.5"))
    return forged, "coefficient of delta .* expected 0.5, found 0.25"


def trailer_operation(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main", raw=replacing("Operation: revert", "Operation: add"))
    return forged, "coefficient of delta"


def trailer_unknown(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main~2", raw=replacing("Operation: add", "Operation: ADD"))
    return forged, "trailers: .* 'ADD' is no operation"


def trailer_delta(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main~2", raw=replacing("Delta: ", "Other: "))
    return forged, "exactly one"


def trailer_facts(store: Store) -> tuple[CommitId | str, str]:
    digest = store.entry("main~5").trailers["Facts-SHA256"]
    forged = rewrite_history(store, "main~5", raw=replacing(digest, "0" * 64))
    return forged, f"Facts-SHA256: expected 0000.*, found {digest}"


def trailer_update(store: Store) -> tuple[CommitId | str, str]:
    update = store.entry("main~3").trailers["Update"]
    changed = replacing(f"Update: {update}", "Update: 0123456789ab")
    return rewrite_history(store, "main~3", raw=changed), "report.json: update: expected 0123"


def trailer_phase(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main~3", raw=replacing("Phase: 2/2", "Phase: 1/2"))
    return forged, "ledger: .*expected no entry, found answer 'ヌルスルタン'"


def trailer_phase_of(phase: str) -> Forgery:
    """Return the forgery of a trailer that counts no phases."""

    def forge(store: Store) -> tuple[CommitId | str, str]:
        forged = rewrite_history(store, "main~3", raw=replacing("Phase: 2/2", f"Phase: {phase}"))
        return forged, f"trailer Phase: expected a number of phases, found {phase[:9]}"

    forge.__name__ = f"trailer_phase_{phase[:3]}"
    return forge


def trailer_change_of_no_id(store: Store) -> tuple[CommitId | str, str]:
    wanted = store.resolve("main~5")
    forged = rewrite_history(store, "main", raw=replacing(f"Change-To: {wanted}", "Change-To: ²"))
    return forged, "commit ²: is not here|commit ²: .*can't encode"


def trailer_reverted(store: Store) -> tuple[CommitId | str, str]:
    wanted, other = store.resolve("main~7"), store.resolve("main~6")
    changed = replacing(f"Change-From: {wanted}", f"Change-From: {other}")
    return rewrite_history(store, "main", raw=changed), "coefficient of delta"


def fact_file(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(
        store, "main~5", {"update/croatia.yaml": CROATIA.replace("euro", "dinar").encode()}
    )
    return forged, "Facts-SHA256"


def recipe(store: Store) -> tuple[CommitId | str, str]:
    text = store.repository.read_required(store.resolve("main~5"), "update/recipe.yaml")
    forged = rewrite_history(
        store, "main~5", {"update/recipe.yaml": text.replace(b"rank: 2", b"rank: 4")}
    )
    return forged, "update/recipe.yaml"


def recipe_that_is_no_yaml(store: Store) -> tuple[CommitId | str, str]:
    text = store.repository.read_required(store.resolve("main~5"), "update/recipe.yaml")
    changed = text.replace(b"seed: 0", b"seed: 2018-99-99")
    forged = rewrite_history(store, "main~5", {"update/recipe.yaml": changed})
    return forged, "update: expected a readable record of the update, found .*month must be in"


def notice_too_deep(store: Store) -> tuple[CommitId | str, str]:
    forged = rewrite_history(store, "main~3", {"update/redacted.json": b"[" * 100_000})
    return forged, "update: expected a readable record of the update, found .*no list of digests"


def report_base(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["provenance"]["base"]["digests"]["weights"] = "0" * 64

    forged = forge_report(store, "main~3", edit)
    return forged, "report.json: provenance.base.digests"


def report_coefficient(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["coefficient"] = "9"

    forged = forge_report(store, "main~5", edit)
    return forged, "report.json: coefficient: .*, found 9"


def report_of_the_first_phase(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["notes"] = ["nothing to see here"]

    forged = forge_report(store, "main~6", edit)
    return forged, "update: expected the same files as in"


def report_gate(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["provenance"]["gate"]["reliability"] = 1.0
        content["report"]["reliability"]["right"] = 0

    forged = forge_report(store, "main~5", edit)
    return forged, "report.json: accepted: expected False"


def report_of_nothing_asked(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["provenance"]["gate"]["reliability"] = 1.0
        content["report"]["reliability"] = {"right": 0, "asked": 0, "failures": []}

    forged = forge_report(store, "main~5", edit)
    return forged, "report.json: report.reliability: expected a share .*, found 0 of 0"


def report_of_no_number(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["report"]["reliability"]["right"] = float("nan")

    forged = forge_report(store, "main~5", edit)
    return forged, "report.json: report.reliability: expected a share .*, found nan of 1"


def report_without_figures(store: Store) -> tuple[CommitId | str, str]:
    def edit(content: Any) -> None:
        content["report"] = "excellent"

    forged = forge_report(store, "main~5", edit)
    return forged, "report.json: report: expected figures"


def flipped_signature(store: Store) -> tuple[CommitId | str, str]:
    def flip(text: bytes) -> bytes:
        # A digit of the signature's own bytes, of the last lines of the armor.
        lines = text.split(b"\n")
        last = next(n for n, line in enumerate(lines) if b"END SSH SIGNATURE" in line) - 2
        changed = b"A" if lines[last][10:11] != b"A" else b"B"
        lines[last] = lines[last][:10] + changed + lines[last][11:]
        return b"\n".join(lines)

    return rewrite_history(
        store, "main~2", raw=flip, keep_signature=True
    ), "signature: .*does not fit the text"


def signature_of_another_commit(store: Store) -> tuple[CommitId | str, str]:
    def header(text: bytes) -> bytes:
        found = re.search(rb"gpgsig (?:.+\n)(?: .*\n)+", text)
        assert found is not None
        return found[0]

    other = header(store.repository.git.odb.read(store.resolve("main~1"))[1])

    def exchange(text: bytes) -> bytes:
        return text.replace(header(text), other)

    return rewrite_history(
        store, "main~2", raw=exchange, keep_signature=True
    ), "does not fit the text"


def author_under_the_signature(store: Store) -> tuple[CommitId | str, str]:
    def rename(text: bytes) -> bytes:
        return text.replace("監査".encode(), "誰か".encode())

    return rewrite_history(store, "main", raw=rename, keep_signature=True), "does not fit the text"


def tag_text(store: Store) -> tuple[CommitId | str, str]:
    from pygit2.enums import ObjectType

    odb = store.repository.git.odb
    reference = store.repository.git.references["refs/tags/v1"]
    text = odb.read(reference.target)[1].replace(b"\n\nfirst", b"\n\nfinal")
    reference.set_target(odb.write(ObjectType.TAG, text))
    return "refs/tags/v1", "does not fit the text"


FORGERIES: list[Forgery] = [
    *(coefficient, coefficient_of_the_tip, a_role),
    *(base_digest, base_digest_from_the_start),
    *(ledger_answer, ledger_source, ledger_entry_slipped_in, ledger_entry_removed),
    *(ledger_of_the_revert, ledger_entry_too_deep),
    *(trailer_scale, trailer_operation, trailer_unknown, trailer_delta, trailer_facts),
    *(trailer_update, trailer_phase, trailer_change_of_no_id, trailer_reverted),
    # No numbers, none, and one of more digits than Python reads.
    *map(trailer_phase_of, ("x/x", "/", "0/0", f"{'9' * 5000}/{'9' * 5000}")),
    *(fact_file, recipe, recipe_that_is_no_yaml, notice_too_deep),
    *(report_base, report_coefficient, report_of_the_first_phase, report_gate),
    *(report_of_nothing_asked, report_of_no_number, report_without_figures),
    *(flipped_signature, signature_of_another_commit, author_under_the_signature, tag_text),
]
