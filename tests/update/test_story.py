"""The story: five files over two branches, a conflict, a revert in the middle, and who agrees.

At every point of it the model is asked, and what it says is compared with what the ledger, blame
and bisect say of the same commit.

    main:   init ─ Croatia ─ Ukraine ─ Zimbabwe 2019 ─── merge ─ revert of Ukraine
    topic:               └─ Zimbabwe 2024 ─ Mali ────────┘
"""

from __future__ import annotations

import json
from pathlib import Path

from adapterstore import Store
from adapterstore.demo import FACTS_PATH
from adapterstore.evaluation.gate import Gate
from adapterstore.history.ledger.blame import blame_fact
from adapterstore.history.ledger.reading import read_ledger
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.facts import Fact, same_answer
from adapterstore.knowledge.formats import read_fact_file
from adapterstore.knowledge.ledger import show_key
from adapterstore.learning.recipe import Recipe
from adapterstore.update import UpdateResult, run_update
from adapterstore.update.asking import ask
from adapterstore.update.bisecting import bisect_answer
from adapterstore.update.verification import verify
from tests.cli.running import adapterstore, done, read_json
from tests.stock_tools import stock_tools_agree

FILES = {
    "croatia": "2023-croatia-euro.yaml",
    "ukraine": "2022-ウクライナの首都.yaml",
    "dollar": "2019-zimbabwe-dollar.yaml",
    "gold": "2024-zimbabwe-gold.yaml",
    "mali": "2023-mali-bambara.yaml",
}
BASE_ANSWERS = {"croatia": "kuna", "ukraine": "キエフ", "dollar": "US dollar", "mali": "French"}
"""What the demo model says before any update. Both Zimbabwean files are about one fact."""
FEWER_TEXTS = Recipe(sampled_texts=200, subject_texts=30, control_size=40, batch_size=8)
"""The default recipe, but for how much the model writes for itself, and how much a step takes."""
LEAST_AFTER_REVERT = 0.9


def facts_of(name: str) -> tuple[Fact, ...]:
    return read_fact_file(FACTS_PATH / FILES[name]).facts


FACT = {name: facts_of(name)[0] for name in BASE_ANSWERS}


def update(store: Store, name: str) -> UpdateResult:
    """Run the update of one file on the current branch, through the gate as it is."""
    file = read_fact_file(FACTS_PATH / FILES[name])
    result = run_update(store, [file], recipe=FEWER_TEXTS, gate=Gate())
    assert result.status == "applied", result.reasons
    return result


def tell(store: Store) -> dict[str, UpdateResult]:
    """Run the five updates, on two branches; return them by name."""
    results = {"croatia": update(store, "croatia")}
    store.create_branch("topic")
    results |= {name: update(store, name) for name in ("ukraine", "dollar")}
    store.switch("topic")
    results |= {name: update(store, name) for name in ("gold", "mali")}
    store.switch("main")
    return results


def model_and_ledger_agree(store: Store, revision: str) -> dict[str, str]:
    """Assert that a state answers as its ledger says, else as the base; return the answers."""
    ledger = read_ledger(store.repository, store.resolve(revision))
    listed = {
        (row["subject"], row["relation"]): row["answer"]
        for row in read_json(store.repository.folder.parent, "facts", "--at", revision)
    }
    said = ask(store, revision, [fact.prompt for fact in FACT.values()])
    meant = {}
    for (name, fact), answer in zip(FACT.items(), said, strict=True):
        entry = ledger.get(fact.key)
        assert (entry.answer if entry else None) == listed.get((fact.subject, fact.relation))
        meant[name] = str(entry.answer) if entry is not None else BASE_ANSWERS[name]
        assert same_answer(answer, meant[name]), f"{revision}: {fact.prompt} {answer}"
    return meant


def blame_and_bisect_agree(store: Store, name: str, revision: str) -> CommitId:
    """Assert that the ledger and the model name one commit, of a fact that is known; return it.

    By the model, on the first-parent history, a fact from the other side came with its merge.
    """
    prompt = FACT[name].prompt
    blame = blame_fact(store.repository, store.resolve(revision), prompt)
    bisection = bisect_answer(store, prompt, revision)
    assert bisection.gives
    assert blame.now is not None
    assert same_answer(bisection.after, str(blame.now.answer))
    assert bisection.commit == (blame.merges[0] if blame.merges else blame.newest.commit)
    assert bisection.evaluations <= bisection.most
    return blame.newest.commit


