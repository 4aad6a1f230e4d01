"""Which package may import which: the layers of the design, read off the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOWEST = {
    "counting",
    "errors",
    "identifiers",
    "progress",
    "settings_model",
    "streams",
    "telling",
}
ALLOWED: dict[str, set[str]] = {
    "counting": set(),
    "errors": {"counting"},
    "identifiers": set(),
    "progress": set(),
    "settings_model": {"errors"},
    "streams": set(),
    "telling": {"errors"},
    "store": LOWEST,
    "algebra": LOWEST,
    "adapters": LOWEST | {"algebra"},
    "demo": LOWEST,
    # `init --base demo` finds the packaged model; merges and blame read ledger entries.
    "history": LOWEST | {"store", "algebra", "adapters", "demo", "knowledge"},
    "knowledge": LOWEST,
    "evaluation": LOWEST | {"knowledge"},
    # λ is an exact coefficient; deltas go by the names of the base's files.
    "learning": LOWEST | {"algebra", "adapters", "knowledge", "evaluation"},
    "update": LOWEST
    | {"store", "algebra", "adapters", "history", "knowledge", "evaluation", "learning"},
    "report": LOWEST | {"store", "algebra", "history", "knowledge"},
}
EVERYTHING = set(ALLOWED)
ALLOWED["__init__"] = EVERYTHING
# third-party package → the only parts that import it
HOMES = {
    "click": {"cli", "daemon"},
    "watchdog": {"daemon"},
    "pygit2": {"store", "history"},
    "peft": {"history", "learning", "adapters"},
    # It knows which weights of a model are which of its files.
    "transformers": {"learning", "evaluation", "demo", "adapters"},
    "rich": {"cli"},
    "matplotlib": {"report"},
    "pyarrow": {"knowledge"},
    "torchao": {"learning"},
    # Chat templates fail in its words.
    "jinja2": {"report", "evaluation"},
    # The daemon's journal; the index of the ledger, a cache.
    "sqlite3": {"daemon", "history"},
}


def sources() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "adapterstore").rglob("*.py")):
        yield path.relative_to(ROOT / "adapterstore").parts[0].removesuffix(".py"), path
    for part in ("cli", "daemon"):
        for path in sorted((ROOT / part).rglob("*.py")):
            yield part, path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("part", "path"), list(sources()), ids=lambda value: str(value)[-40:])
def test_arrows_point_one_way(part: str, path: Path) -> None:
    allowed = EVERYTHING if part in {"cli", "daemon"} else ALLOWED[part] | {part}
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "adapterstore" and rest and rest[0] in EVERYTHING:
            assert rest[0] in allowed, f"{part} must not import adapterstore.{rest[0]}"
        assert (top, part) not in {
            ("adapterstore_cli", "daemon"),
            ("adapterstore_daemon", "cli"),
        }, "cli and daemon never import each other"
        if part not in {"cli", "daemon"}:
            assert top not in {"adapterstore_cli", "adapterstore_daemon"}
        if top in HOMES:
            assert part in HOMES[top], f"only {HOMES[top]} may import {top}"


@pytest.mark.parametrize(("part", "path"), list(sources()), ids=lambda value: str(value)[-40:])
def test_only_the_edges_print_read_the_environment_or_configure_logging(
    part: str, path: Path
) -> None:
    if part in {"cli", "daemon"} or path.name == "build.py":
        return
    text = path.read_text(encoding="utf-8")
    for forbidden in (
        "os.environ",
        "getenv(",
        "print(",
        "basicConfig",
        "import pickle",
        "torch.load(",
    ):
        assert forbidden not in text, f"{forbidden} in {path.name}"
    assert "trust_remote_code=True" not in text


def loaded_by(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in run.stderr.splitlines()
        if line.startswith("import time:")
    }


@pytest.mark.parametrize(
    "module",
    ["adapterstore", "adapterstore.history.store", "adapterstore.update", "adapterstore.report"],
)
def test_importing_the_library_loads_no_machine_learning(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert "adapterstore" in loaded
    assert not loaded & {"torch", "transformers", "peft", "numpy", "pydantic", "matplotlib"}
