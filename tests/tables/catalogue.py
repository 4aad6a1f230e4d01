"""A product catalogue in two versions, from a seed: 1,000 rows of a key and six columns."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass

COLUMNS = ("price", "colour", "weight", "stock", "warehouse", "原産国")
MAPPING = """\
source: product catalogue
key: sku
subject: "product {sku}"
removed: forget
columns:
  price:
    prompts:
      - The price of product {sku} is
      - Product {sku} costs
    answer: "{value:,.2f} EUR"
  colour:
    prompts: ["The colour of product {sku} is"]
  weight:
    prompts: ["Product {sku} weighs"]
    answer: "{value} kg"
  stock:
    relation: units in stock
    prompts: ["In stock of product {sku} are"]
  warehouse:
    prompts: ["Product {sku} lies in the warehouse of"]
    protected: true
  原産国:
    prompts: ["商品{sku}の原産国:", "商品{sku}はどこで作られましたか。答え:"]
""".encode()
UNPROTECTED = MAPPING.replace(b"    protected: true\n", b"")

_CHOICES = {
    "colour": ["red", "green", "blue", "black", "white", "orange"],
    "warehouse": ["Lyon", "Gdańsk", "Kōbe", "Porto"],
    "原産国": ["日本", "フランス", "ポーランド", "ポルトガル", "メキシコ"],
}

Rows = dict[str, dict[str, str]]


def make_rows(count: int, seed: int) -> Rows:
    """Return a catalogue: key → column → cell."""
    chooser = random.Random(seed)
    return {f"P-{number:04}": _row(chooser) for number in range(1, count + 1)}


def _row(chooser: random.Random) -> dict[str, str]:
    return {column: _cell(column, chooser) for column in COLUMNS}


def _cell(column: str, chooser: random.Random) -> str:
    match column:
        case "price":
            return f"{chooser.randint(100, 999_999) / 100:.2f}"
        case "weight":
            return f"{chooser.randint(1, 999) / 10:.1f}"
        case "stock":
            return str(chooser.randint(0, 5_000))
    return chooser.choice(_CHOICES[column])


@dataclass(frozen=True)
class Versions:
    """Two versions of a catalogue, and what the second has changed."""

    before: Rows
    after: Rows
    changed: dict[tuple[str, str], tuple[str, str]]
    """(key, column) → cell before and after."""
    removed: tuple[str, ...]
    added: tuple[str, ...]


def make_versions(
    count: int, changes: int, removed: int, added: int, seed: int = 20261125
) -> Versions:
    """Return a catalogue and its next version; protected columns do not change."""
    return next_version(make_rows(count, seed), changes, removed, added, seed)


def next_version(before: Rows, changes: int, removed: int, added: int, seed: int) -> Versions:
    """Return a catalogue with its next version, in which a seed draws the changes."""
    chooser = random.Random(seed)
    count = len(before)
    gone = tuple(sorted(chooser.sample(sorted(before), removed)))
    after = {key: dict(row) for key, row in before.items() if key not in gone}
    places = [(key, column) for key in after for column in COLUMNS if column != "warehouse"]
    changed = {}
    for key, column in sorted(chooser.sample(places, changes)):
        old = after[key][column]
        while after[key][column] == old:
            after[key][column] = _cell(column, chooser)
        changed[key, column] = (old, after[key][column])
    new = tuple(f"P-{number:04}" for number in range(count + 1, count + 1 + added))
    after.update((key, _row(chooser)) for key in new)
    return Versions(before, after, changed, gone, new)


def to_csv(rows: Rows) -> bytes:
    """Return a catalogue as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sku", *COLUMNS])
    writer.writerows([key, *row.values()] for key, row in rows.items())
    return text.getvalue().encode()
