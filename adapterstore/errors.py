"""Every error that a caller may want to tell apart.

Each class carries its data as attributes, a one-line message that says what, where and what to do,
and an exit code for the command line. ``docs/errors.md`` is generated from this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from adapterstore.counting import counted


class AdapterStoreError(Exception):
    """Base of all errors that adapterstore raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as message and data: ``__init__`` takes other arguments."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


# --- the store -----------------------------------------------------------------------------------


class NotAStore(AdapterStoreError):
    """The folder is not, and is not inside, a store."""

    exit_code = 3

    def __init__(self, path: str, problem: str = "no .adapterstore here or in any folder above"):
        self.path = path
        super().__init__(f"{path}: {problem}; make a store with 'adapterstore init'")


class StoreExists(AdapterStoreError):
    """``init`` where a store is already."""

    exit_code = 3

    def __init__(self, path: str):
        self.path = path
        super().__init__(f"{path}: there is a store already; nothing was changed")


class UnsupportedFormat(AdapterStoreError):
    """The store was written in a format version that this release can't read."""

    exit_code = 3

    def __init__(self, where: str, found: object, supported: int):
        self.where, self.found, self.supported = where, found, supported
        super().__init__(
            f"{where}: format version {found!r}, but this release reads up to {supported}; "
            "upgrade adapterstore"
        )


class UnknownRevision(AdapterStoreError):
    """No commit goes by this name."""

    exit_code = 4

    def __init__(
        self,
        revision: str,
        problem: str = "no such branch, tag, update or commit",
        advice: str = "'adapterstore branch' and 'adapterstore log' list what there is",
    ):
        self.revision, self.problem = revision, problem
        super().__init__(f"{revision!r}: {problem}; {advice}")


class AmbiguousRevision(AdapterStoreError):
    """A name that could stand for several things."""

    exit_code = 4

    def __init__(self, revision: str, candidates: list[str]):
        self.revision, self.candidates = revision, candidates
        super().__init__(
            f"{revision!r} is ambiguous: it may be {', '.join(candidates)}; write which"
        )


class UnknownFact(AdapterStoreError):
    """The ledger knows no fact by this prompt or key."""

    exit_code = 4

    def __init__(self, text: str, where: str):
        self.text, self.where = text, where
        super().__init__(
            f"{text!r}: no such fact in the ledger of {where}, nor was there one before; "
            "'adapterstore facts --search TEXT' looks for words"
        )


class UnknownSuitePrompt(AdapterStoreError):
    """The regression suite has no such prompt."""

    exit_code = 4

    def __init__(self, text: str):
        self.text = text
        super().__init__(
            f"{text!r}: no such prompt in the suite; 'adapterstore suite list' shows them all"
        )


class AmbiguousFact(AdapterStoreError):
    """A prompt by which several facts of the ledger are known."""

    exit_code = 4

    def __init__(self, text: str, keys: list[str]):
        self.text, self.keys = text, keys
        super().__init__(f"{text!r} asks for several facts: {'; '.join(keys)}; name one of them so")


class RefMoved(AdapterStoreError):
    """Somebody else moved the branch between our reading and our writing it."""

    exit_code = 5

    def __init__(self, ref: str, expected: str | None, actual: str | None, stated: bool = False):
        """``stated``: it is the caller who said what to expect, so trying again is of no use."""
        self.ref, self.expected, self.actual = ref, expected, actual
        if stated:
            problem = (
                f"{ref} is at {actual}, not at {expected}, from where it was to move; nothing was "
                "changed: see with 'adapterstore log' what came since"
            )
        else:
            problem = (
                f"{ref} moved from {expected or 'nothing'} to {actual or 'nothing'} meanwhile; "
                "nothing was changed: run the command again"
            )
        super().__init__(problem)


class UpdateIdTaken(AdapterStoreError):
    """Another update was published under the id that ours was to have."""

    exit_code = RefMoved.exit_code

    def __init__(self, update: str, commit: str):
        self.update, self.commit = update, commit
        super().__init__(
            f"update/{update} is another update by now, commit {commit[:12]}; nothing was changed: "
            "run the command again"
        )


class StoreBusy(AdapterStoreError):
    """Another process holds a lock for too long."""

    exit_code = 5

    def __init__(self, lock: str, problem: str):
        self.lock = lock
        super().__init__(f"{lock}: {problem}")


class CorruptStore(AdapterStoreError):
    """Something in the store is not what its name or its format says; nothing was repaired."""

    exit_code = 6

    advice = "run 'adapterstore fsck', restore it from a clone"

    def __init__(self, where: str, problem: str):
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}; {self.advice}")