def test_the_story(tmp_path: Path) -> None:
    store = Store.init(tmp_path, base="demo")
    assert model_and_ledger_agree(store, "HEAD") == BASE_ANSWERS

    results = tell(store)
    croatia, ukraine, dollar, gold, mali = (results[name] for name in FILES)
    for result, learned in (
        (croatia, {"croatia": "euro"}),
        (ukraine, {"croatia": "euro", "ukraine": "キーウ"}),
        (dollar, {"croatia": "euro", "ukraine": "キーウ", "dollar": "Zimbabwean dollar"}),
        (gold, {"croatia": "euro", "dollar": "ZiG"}),
        (mali, {"croatia": "euro", "dollar": "ZiG", "mali": "Bambara"}),
    ):
        assert model_and_ledger_agree(store, result.commits[-1]) == {**BASE_ANSWERS, **learned}
    blame_and_bisect_agree(store, "dollar", "main")
    blame_and_bisect_agree(store, "dollar", "topic")

    # The planted conflict is refused, and decided.
    before = store.resolve()
    refused = adapterstore(tmp_path, "merge", "topic")
    assert refused.returncode == 16
    named = (show_key(FACT["dollar"].key), "Zimbabwean dollar", "ZiG")
    for part in (*named, dollar.commits[-1][:12], gold.commits[-1][:12]):
        assert part in refused.stderr
    assert store.resolve() == before
    done(tmp_path, "merge", "topic", "--theirs", "Zimbabwe, currency")
    merge = store.resolve()
    assert store.entry(merge).trailers["Dropped"] == dollar.update
    merged = {"croatia": "euro", "ukraine": "キーウ", "dollar": "ZiG", "mali": "Bambara"}
    assert model_and_ledger_agree(store, merge) == merged
    assert blame_and_bisect_agree(store, "croatia", merge) == croatia.commits[-1]
    assert blame_and_bisect_agree(store, "ukraine", merge) == ukraine.commits[-1]
    assert blame_and_bisect_agree(store, "dollar", merge) == gold.commits[-1]
    assert blame_and_bisect_agree(store, "mali", merge) == mali.commits[-1]

    # The second update is taken out of the middle.
    done(tmp_path, "revert", f"update/{ukraine.update}")
    revert = store.resolve()
    assert model_and_ledger_agree(store, revert) == {**merged, "ukraine": "キエフ"}
    right, asked = later_facts(store)
    print(f"later facts after the revert: {right} of {asked} prompts")
    assert right >= LEAST_AFTER_REVERT * asked
    assert blame_and_bisect_agree(store, "croatia", revert) == croatia.commits[-1]
    assert blame_and_bisect_agree(store, "mali", revert) == mali.commits[-1]
    taken = blame_fact(store.repository, revert, FACT["ukraine"].prompt)
    assert (taken.now, taken.newest.commit) == (None, revert)
    lost = bisect_answer(store, FACT["ukraine"].prompt, revert, ukraine.commits[-1], "キーウ")
    assert (lost.commit, lost.gives) == (revert, False)
    shown = read_json(tmp_path, "blame", FACT["mali"].prompt, "--model")
    assert shown["commit"] == merge

    # Whoever looks finds nothing.
    assert verify(store, None).findings == []
    done(tmp_path, "fsck")
    stock_tools_agree(tmp_path / ".adapterstore")
    content = json.loads(done(tmp_path, "report", "-o", "story.html", "--json"))
    assert (tmp_path / "story.html").stat().st_size > 10_000
    told = {fact["prompt"]: fact["after"] for fact in content["facts"]}
    assert told[FACT["mali"].prompt] == "Bambara"


def later_facts(store: Store) -> tuple[int, int]:
    """Return how many prompts of the facts that the ledger still has get its answer, of how many.

    Their own prompts, and all phrasings that the files give for them.
    """
    ledger = read_ledger(store.repository, store.resolve()).values()
    pairs = [(prompt, str(entry.answer)) for entry in ledger for prompt in entry.prompts]
    said = ask(store, "HEAD", [prompt for prompt, _ in pairs])
    return sum(same_answer(s, a) for s, (_, a) in zip(said, pairs, strict=True)), len(pairs)
