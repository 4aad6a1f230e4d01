"""Remembered answers of states: ``cache/answers``. May be deleted at any time.

What a state answers follows from the base model, the composition and the prompt. An entry is
believed only if it states them and its own digest is right; any other file is as good as none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from adapterstore.adapters.base_model import BaseModel
from adapterstore.algebra.composition import Composition
from adapterstore.store.cache import CACHE_NAME
from adapterstore.store.durable import make_folder, write_file
from adapterstore.store.repository import Repository

FORMAT = 1
ANSWERS = "answers"


@dataclass(frozen=True)
class Question:
    """A prompt put to a state."""

    base: BaseModel
    """Its digests must be recorded."""
    composition: Composition
    prompt: str
    chat_template: str = "off"
    """The setting by which the prompt is put."""

    def to_dict(self) -> dict[str, object]:
        """Return what determines the answer, as JSON values."""
        return {
            "format": FORMAT,
            "base": self.base.digests,
            "composition": hashlib.sha256(self.composition.to_bytes()).hexdigest(),
            "prompt": self.prompt,
            "chat_template": self.chat_template,
        }


def recall_answer(repository: Repository, question: Question) -> str | None:
    """Return the remembered answer (None: none that can be believed)."""
    try:
        content = json.loads(_path(repository, question).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("question") != question.to_dict():
        return None
    answer = content.get("answer")
    if not isinstance(answer, str) or content.get("digest") != _digest(question, answer):
        return None
    return answer


def remember_answer(repository: Repository, question: Question, answer: str) -> None:
    """Keep an answer; where the cache can't be written, it is asked again next time."""
    path = _path(repository, question)
    content = {
        "question": question.to_dict(),
        "answer": answer,
        "digest": _digest(question, answer),
    }
    try:
        make_folder(path.parent)
        write_file(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
    except OSError:
        return


def _path(repository: Repository, question: Question) -> Path:
    name = hashlib.sha256(_bytes(question.to_dict())).hexdigest()
    return repository.folder / CACHE_NAME / ANSWERS / name[:2] / f"{name}.json"


def _digest(question: Question, answer: str) -> str:
    return hashlib.sha256(_bytes([question.to_dict(), answer])).hexdigest()


def _bytes(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