class ObjectMissing(CorruptStore):
    """A tensor file that a commit names is not in the store."""

    advice = (
        "fetch it with 'git -C .adapterstore lfs fetch --all' (git fetches commits alone), or "
        "restore it from a clone"
    )

    def __init__(self, where: str, object_id: str):
        self.object_id = object_id
        super().__init__(where, f"object {object_id} is missing")


class InvalidName(AdapterStoreError):
    """A name that no branch or tag can have."""

    exit_code = 10

    def __init__(self, name: str, problem: str):
        self.name, self.problem = name, problem
        super().__init__(f"{name!r}: {problem}; choose another name")


class NameTaken(AdapterStoreError):
    """A branch or tag whose name is in use, or would be in the way of one."""

    exit_code = 15

    def __init__(self, name: str, taken: str):
        self.name, self.taken = name, taken
        problem = "is there already" if name == taken else f"can't be beside {taken!r}"
        super().__init__(f"{name!r} {problem}; delete or rename that first, or choose another name")


class RefInUse(AdapterStoreError):
    """The current branch can't be deleted."""

    exit_code = 15

    def __init__(self, ref: str):
        self.ref = ref
        super().__init__(
            f"{ref.removeprefix('refs/heads/')!r} is the current branch; "
            "change to another one first: adapterstore switch BRANCH"
        )


class BranchNotMerged(AdapterStoreError):
    """Deleting a branch would leave commits that no other branch or tag reaches."""

    exit_code = 15

    def __init__(self, branch: str, tip: str, commits: int):
        self.branch, self.tip, self.commits = branch, tip, commits
        number = "a commit" if commits == 1 else f"{commits} commits"
        super().__init__(
            f"branch {branch!r} has {number} that no other branch or tag has, up to {tip[:12]}; "
            "merge it first, or give --force"
        )


class NotFastForward(AdapterStoreError):
    """``merge --ff-only`` where both sides have commits of their own."""

    exit_code = 15

    def __init__(self, branch: str, other: str):
        self.branch, self.other = branch, other
        super().__init__(
            f"{branch!r} has commits that {other!r} lacks, so it can't just move there; "
            "merge without --ff-only"
        )


class CannotRewrite(AdapterStoreError):
    """History can't be rewritten while something outside of the refs stands on it."""

    exit_code = 15

    def __init__(self, what: str, problem: str):
        self.what = what
        super().__init__(f"{what}: {problem}; nothing was changed")


class MainlineNeeded(AdapterStoreError):
    """A merge is to be taken back or picked, and it is not said against which parent."""

    exit_code = 15

    def __init__(self, revision: str, parents: list[str]):
        self.revision, self.parents = revision, parents
        listed = ", ".join(f"-m {n} {parent[:12]}" for n, parent in enumerate(parents, 1))
        super().__init__(f"{revision!r} is a merge; say which parent stays the main line: {listed}")


class PartlyInEffect(AdapterStoreError):
    """Of what is to be taken back or picked, one part is in effect and another is not."""

    exit_code = 15

    def __init__(
        self,
        revision: str,
        in_effect: list[str],
        not_in_effect: list[str],
        verb: str,
        by: str | None,
    ):
        self.revision, self.in_effect, self.not_in_effect = revision, in_effect, not_in_effect
        self.verb, self.by = verb, by
        first = (in_effect if verb == "revert" else not_in_effect)[0][:12]
        through, whole = ("", "") if by is None else (f", through {by}", f", or revert {by} first")
        super().__init__(
            f"{revision!r}: {_some(in_effect)} in effect, {_some(not_in_effect)} not{through}; "
            f"name the commits one by one, 'adapterstore {verb} {first}'{whole}"
        )


def _some(commits: list[str]) -> str:
    shown = ", ".join(commit[:12] for commit in commits[:3])
    more = f" and {len(commits) - 3} more" if len(commits) > 3 else ""
    return f"{shown}{more} {'is' if len(commits) == 1 else 'are'}"


@dataclass(frozen=True)
class FactConflict:
    """One fact to which two sides give different answers."""

    key: str
    """The ledger key's digest."""
    fact: str
    """"subject, relation", or the prompt."""
    prompts: tuple[str, ...]
    """The prompts by which either side knows it."""
    base: str | None
    """What stood there before both; None: nothing, or that it is forgotten."""
    ours: str | None
    ours_commit: str
    ours_update: str | None
    theirs: str | None
    theirs_commit: str
    theirs_update: str | None

    def __str__(self) -> str:
        """Return the fact, both answers, and where each comes from."""
        ours = _place(self.ours, self.ours_commit, self.ours_update)
        theirs = _place(self.theirs, self.theirs_commit, self.theirs_update)
        return f"{self.fact!r}: ours is {ours}, theirs is {theirs}"


