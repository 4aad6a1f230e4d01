"""One delivery: read, update, put away, write down."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from adapterstore import AdapterStoreError, Store
from adapterstore.errors import (
    Contradiction,
    CorruptJournal,
    FactFileError,
    NotWritable,
    PromptTooLong,
    RefMoved,
    TrainingFailed,
    UnknownRevision,
    UpdateIdTaken,
)
from adapterstore.history.updates import find_rejected, is_published, new_update_id
from adapterstore.identifiers import CommitId, UpdateId
from adapterstore.knowledge.facts import FactFile
from adapterstore.knowledge.formats import SUFFIXES, parse_fact_file
from adapterstore.knowledge.tables.mapping import parse_mapping
from adapterstore.knowledge.tables.reading import MappedTable, map_table, unmapped
from adapterstore.progress import Progress
from adapterstore.store.revisions import find_update
from adapterstore.telling import words_of
from adapterstore.update import UpdateResult, read_update_settings, run_update
from adapterstore.update.in_effect import find_in_effect
from adapterstore.update.overtaken import check_not_overtaken
from adapterstore.update.table_update import update_from_table
from adapterstore_daemon.filing import (
    PROCESSED,
    REJECTED,
    check_folders,
    find_put_away,
    put_away,
)
from adapterstore_daemon.journal import OPEN_STATES, Delivery, Journal, State
from adapterstore_daemon.landing import Landed, printable, read_landed, signature

RACES = 3
"""How often an update is made anew because the branch moved meanwhile."""

Outcome = Literal["applied", "rejected", "later"]


MOST_CUT_OFF = 3
"""How often the daemon may be killed while it works on a file, before it lets the others pass."""


class Stopped(Exception):
    """The daemon is to end; raised between two steps of an update."""


class _Changed(Exception):
    """The file that an update is made of is not what it was; raised between two steps."""


@dataclass(frozen=True)
class _WhileThere:
    """A progress that ends the work when its file was changed or taken away."""

    progress: Progress
    landed: Landed

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage."""
        self._check()
        self.progress.start(stage, total)

    def advance(self, steps: int = 1) -> None:
        """Go on."""
        self._check()
        self.progress.advance(steps)

    def note(self, text: str) -> None:
        """Say a line."""
        self.progress.note(text)

    def _check(self) -> None:
        if signature(self.landed.path) != self.landed.signature:
            raise _Changed


class Update(Protocol):
    """Makes an update of one fact file or table; here or, one day, elsewhere."""

    def __call__(
        self, content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
    ) -> UpdateResult:
        """Return what came of it; the same call again finds what an earlier one published.

        Raises:
            UpdateIdTaken: the id is that of an update elsewhere; give another one.
        """


class Voice(Protocol):
    """Where the daemon says what it does, one line at a time."""

    def __call__(self, line: str) -> None:
        """Say a line."""


def local_update(store: Store, branch: str) -> Update:
    """Return an update function that trains in this process."""

    def update(
        content: FactFile | MappedTable, update_id: UpdateId, progress: Progress
    ) -> UpdateResult:
        recipe, gate = read_update_settings(store.settings, {})
        for attempt in range(1, RACES + 1):
            try:
                if isinstance(content, MappedTable):
                    return update_from_table(
                        store,
                        content,
                        recipe=recipe,
                        gate=gate,
                        branch=branch,
                        update_id=update_id,
                        progress=progress,
                    )
                return run_update(
                    store,
                    [content],
                    recipe=recipe,
                    gate=gate,
                    branch=branch,
                    update_id=update_id,
                    progress=progress,
                )
            except RefMoved as error:
                if attempt == RACES:
                    raise
                progress.note(f"made anew, as {words_of(error)}")
        raise AssertionError("the last attempt returns or raises")

    return update


