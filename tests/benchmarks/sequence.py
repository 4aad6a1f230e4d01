"""``make bench-sequence``: the demo's fact files as one small update after the other.

    python -m tests.benchmarks.sequence [--method lora|full] [--seed 0]

Each file is an update of its own with the default recipe and gate, on one store. An update that the
gate refuses leaves the branch where it is. After each, the ledger's facts are asked by their own
prompts (retention: those of earlier updates) and by the phrasings that the files give for them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from adapterstore import Store
from adapterstore.demo import FACTS_PATH
from adapterstore.evaluation.gate import Gate
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.knowledge.facts import same_answer
from adapterstore.knowledge.formats import read_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.update import run_update
from adapterstore.update.asking import ask

FILES = (
    "2018-eswatini.yaml",
    "2019-burundi-gitega.yaml",
    "2022-ウクライナの首都.yaml",
    "2023-mali-bambara.yaml",
    "2023-croatia-euro.yaml",
    "2019-zimbabwe-dollar.yaml",
    "2019-north-macedonia.yaml",
    "2022-カザフスタンの首都.yaml",
    "2022-türkiye.yaml",
    "2026-bulgaria-euro.yaml",
)
FIGURES = ("reliability", "generality", "locality", "retention")


def rephrased(store: Store) -> tuple[int, int]:
    """Return how many phrasings of the ledger's facts get their answer, and how many there are."""
    ledger = read_ledger(store.repository, store.resolve()).values()
    pairs = [(prompt, str(entry.answer)) for entry in ledger for prompt in entry.paraphrases]
    given = ask(store, "HEAD", [prompt for prompt, _ in pairs]) if pairs else []
    return sum(same_answer(g, a) for g, (_, a) in zip(given, pairs, strict=True)), len(pairs)


def main() -> None:
    """Print one row an update, and how many were applied."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=len(FILES))
    arguments = parser.parse_args()
    recipe = Recipe(method=arguments.method, seed=arguments.seed)
    print(f"{'file':<30}" + "".join(f"{n:>18}" for n in (*FIGURES, "phrasings", "λ", "CPU s")))
    applied = 0
    files = FILES[: arguments.files]
    with tempfile.TemporaryDirectory(prefix="bench-sequence-") as folder:
        store = Store.init(Path(folder), base="demo")
        for file in files:
            started = time.process_time()
            result = run_update(
                store, [read_fact_file(FACTS_PATH / file)], recipe=recipe, gate=Gate()
            )
            seconds = time.process_time() - started
            applied += result.status == "applied"
            scores = result.report.scores() if result.report is not None else {}
            cells = [
                f"{scores[n].value:.3f} of {scores[n].asked}" if n in scores else ""
                for n in FIGURES
            ]
            right, asked = rephrased(store)
            cells += [f"{right} of {asked}", str(result.coefficient), f"{seconds:.1f}"]
            print(f"{file:<30}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
            if result.reasons:
                print(f"    refused: {'; '.join(result.reasons)}", flush=True)
    print(f"\n{applied} of {len(files)} applied")


if __name__ == "__main__":
    main()
