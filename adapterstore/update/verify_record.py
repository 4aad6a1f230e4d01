"""Whether what an update's commits carry of its making agrees with itself and the trailers."""

from __future__ import annotations

import hashlib
from typing import Any

from adapterstore.algebra.coefficient import format_coefficient, parse_coefficient
from adapterstore.errors import AdapterStoreError
from adapterstore.history.audit.arithmetic import CannotCompute
from adapterstore.history.audit.findings import Verification
from adapterstore.history.audit.recorded import StoreHistory
from adapterstore.history.snapshot import MAPPING_NAME, RECIPE_NAME, REPORT_NAME, UPDATE
from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository
from adapterstore.store.revisions import PHASES
from adapterstore.update.record import UpdateRecord, name_fact_files, read_update_record
from adapterstore.update.run import digest_of_digests
from adapterstore.update.verify_ledger import is_last_phase


class RecordVerifier:
    """Compares ``update/`` with the trailers, base.json, and the update's other commits."""

    def __init__(self, repository: Repository, history: StoreHistory):
        self._repository, self._history = repository, history

    def verify(self, commit: CommitId, verification: Verification) -> None:
        """Report what does not agree in one commit of an update."""
        trailers = self._history.record(commit).trailers
        if trailers.get("Operation") not in PHASES:
            return
        try:
            if is_last_phase(self._history.record(commit)):
                verification.count("updates")
                self._verify_phases(commit, verification)
            record = read_update_record(self._repository, commit)
            self._verify_facts(record, trailers.get("Facts-SHA256", "none"), verification)
            self._verify_report(record, trailers.get("Update", "none"), verification)
            self._verify_making(record, verification)
        except (AdapterStoreError, CannotCompute) as error:
            verification.report(commit, UPDATE, "a readable record of the update", error)

    def _verify_facts(self, record: UpdateRecord, trailer: str, verification: Verification) -> None:
        digests = [*(file.digest for file in record.files), *record.removed]
        digest = digest_of_digests(digests) if digests else "no fact file"
        if digest != trailer:
            verification.report(record.commit, "Facts-SHA256", trailer, digest)
        # A name may have held what had to be taken out; the digests stay.
        kept = record.removed == ()
        expected = [
            {"name": name, "sha256": file.digest} for name, file in name_fact_files(record.files)
        ]
        listed = record.provenance.get("facts")
        if not kept:
            expected = [{"sha256": digest} for digest in sorted(digests)]
            if isinstance(listed, list):
                listed = sorted(map(_without_name, listed), key=str)
        _compare(
            record.commit,
            f"{UPDATE}/{REPORT_NAME}: provenance.facts",
            expected,
            listed,
            verification,
        )

    def _verify_report(self, record: UpdateRecord, update: str, verification: Verification) -> None:
        from adapterstore.evaluation.gate import Gate
        from adapterstore.evaluation.metrics import Report

        where, place = record.commit, f"{UPDATE}/{REPORT_NAME}"
        _compare(where, f"{place}: update", update, record.report.get("update"), verification)
        figures, gate = record.report.get("report"), record.provenance.get("gate")
        if figures is None:
            return
        try:
            report = Report.from_dict(figures)
            no_shares = [
                (name, f"{score.right} of {score.asked}")
                for name, score in report.scores().items()
                if not 0 <= score.right <= score.asked or not score.asked
            ]
        except (KeyError, TypeError, AttributeError) as error:
            verification.report(where, f"{place}: report", "figures", error)
            return
        for name, shown in no_shares:
            what = f"{place}: report.{name}"
            verification.report(where, what, "a share of what was asked", shown)
        if isinstance(gate, dict) and record.report.get("accepted") and not no_shares:
            reasons = Gate.parse(gate, place).check(report)
            if reasons:
                verification.report(
                    where, f"{place}: accepted", f"False ({'; '.join(reasons)})", True
                )

    def _verify_making(self, record: UpdateRecord, verification: Verification) -> None:
        where, place, made = record.commit, f"{UPDATE}/{REPORT_NAME}", record.provenance
        recipe = record.recipe()
        digest = hashlib.sha256(record.recipe_text).hexdigest()
        _compare(where, f"{UPDATE}/{RECIPE_NAME}", made.get("recipe_sha256"), digest, verification)
        _compare(where, f"{place}: provenance.seed", recipe.seed, made.get("seed"), verification)
        self._verify_mapping(record, verification)
        base = self._history.snapshot(record.commit).base
        found = made.get("base")
        digests = found.get("digests") if isinstance(found, dict) else None
        _compare(where, f"{place}: provenance.base.digests", base.digests, digests, verification)

    def _verify_mapping(self, record: UpdateRecord, verification: Verification) -> None:
        """Compare the mapping of a table, if the facts came from one, with what is told of it."""
        table, place = record.report.get("table"), f"{UPDATE}/{MAPPING_NAME}"
        data = self._repository.read(record.commit, place)
        if record.removed or (table is None and data is None):
            return
        recorded = table.get("mapping_sha256") if isinstance(table, dict) else None
        found = hashlib.sha256(data).hexdigest() if data is not None else None
        _compare(record.commit, place, recorded, found, verification)

    def _verify_phases(self, last: CommitId, verification: Verification) -> None:
        """Walk from the last phase to the first; all carry one record and stand on each other."""
        trailers = self._history.record(last).trailers
        count = _number(trailers["Phase"].partition("/")[2])
        if count is None:
            verification.report(last, "trailer Phase", "a number of phases", trailers["Phase"])
            return
        carried = self._repository.tree(last, UPDATE)
        commit, coefficient = last, None
        for number in range(count, 0, -1):
            here = self._history.record(commit).trailers
            for name, expected in (
                ("Phase", f"{number}/{count}"),
                ("Update", trailers.get("Update")),
                ("Facts-SHA256", trailers.get("Facts-SHA256")),
            ):
                _compare(commit, f"trailer {name}", expected, here.get(name), verification)
            tree = self._repository.tree(commit, UPDATE)
            if (tree and tree.id) != (carried and carried.id):
                verification.report(
                    commit, UPDATE, f"the same files as in {last[:12]}", "other files"
                )
            if here.get("Operation") == "forget" and "Delta" in here:
                scale = parse_coefficient(here.get("Scale", "1"))
                coefficient = format_coefficient(-scale)
            if number > 1:
                commit = self._history.record(commit).parent(0, 1)
        if coefficient is not None:
            report = read_update_record(self._repository, last).report
            _compare(
                last,
                f"{UPDATE}/{REPORT_NAME}: coefficient",
                coefficient,
                report.get("coefficient"),
                verification,
            )


def _number(text: str) -> int | None:
    """Return how many phases a trailer counts (None: it is no number, or none)."""
    if not text.isdecimal():
        return None
    try:
        return int(text) or None
    except ValueError:
        # More digits than Python reads.
        return None


def _without_name(item: Any) -> Any:
    return {"sha256": item.get("sha256")} if isinstance(item, dict) else item


def _compare(
    commit: CommitId, what: str, expected: Any, found: Any, verification: Verification
) -> None:
    if expected != found:
        verification.report(commit, what, expected, found)
