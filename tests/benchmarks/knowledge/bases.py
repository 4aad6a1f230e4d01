"""The bases: the demo model, and stand-ins trained once on real records and kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adapterstore.demo import MODEL_PATH
from tests.benchmarks.counterfact import train_base
from tests.benchmarks.knowledge.draws import (
    Drawer,
    draw_demo,
    draw_demo_facts,
    draw_records,
    known_pairs,
    read_records,
)

SEED = 0
"""Of a stand-in's training; a benchmark's seed draws the changes, and orders the training."""


@dataclass(frozen=True)
class Base:
    """A base model, and how to draw changes of what it knows."""

    name: str
    folder: Path
    changed: int
    """How many facts an update of the main table changes."""
    draw: Drawer
    """The changes of the main table."""
    draw_many: Drawer
    """Those of the sequence, which are more."""


def demo_base(work: Path, data: Path) -> Base:
    """Return the demo model, which is at hand."""
    return Base("demo", MODEL_PATH, 40, draw_demo, draw_demo_facts)


def records_base(name: str, file: str, known: int, changed: int, work: Path, data: Path) -> Base:
    """Return a stand-in that knows the first records of a file; train it if it is not kept."""
    facts = read_records(data / file, known)
    folder = work / name
    if not folder.exists():
        pairs = known_pairs(facts)
        print(f"{name}: training a stand-in on {len(pairs)} prompts", flush=True)
        unfinished = work / f"{name}.unfinished"
        share, seconds = train_base(pairs, unfinished, SEED)
        about = {"prompts": len(pairs), "known": share, "seconds": seconds}
        (unfinished / "stand-in.json").write_text(json.dumps(about), encoding="utf-8")
        unfinished.rename(folder)
        print(f"{name}: {share:.1%} known, {seconds:.0f} s", flush=True)
    draw = partial(draw_records, facts)
    return Base(name, folder, changed, draw, draw)


BASES: dict[str, Callable[[Path, Path], Base]] = {
    "demo": demo_base,
    "counterfact": partial(records_base, "counterfact", "counterfact-2000.json", 600, 100),
    "zsre": partial(records_base, "zsre", "zsre-500.json", 300, 60),
}
"""Name → what makes it of the folders for bases and for data."""
