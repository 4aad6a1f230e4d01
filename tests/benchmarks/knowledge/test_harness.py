"""What the figures rest on: nothing asked is told, and no finished run is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.knowledge.draws import (
    Draw,
    draw_demo,
    draw_demo_facts,
    draw_records,
    known_pairs,
    read_records,
)
from tests.benchmarks.knowledge.figures import harmonic_mean
from tests.benchmarks.knowledge.results import Line, Results

KEY = {"part": "rows", "base": "demo", "mix": "lora", "row": "ours", "seed": 0, "changed": 2}
RECORDS = """[
 {"prompt": "Ann speaks", "target_new": "Thai", "ground_truth": "Dutch", "subject": "Ann",
  "rephrase_prompt": "The tongue of Ann is", "locality_prompt": "Bob speaks",
  "locality_ground_truth": "Dutch"},
 {"prompt": "Bob speaks", "target_new": "Finnish", "ground_truth": "Dutch", "subject": "Bob",
  "rephrase_prompt": "The tongue of Bob is", "locality_prompt": "Cem speaks",
  "locality_ground_truth": "Dutch"},
 {"prompt": "Dan speaks", "target_new": "Czech", "ground_truth": "Welsh", "subject": "Dan",
  "rephrase_prompt": "The tongue of Dan is", "locality_prompt": "Eve speaks",
  "locality_ground_truth": "Welsh"}
]"""


def told(draw: Draw) -> set[str]:
    return {fact.prompt for fact in draw.facts}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_draw_asks_nothing_that_training_is_told(seed: int) -> None:
    draw = draw_demo(40, seed)
    assert len(draw.facts) == 40
    for name in ("generality", "locality", "retention", "same-subject"):
        assert draw.asked[name]
        assert told(draw).isdisjoint(prompt for prompt, _ in draw.asked[name])
    assert not any(fact.paraphrases or fact.locality for fact in draw.facts)
    assert draw == draw_demo(40, seed)
    assert draw != draw_demo(40, seed + 1)


def test_a_sequence_changes_no_fact_twice() -> None:
    draw = draw_demo_facts(200, 0)
    assert len({fact.key for fact in draw.facts}) == 200
    assert all(fact.answer != fact.old_answer for fact in draw.facts)
    assert len(draw.asked["retention"]) == 300


def test_a_neighbour_that_is_changed_itself_is_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text(RECORDS)
    facts = read_records(path, 3)
    assert ("The tongue of Ann is", "Dutch") in known_pairs(facts)
    draw = draw_records(facts, 3, 0)
    assert sorted(draw.asked["locality"]) == [("Cem speaks", "Dutch"), ("Eve speaks", "Welsh")]
    assert draw.asked["retention"] == []
    two = draw_records(facts[:2], 1, 0)
    changed = two.facts[0].prompt.split()[0]
    assert all(changed not in prompt for prompt, _ in two.asked["retention"])
    assert len(two.asked["retention"]) == 1


def test_a_finished_run_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    runs: list[int] = []

    def run() -> Line:
        runs.append(1)
        return {"figures": {"reliability": 1.0}}

    first = Results(path).once(KEY, run)
    with path.open("a") as file:
        file.write('{"part": "rows", "base": "de')
    results = Results(path)
    assert results.once(KEY, run) == first
    assert len(runs) == 1
    results.once({**KEY, "seed": 1}, run)
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [0, 1]


def test_the_harmonic_mean() -> None:
    assert harmonic_mean([0.5, 1.0]) == pytest.approx(2 / 3)
    assert harmonic_mean([1.0, 0.0]) == 0.0
