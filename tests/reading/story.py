"""A short history: updates, one of them refused, a merge with a conflict, a revert."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterstore import Store
from adapterstore.evaluation.gate import Gate
from adapterstore.history.snapshot import LEDGER, NewCommit, read_snapshot, write_snapshot
from adapterstore.identifiers import CommitId
from adapterstore.knowledge.formats import parse_fact_file
from adapterstore.learning.recipe import Recipe
from adapterstore.store.messages import format_message
from adapterstore.store.refs import move_ref, read_ref
from adapterstore.update import UpdateResult, run_update

TINY = Recipe(
    rank=2,
    forget_steps=1,
    learn_steps=1,
    batch_size=4,
    coefficient_grid=("0.5", "1", "2"),  # type: ignore[arg-type]
    sampled_texts=30,
    subject_texts=0,
    control_size=10,
)
NO_GATE = Gate.parse(dict.fromkeys(Gate.model_fields), "gate")
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
CROATIA = "The currency of Croatia is the"
KAZAKHSTAN = "カザフスタンの首都は"


@dataclass(frozen=True)
class Story:
    """The store, and the commits and updates by what they are in the story."""

    store: Store
    folder: Path
    commits: dict[str, CommitId]
    updates: dict[str, str]


def write_story(folder: Path) -> Story:
    """Make the store; each update trains for one step.

    main:  init ─ euro ─ astana ──── merge ─ revert of euro
                     └─ refused └─ … /
    topic:           └── kazakhstan ┘
    """
    store = Store.init(folder, base="demo")
    commits, updates = {"init": store.resolve()}, {}

    def update(name: str, file: str, *facts: str, **options: Any) -> UpdateResult:
        text = f"source: {name} <b>&\nfacts:\n" + "".join(f"  - {fact}\n" for fact in facts)
        result = run_update(
            store,
            [parse_fact_file(text.encode(), file)],
            recipe=TINY,
            **{"gate": NO_GATE, **options},
        )
        commits[name], updates[name] = result.commits[-1], result.update
        return result

    update(
        "euro",
        "2023-<euro>.yaml",
        f"{{prompt: {CROATIA}, answer: euro, old_answer: kuna, subject: Croatia, relation: money}}",
        f'{{prompt: A hostile prompt says, answer: "{HOSTILE}"}}',
    )
    refused = update("refused", "bad.yaml", "{prompt: P, answer: Q}", gate=Gate(reliability=1.0))
    assert refused.status == "rejected"
    move_ref(store.repository, "refs/heads/topic", None, store.resolve(), "branch: topic")
    update("astana", "首都.yaml", f"{{prompt: {KAZAKHSTAN}, answer: アスタナ}}")
    update(
        "nur-sultan",
        "topic.yaml",
        f"{{prompt: {KAZAKHSTAN}, answer: ヌルスルタン}}",
        branch="topic",
    )
    commits["merge"] = _merge(store, "refs/heads/topic", commits["euro"])
    store.revert(None, f"update/{updates['euro']}")
    commits["revert"] = store.resolve()
    return Story(store, folder, commits, updates)


def _merge(store: Store, topic: str, base: CommitId) -> CommitId:
    """Merge a branch into main, keeping main's side of the one conflict."""
    repository = store.repository
    ours, theirs = store.resolve("main"), read_ref(repository, topic)
    assert theirs is not None
    states = [read_snapshot(repository, commit) for commit in (ours, theirs, base)]
    composition = states[0].composition + states[1].composition - states[2].composition
    draft = write_snapshot(
        repository,
        ours,
        NewCommit(composition=composition, base=states[0].base, subject="draft", trailers={}),
    )
    (path,) = {
        path
        for path, blob in repository.files(theirs, LEDGER).items()
        if repository.files(base, LEDGER).get(path) != blob
    }
    message = format_message(
        "Merge topic",
        "",
        {
            "Operation": "merge",
            "Merged": theirs,
            "Resolved-Ours": Path(path).stem,
        },
    )
    tree = repository.commit(draft).tree_id
    merged = repository.write_commit(tree, [ours, theirs], message)
    move_ref(repository, "refs/heads/main", ours, merged, "merge: topic")
    return merged