def _place(answer: str | None, commit: str, update: str | None) -> str:
    shown = "no answer" if answer is None else repr(answer)
    return f"{shown} (commit {commit[:12]}{f', update/{update}' if update else ''})"


class MergeConflict(AdapterStoreError):
    """Two sides changed one fact to different answers; nothing was changed."""

    exit_code = 16

    def __init__(self, conflicts: list[FactConflict], advice: str):
        self.conflicts = conflicts
        number = "a fact has" if len(conflicts) == 1 else f"{len(conflicts)} facts have"
        shown = "; ".join(str(conflict) for conflict in conflicts[:5])
        more = f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        super().__init__(f"{number} different answers on both sides: {shown}{more}; {advice}")


class NoSuchConflict(AdapterStoreError):
    """``--ours`` or ``--theirs`` for a fact on which both sides agree, or for both of them."""

    exit_code = 16

    def __init__(self, key: str, problem: str, facts: list[str]):
        self.key, self.facts = key, facts
        there = f"in conflict: {', '.join(map(repr, facts))}" if facts else "nothing is in conflict"
        super().__init__(f"{key!r} {problem}; {there}")


class SigningFailed(AdapterStoreError):
    """A commit or tag is to be signed, and can't be."""

    exit_code = 19

    def __init__(self, what: str, problem: str):
        self.what, self.problem = what, problem
        super().__init__(f"can't sign with {what}: {problem}; nothing was changed")


class MissingLibrary(AdapterStoreError):
    """An optional part needs a library that is not installed."""

    exit_code = 17

    def __init__(self, extra: str, libraries: str):
        self.extra, self.libraries = extra, libraries
        super().__init__(f"this needs {libraries}: pip install 'adapterstore[{extra}]'")


class VerificationFailed(AdapterStoreError):
    """What a commit says about itself is not what follows from its inputs."""

    exit_code = 18

    def __init__(self, revision: str, findings: int, intact: bool = False):
        """``intact``: nothing was changed; signatures that count are missing."""
        self.revision, self.findings, self.intact = revision, findings, intact
        shown = counted(findings, "findings")
        advice = "restore what was changed from a clone you trust"
        if intact:
            advice = "have it signed by somebody on the list of allowed signers, or add the signer"
        super().__init__(f"{revision}: {shown}; {advice}")


class CorruptJournal(CorruptStore):
    """The daemon's journal can't be read."""

    def __init__(self, path: str, problem: str):
        self.where, self.problem = path, problem
        AdapterStoreError.__init__(
            self,
            f"{path}: not a journal ({problem}); move it aside and start again: without it the "
            "daemon finds in the history which contents are in effect",
        )


# --- operands ------------------------------------------------------------------------------------


class UnreadableFile(AdapterStoreError):
    """A file or folder that was named can't be read."""

    exit_code = 7

    def __init__(self, path: str, problem: str):
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class MalformedTensorFile(AdapterStoreError):
    """A safetensors file whose header and bytes do not agree."""

    exit_code = 7

    def __init__(self, path: str, problem: str):
        self.path, self.problem = path, problem
        super().__init__(f"{path}: not a valid safetensors file: {problem}; save or copy it again")


class MalformedAdapter(AdapterStoreError):
    """A PEFT folder or a delta whose parts do not agree."""

    exit_code = 7

    def __init__(self, path: str, problem: str):
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class NotLinear(AdapterStoreError):
    """An adapter that is not a linear change of the base's weights."""

    exit_code = 8

    def __init__(self, path: str, feature: str, why: str):
        self.path, self.feature = path, feature
        super().__init__(f"{path}: {feature} can't be stored: {why}")


class ShapeMismatch(AdapterStoreError):
    """Two things that must have one shape have two."""

    exit_code = 8

    def __init__(self, name: str, left: str, left_shape: object, right: str, right_shape: object):
        self.name, self.left, self.right = name, left, right
        self.left_shape, self.right_shape = left_shape, right_shape
        super().__init__(
            f"{name}: {left} has shape {left_shape}, but {right} has {right_shape}; "
            "they belong to different models"
        )


class CannotExport(AdapterStoreError):
    """The state has no such form."""

    exit_code = 8

    def __init__(self, what: str, why: str):
        self.what = what
        super().__init__(f"can't export {what}: {why}")


