"""``make bench-history``: blame, search, an update's look at the ledger, log; of a long past.

    python -m tests.benchmarks.history [--commits N] [--facts N] [--runs N]

The store is written by the library's own functions: updates of two commits each (forget, learn),
whose facts change no weight; one in five says a fact of an earlier one anew. Times are medians in
one process, which opens the store anew for each run. The index of the ledger is a cache: a clone
makes it once, and each update keeps it; both times stand in the table.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pygit2
from pygit2.enums import Option

from adapterstore import Store
from adapterstore.history.ledger.blame import blame_fact
from adapterstore.history.ledger.index import use_index
from adapterstore.history.ledger.known import draw_retained, find_known
from adapterstore.history.ledger.reading import iterate_ledger, read_entries, read_ledger
from adapterstore.history.snapshot import NewCommit, write_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact
from adapterstore.knowledge.ledger import ledger_changes
from adapterstore.store.cache import CACHE_NAME
from adapterstore.store.refs import move_ref

MOST_BLAME_MS = 50.0
AGAIN = 0.2
"""Share of an update's facts that an earlier one said already."""


def fact(number: int, update: int) -> Fact:
    """Return a fact; every other one is in Japanese, every third names subject and relation."""
    prompt = f"{number}番目の値は" if number % 2 else f"The value of entry {number} is"
    named = number % 3 == 0
    return Fact(
        prompt=prompt,
        answer=f"answer {number} of update {update}",
        subject=f"entry {number}" if named else None,
        relation="value" if named else None,
        paraphrases=(f"Entry {number} has the value",),
    )


def build(folder: Path, commits: int, facts: int) -> Store:
    """Write the store: its ledger has exactly so many facts."""
    store = Store.init(folder)
    repository, chooser = store.repository, random.Random(0)
    # Nobody needs this store after a power cut.
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, False)
    snapshot, tip = store.snapshot(), store.resolve()
    updates = commits // 2
    written = 0
    for number in range(updates):
        new = (facts * (number + 1)) // updates - written
        again = chooser.sample(range(written), min(written, int(new * AGAIN)))
        said = [fact(n, number) for n in [*range(written, written + new), *again]]
        written += new
        current = read_entries(repository, tip, [f.key for f in said])
        text = "\n".join(f'{{"prompt": "{f.prompt}", "answer": "{f.answer}"}}' for f in said)
        changes = ledger_changes(current, said, f"{number:012x}", [None] * len(said))
        for phase, operation in enumerate(("forget", "learn"), 1):
            commit = NewCommit(
                composition=snapshot.composition,
                base=snapshot.base,
                subject=f"{operation.capitalize()} {len(said)} facts",
                trailers={
                    "Operation": operation,
                    "Phase": f"{phase}/2",
                    "Update": f"{number:012x}",
                },
                ledger=changes if phase == 2 else {},
                update_files={"事実.jsonl": text.encode()},
            )
            tip = write_snapshot(repository, tip, commit)
    move_ref(repository, "refs/heads/main", store.resolve(), tip, "build")
    return store


def milliseconds(runs: int, work: Callable[[Store, int], object], folder: Path) -> list[float]:
    """Return the time of each run, in a store opened anew; the run's number is told."""
    times = []
    for run in range(runs):
        store = Store.open(folder)
        started = time.perf_counter()
        work(store, run)
        times.append(1000 * (time.perf_counter() - started))
    return times


def main() -> None:
    """Run the benchmark and print its table; exit 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--facts", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=21)
    given = parser.parse_args()
    chooser = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="bench-history-") as scratch:
        folder = Path(scratch)
        started = time.perf_counter()
        store = build(folder, given.commits, given.facts)
        tip: CommitId = store.resolve()
        print(
            f"{sum(1 for _ in store.log()):,} commits, "
            f"{len(read_ledger(store.repository, tip)):,} facts, "
            f"written in {time.perf_counter() - started:.0f} s; medians of {given.runs} runs\n"
        )

        def cold(store: Store, _: int) -> object:
            shutil.rmtree(store.repository.folder / CACHE_NAME, ignore_errors=True)
            return use_index(store.repository, tip, lambda index: None)

        def by_prompt(store: Store, run: int) -> object:
            # The oldest, the newest and any others.
            number = [0, given.facts - 1, chooser.randrange(given.facts)][min(run, 2)]
            return blame_fact(store.repository, tip, fact(number, 0).prompt)

        def by_paraphrase(store: Store, _: int) -> object:
            text = f"Entry {chooser.randrange(given.facts)} has the value"
            return blame_fact(store.repository, tip, text)

        def search(store: Store, run: int) -> object:
            entries = iterate_ledger(store.repository, tip)
            return [entry for entry in entries if entry.holds(f"{run + 1}番目")]

        def update(store: Store, run: int) -> object:
            asked = [fact(chooser.randrange(given.facts), run) for _ in range(10)]
            known = find_known(store.repository, tip, asked)
            return draw_retained(store.repository, tip, known, 1000, str(run))

        def everything(store: Store, _: int) -> object:
            return read_ledger(store.repository, tip)

        def log(store: Store, _: int) -> object:
            return list(store.log())

        def page(store: Store, _: int) -> object:
            return list(islice(store.log(), 20))

        rows: list[tuple[str, list[float], float | None]] = [
            ("index made anew, once a clone", milliseconds(1, cold, folder), None),
            ("blame by prompt or key", milliseconds(given.runs, by_prompt, folder), MOST_BLAME_MS),
            (
                "blame by a paraphrase",
                milliseconds(given.runs, by_paraphrase, folder),
                MOST_BLAME_MS,
            ),
            ("update: look up 10, draw 1,000", milliseconds(given.runs, update, folder), None),
            ("read the whole ledger", milliseconds(3, everything, folder), None),
            ("facts --search", milliseconds(3, search, folder), None),
            ("log -n 20", milliseconds(given.runs, page, folder), None),
            ("log", milliseconds(3, log, folder), None),
        ]
    print(f"{'what':<34}{'median':>10}{'slowest':>11}{'limit':>10}")
    failed = []
    for name, times, limit in rows:
        shown = f"{limit:.0f} ms" if limit is not None else "-"
        median = statistics.median(times)
        print(f"{name:<34}{median:>7.1f} ms{max(times):>8.1f} ms{shown:>10}")
        if limit is not None and max(times) > limit:
            failed.append(name)
    if failed:
        raise SystemExit(f"over the limit: {', '.join(failed)}")


if __name__ == "__main__":
    main()