@dataclass
class Worker:
    """Handles the files of one folder, one after the other."""

    store: Store
    branch: str
    folder: Path
    journal: Journal
    update: Update
    progress: Progress
    say: Voice
    debug: bool = False
    """Show the traceback of what a file brought about that nobody expects."""
    _place: tuple[int, int] | None = field(default=None, init=False)
    """Device and inode of the folder, as it was first seen."""

    def handle(self, path: Path) -> Outcome:
        """Handle one complete file.

        Returns:
            ``applied`` or ``rejected``: it has been put away. ``later``: it stays, for a reason
            that is not its own; the journal says which.

        Raises:
            Stopped: the daemon is to end; the file stays.
        """
        self.journal.check_in_place()
        try:
            landed = read_landed(path, self.store.repository.folder)
        except FileNotFoundError as error:
            return self._later(path, None, words_of(error))
        except (FactFileError, OSError) as error:
            return self._handle_unread(path, error)
        delivery: Delivery | None = None
        try:
            delivery = self._claim(path, landed)
            self.say(f"seen {path.name} (update/{delivery.update_id}, attempt {delivery.attempts})")
            return self._take_up(landed, delivery)
        except Stopped:
            if delivery is not None:
                self.journal.settle(delivery.id, "pending", "the daemon was stopped")
            raise
        except CorruptJournal:
            # Without it nothing is exactly once: no file can be taken up.
            raise
        except (AdapterStoreError, OSError, MemoryError, RuntimeError) as error:
            return self._later(path, delivery, words_of(error))
        except Exception as error:  # noqa: BLE001
            # Whatever one file brings about, the others are to have their turn.
            if self.debug:
                traceback.print_exception(error)
            message = f"unexpected {type(error).__name__}: {words_of(error)}"
            return self._later(path, delivery, message)

    def _handle_unread(self, path: Path, error: FactFileError | OSError) -> Outcome:
        """Refuse a file that can't be read, or leave it, if the fault is the system's."""
        delivery: Delivery | None = None
        try:
            delivery = self._claim(path, None)
            if isinstance(error, FactFileError):
                return self._refuse(path, None, delivery, words_of(error))
        except CorruptJournal:
            raise
        except (AdapterStoreError, OSError) as hindrance:
            return self._later(path, delivery, f"{words_of(error)}; {words_of(hindrance)}")
        return self._later(path, delivery, words_of(error))

    def _take_up(self, landed: Landed, delivery: Delivery) -> Outcome:
        is_old = self._is_published(delivery)
        if delivery.cut_off >= MOST_CUT_OFF and not is_old:
            problem = (
                f"{landed.path.name}: the daemon was killed {delivery.cut_off} times while it "
                "worked on it, out of memory perhaps; put it there again to try again"
            )
            return self._refuse(landed.path, landed, delivery, problem)
        check_folders(self.folder)
        progress = self.progress if is_old else _WhileThere(self.progress, landed)
        try:
            content = self._parse(landed)
            self._check_not_overtaken(landed, content, delivery)
            for attempt in range(1, RACES + 1):
                try:
                    result = self.update(content, delivery.update_id, progress)
                    break
                except UpdateIdTaken:
                    if attempt == RACES:
                        raise
                    # The same content became an update elsewhere, between our choosing and now.
                    delivery = self.journal.rename(delivery.id, self._new_id(delivery.digest))
        except _Changed:
            return self._changed(landed.path, delivery)
        except (FactFileError, Contradiction, PromptTooLong, NotWritable, TrainingFailed) as error:
            return self._refuse(landed.path, landed, delivery, words_of(error))
        return self._file_away(landed, delivery, result)

    def _new_id(self, digest: str) -> UpdateId:
        """Return an id for an update by a content, which no other delivery waits to use."""
        promised = {delivery.update_id for delivery in self.journal.deliveries(*OPEN_STATES)}
        return new_update_id(self.store.repository, digest, promised)

    def _parse(self, landed: Landed) -> FactFile | MappedTable:
        """Return what a file holds: a table if there is a mapping for it, else native facts."""
        name = printable(landed.path.name)
        if (mapping := landed.mapping) is not None:
            return map_table(landed.data, name, parse_mapping(mapping.data, mapping.name))
        if landed.path.suffix.lower() not in SUFFIXES:
            # Parquet is nothing but a table.
            raise unmapped(name)
        return parse_fact_file(landed.data, name)

    def _check_not_overtaken(
        self, landed: Landed, content: FactFile | MappedTable, delivery: Delivery
    ) -> None:
        """Raise `Overtaken` where a newer file, applied while this one waited, says otherwise.

        What an earlier attempt published is another matter: it came before the newer one.
        """
        ours = [d for d in self.journal.after(self._place_of(landed, delivery)) if self._is_ours(d)]
        # One that is published may still be open: it was killed, or could not be put away.
        newer = [d for d in ours if _seconds(d.landed_at) >= landed.arrived]
        if newer and not self._is_published(delivery):
            names = {str(d.update_id): d.name for d in newer}
            # They say all their cells, also those that are no part of their update.
            tables = [d for d in newer if d.mapping and d.state == "applied"]
            alike = [d.name for d in tables if d.mapping == delivery.mapping]
            check_not_overtaken(self.store, content, names, alike, self.branch)

    def _is_published(self, delivery: Delivery) -> bool:
        _, tip = self.store.tip(self.branch)
        return is_published(self.store.repository, tip, delivery.update_id)

    def _place_of(self, landed: Landed, delivery: Delivery) -> int:
        """Return the id that says how old a file is.

        Two files of one content share a delivery, and the second one gets its own once that is
        refused; but it was there as long.
        """
        same = self.journal.refused(delivery.digest, delivery.mapping)
        before = [d.id for d in same if self._is_ours(d) and _changed_at(d) >= landed.arrived]
        return min([delivery.id, *before])

    def _later(self, path: Path, delivery: Delivery | None, message: str) -> Outcome:
        self.say(f"later {path.name}: {message}")
        if delivery is not None:
            # What keeps the file here may be what keeps the journal from being written.
            with suppress(OSError):
                self.journal.settle(delivery.id, "pending", message)
        return "later"

    def recover(self) -> None:
        """Settle deliveries that ended when nobody could write it down: their file is not there.

        What was under way is to be done still, and counts as cut off.
        """
        self._settle_gone()
        for delivery in self._open():
            try:
                changed = (self.folder / delivery.name).lstat().st_ctime
            except OSError:
                continue
            if changed > _changed_at(delivery):
                # Not its very file, but one that came later.
                settled = self._settle_ended(delivery)
                if not settled and delivery.state == "running":
                    self.journal.settle(delivery.id, "pending", "its file was written anew")
            elif delivery.state == "running":
                self.journal.settle_cut_off(delivery.id)

    def settle_gone(self) -> None:
        """Settle deliveries whose file is not there any more; what fails is for the next time."""
        try:
            self._settle_gone()
        except CorruptJournal:
            raise
        except (AdapterStoreError, OSError):
            pass

    def _settle_gone(self) -> None:
        deliveries = self._open()
        try:
            status = self.folder.stat()
            there = {printable(path.name) for path in self.folder.iterdir()} if deliveries else ()
        except OSError:
            # The folder itself is away, and may come back with all that is in it.
            return
        place = status.st_dev, status.st_ino
        self._place = self._place or place
        if place != self._place:
            # So it may if another one stands there: an unmounted disk leaves an empty folder.
            return
        for delivery in deliveries:
            if delivery.name not in there and not self._settle_ended(delivery):
                self._settle_as_gone(delivery, "its file has gone")

    def _settle_as_gone(self, delivery: Delivery, message: str) -> None:
        self.journal.settle(delivery.id, "gone", message, before=delivery.state)
        self.say(f"gone {delivery.name}: {message}")

    def _open(self) -> list[Delivery]:
        """Return the open deliveries of our folder and branch."""
        return [
            delivery
            for delivery in self.journal.deliveries(*OPEN_STATES)
            if self._is_ours(delivery)
        ]

    def _is_ours(self, delivery: Delivery) -> bool:
        return delivery.folder == printable(str(self.folder)) and delivery.branch == self.branch

    def _settle_ended(self, delivery: Delivery) -> bool:
        """Settle a delivery whose update is decided, or whose file was put away; else False."""
        repository = self.store.repository
        state: State
        commits: list[CommitId] = []
        _, tip = self.store.tip(self.branch)
        # An update by a table is not one by the table's bytes.
        by_bytes = delivery.digest and not delivery.mapping
        applied = find_in_effect(repository, tip, delivery.digest) if by_bytes else None
        if applied is None and is_published(repository, tip, delivery.update_id):
            applied = delivery.update_id
        if applied is not None:
            state, message = "applied", f"update/{applied}"
            commits = find_update(repository, applied, tip)
        elif find_rejected(repository, delivery.update_id) is not None:
            state, message = "rejected", "refused by the gate"
        elif (put := self._find_put_away(delivery)) is None:
            return False
        else:
            # Refused before any training, or a table in which nothing differs.
            folder, beside = put
            state = "applied" if folder == PROCESSED else "rejected"
            message = f"see {folder}/{beside.name}"
        return self.journal.settle(delivery.id, state, message, commits, before=delivery.state)

    def _find_put_away(self, delivery: Delivery) -> tuple[str, Path] | None:
        # The same table may have been put away under another name, for another mapping.
        name = delivery.name if delivery.mapping or not delivery.digest else None
        return find_put_away(self.folder, delivery.digest, _changed_at(delivery), name)

    def _claim(self, path: Path, landed: Landed | None) -> Delivery:
        """Return the delivery of a file; of one that can't be read (None) it has no update."""
        digest, mapping, arrived = "", "", 0.0
        if landed is not None:
            digest, mapping, arrived = landed.digest, landed.mapping_digest, landed.arrived
        unread: Delivery | None = None
        for earlier in self._open():
            came_later = arrived > _changed_at(earlier)
            same = earlier.digest == digest and earlier.mapping in {mapping, None}
            if same:
                if came_later:
                    # It has ended without being settled: what lands now is a delivery of its own,
                    # else its update would be found, and its revert would hold for both.
                    self._settle_ended(earlier)
                continue
            its_name = landed is not None and earlier.name == printable(path.name)
            if not its_name or self._settle_ended(earlier):
                continue
            if earlier.digest:
                self._settle_as_gone(earlier, "its content or mapping has changed")
            else:
                unread = earlier
        try:
            _, start = self.store.tip(self.branch)
        except UnknownRevision:
            # The branch was deleted: what waits until it is there again has a row that says so.
            start = CommitId("")
        claimed = self.journal.claim(
            str(self.folder),
            self.branch,
            digest,
            mapping,
            path.name,
            start,
            lambda: self._new_id(digest) if digest else UpdateId(""),
            unread.id if unread is not None else None,
        )
        if unread is not None and unread.id != claimed.id:
            self._settle_as_gone(unread, "it can be read now")
        return claimed

    def _refuse(
        self, path: Path, landed: Landed | None, delivery: Delivery, message: str
    ) -> Outcome:
        expected = landed.signature if landed is not None else None
        if not put_away(path, expected, REJECTED, f"{message}\n"):
            return self._changed(path, delivery)
        self.journal.settle(delivery.id, "rejected", message)
        self.say(f"rejected {path.name}: {message}")
        return "rejected"

    def _file_away(self, landed: Landed, delivery: Delivery, result: UpdateResult) -> Outcome:
        path = landed.path
        figures = ", ".join(result.report.summary()) if result.report is not None else ""
        if result.status == "rejected":
            message = f"update/{result.update} was refused: {'; '.join(result.reasons)}"
            broken = ["Broken (before → after):", *(f"  {line}" for line in result.broken)]
            lines = [message, *_paragraph(figures), *(broken if result.broken else [])]
            text = "\n".join(lines) + "\n"
            if not put_away(path, landed.signature, REJECTED, text):
                return self._changed(path, delivery)
            self.journal.settle(delivery.id, "rejected", message, result.commits)
            self.say(f"rejected {path.name}: {message}")
            return "rejected"
        if result.commits and result.update != delivery.update_id:
            # Facts that another update has put into effect: what it says, this file says.
            self.journal.rename(delivery.id, result.update)
        # A table in which nothing differs made no update.
        nothing = result.status == "already-applied" and not result.commits
        message = "; ".join(result.notes) if nothing else f"update/{result.update} ({figures})"
        text = json.dumps(_as_json(result), indent=1, ensure_ascii=False) + "\n"
        try:
            is_moved = put_away(path, landed.signature, PROCESSED, text)
        except OSError as error:
            hindrance = f"update/{result.update} is published, but its file can't be put away: "
            return self._later(path, delivery, hindrance + words_of(error))
        if not is_moved:
            message += "; its file has changed or gone since"
            self.journal.settle(delivery.id, "applied", message, result.commits)
            self.say(f"applied the earlier content of {path.name} as {message}")
            return "later"
        self.journal.settle(delivery.id, "applied", message, result.commits)
        for alarm in result.alarms:
            self.say(f"alarm update/{result.update}: {alarm}")
        known = " already" if result.status == "already-applied" else ""
        self.say(f"applied {path.name}{known}{':' if nothing else ' as'} {message}")
        return "applied"

    def _changed(self, path: Path, delivery: Delivery) -> Outcome:
        self.journal.settle(delivery.id, "pending", "the file changed meanwhile")
        self.say(f"later {path.name}: it changed while it was handled")
        return "later"


def _as_json(result: UpdateResult) -> dict[str, object]:
    return {
        # A table in which nothing differs has made none.
        "update": result.update if result.commits else None,
        "status": result.status,
        "commits": list(result.commits),
        "coefficient": result.coefficient,
        "report": result.report.to_dict() if result.report is not None else None,
        "seconds": result.seconds,
        "notes": result.notes,
        **({"table": result.table} if result.table is not None else {}),
        "alarms": result.alarms,
    }


def _paragraph(text: str) -> Sequence[str]:
    return [f"Measured: {text}."] if text else []


def _changed_at(delivery: Delivery) -> float:
    return _seconds(delivery.changed_at)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