class BaseModelMismatch(AdapterStoreError):
    """An adapter, or the weights at hand, belong to another base model than the store's."""

    exit_code = 9

    def __init__(self, store: str, adapter: str, problem: str | None = None):
        self.store, self.adapter = store, adapter
        super().__init__(
            problem
            or f"the store's base model is {store!r}, but the adapter was made for {adapter!r}; "
            "if these are one model, say so: adapterstore config base.aliases --add "
            f"{adapter!r}"
        )


class BaseModelUnavailable(AdapterStoreError):
    """The base model's weights are needed and not at hand."""

    exit_code = 9

    def __init__(self, name: str, problem: str):
        self.name = name
        super().__init__(
            f"base model {name!r}: {problem}; give its folder: adapterstore config base.path FOLDER"
        )


class InvalidCoefficient(AdapterStoreError):
    """Not a finite decimal number, or one with too many digits to stay exact."""

    exit_code = 10

    def __init__(self, text: str, problem: str = "not a finite decimal number"):
        self.text = text
        super().__init__(f"coefficient {text!r}: {problem}; write it like -0.7")


class InvalidSetting(AdapterStoreError):
    """A setting, recipe or option with an unknown name or a value out of range."""

    exit_code = 10

    def __init__(self, where: str, problem: str):
        self.where = where
        super().__init__(f"{where}: {problem}")


class CannotBisect(AdapterStoreError):
    """The two ends of a bisection do not differ in what is looked for."""

    exit_code = 8

    def __init__(self, prompt: str, good: str, bad: str, problem: str):
        self.prompt, self.good, self.bad = prompt, good, bad
        super().__init__(
            f"{prompt!r}: can't bisect {good}..{bad}: {problem}; choose other ends, or another "
            "--answer"
        )


# --- knowledge and updates -----------------------------------------------------------------------


class FactFileError(AdapterStoreError):
    """A fact file that can't be used; found before any model is loaded."""

    exit_code = 11

    def __init__(self, path: str, problem: str, line: int | None = None, field: str | None = None):
        self.path, self.problem, self.line, self.field = path, problem, line, field
        place = path if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {field}: {problem}" if field else f"{place}: {problem}")


def _shortened(prompt: str) -> str:
    return prompt if len(prompt) <= 60 else f"{prompt[:57]}…"


class PromptTooLong(AdapterStoreError):
    """A prompt, with its answer, has more tokens than the base model has positions."""

    exit_code = 11

    def __init__(self, prompt: str, tokens: int, most: int):
        self.prompt, self.tokens, self.most = prompt, tokens, most
        super().__init__(
            f"{_shortened(prompt)!r}: {tokens} tokens leave no room for an answer, as the base "
            f"model takes {most}; shorten the prompt"
        )


class NotWritable(AdapterStoreError):
    """The base model's tokenizer can't write a prompt or an answer as it is stated."""

    exit_code = 11

    def __init__(self, prompt: str, problem: str):
        self.prompt, self.problem = prompt, problem
        super().__init__(f"{_shortened(prompt)!r}: {problem}")


class Contradiction(AdapterStoreError):
    """Two answers for one fact."""

    exit_code = 12

    def __init__(
        self,
        key: str,
        first: str,
        first_answer: str,
        second: str,
        second_answer: str,
        advice: str = "remove one of them",
    ):
        self.key, self.first, self.second = key, first, second
        self.first_answer, self.second_answer = first_answer, second_answer
        super().__init__(
            f"{key}: {first} says {first_answer!r}, but {second} says {second_answer!r}; {advice}"
        )


class Overtaken(Contradiction):
    """A file waited while a newer one was applied, which says otherwise."""

    def __init__(
        self, key: str, place: str, answer: str, newer: str, update: str, newer_answer: str
    ):
        self.newer, self.update = newer, update
        super().__init__(
            key,
            place,
            answer,
            f"update/{update}",
            newer_answer,
            f"{newer} was applied while this file waited; put it there again if it is right",
        )


class UpdateRejected(AdapterStoreError):
    """The gate refused an update; the branch did not move."""

    exit_code = 13

    def __init__(self, update: str, reasons: list[str]):
        self.update, self.reasons = update, reasons
        super().__init__(
            f"update/{update} was refused: {'; '.join(reasons)}; the branch did not move. "
            f"See it with: adapterstore show update/{update}"
        )


class TrainingFailed(AdapterStoreError):
    """Training came to no usable result (loss not finite, nothing trainable)."""

    exit_code = 14

    def __init__(self, phase: str, problem: str):
        self.phase = phase
        super().__init__(f"{phase}: {problem}")
