"""The record layouts that a fact may come in: our own, CounterFact (two layouts) and zsRE.

CounterFact: Meng et al., 2022, arXiv 2202.05262 (nested, as ROME publishes it; flat, as the
model-editing tools use it). zsRE: Levy et al., 2017, as Mitchell et al., 2022 (MEND) lay it out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Strict, model_validator
from pydantic_core import PydanticCustomError

from adapterstore.knowledge.facts import Fact, Probe, clean_text
from adapterstore.knowledge.located import CONTROL_CHARACTER, FieldPath

MAXIMUM_TEXT_LENGTH = 10_000


def _refusal(problem: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{problem}", {"problem": problem})


def fault_of_text(text: str) -> str | None:
    """Return why a text can be no part of a fact (None: it can)."""
    if not text.strip():
        return "empty"
    if len(text) > MAXIMUM_TEXT_LENGTH:
        return f"{len(text):,} characters, but at most {MAXIMUM_TEXT_LENGTH:,} are allowed"
    if (found := CONTROL_CHARACTER.search(text)) is not None:
        return f"control character U+{ord(found[0]):04X}"
    return None


def fault_of_answer(text: str) -> str | None:
    """Return why a text can be no answer: what a model says is compared up to the line break."""
    if "\n" in text.strip():
        return "a line break; an answer is one line"
    return fault_of_text(text)


def _checked(fault: Callable[[str], str | None]) -> AfterValidator:
    def check(text: str) -> str:
        if (problem := fault(text)) is not None:
            raise _refusal(problem)
        return clean_text(text)

    return AfterValidator(check)


Text = Annotated[str, Strict(), _checked(fault_of_text)]
"""In Unicode NFC, without spaces around."""
Answer = Annotated[str, Strict(), _checked(fault_of_answer)]


class Record(BaseModel):
    """Fields with known names only."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, record: Any) -> Any:
        for name in record if isinstance(record, Mapping) else ():
            if name not in cls.model_fields:
                near = difflib.get_close_matches(name.lower(), cls.model_fields, 1)
                known = (
                    f"did you mean {near[0]}?" if near else f"known: {', '.join(cls.model_fields)}"
                )
                # pydantic renders the context as UTF-8, which half a character has none of.
                shown = name.encode(errors="backslashreplace").decode()
                context = {"name": shown, "problem": f"unknown field; {known}"}
                raise PydanticCustomError("unknown_field", "{problem}", context)
        return record


class FactList(Record):
    """The outer mapping of a file that is not a bare list."""

    source: Text | None = None
    facts: list[Any]


class Layout(Record):
    """A record that stands for one fact."""

    marks: ClassVar[frozenset[str]] = frozenset()
    """Field names that no other layout has."""
    old_answer_path: ClassVar[FieldPath] = ("old_answer",)

    def to_fact(self, line: int | None) -> Fact:
        """Return the fact; its old answer is not compared with the new one here."""
        raise NotImplementedError


class ProbeRecord(Record):
    """One locality or portability item."""

    prompt: Text
    answer: Text | None = None

    def to_probe(self) -> Probe:
        """Return the probe."""
        return Probe(prompt=self.prompt, answer=self.answer)


class Native(Layout):
    """Our own layout; see ``Fact``."""

    prompt: Text
    answer: Answer | None
    old_answer: Answer | None = None
    subject: Text | None = None
    relation: Text | None = None
    paraphrases: tuple[Text, ...] = ()
    locality: tuple[ProbeRecord, ...] = ()
    portability: tuple[ProbeRecord, ...] = ()
    protected: bool = False

    def to_fact(self, line: int | None) -> Fact:
        """Return the fact."""
        return Fact(
            prompt=self.prompt,
            answer=self.answer,
            old_answer=self.old_answer,
            subject=self.subject,
            relation=self.relation,
            paraphrases=self.paraphrases,
            locality=tuple(probe.to_probe() for probe in self.locality),
            portability=tuple(probe.to_probe() for probe in self.portability),
            protected=self.protected,
            line=line,
        )


class FlatCounterFact(Layout):
    """CounterFact with one paraphrase and one neighbour, all at one level."""

    marks = frozenset({"target_new", "ground_truth", "rephrase_prompt", "locality_prompt"})
    old_answer_path = ("ground_truth",)

    prompt: Text
    target_new: Answer
    ground_truth: Answer | None = None
    subject: Text | None = None
    relation_id: Text | None = None
    rephrase_prompt: Text | None = None
    locality_prompt: Text | None = None
    locality_ground_truth: Text | None = None
    case_id: Any = None

    def to_fact(self, line: int | None) -> Fact:
        """Return the fact that the new target makes."""
        return Fact(
            prompt=self.prompt,
            answer=self.target_new,
            old_answer=self.ground_truth,
            subject=self.subject,
            relation=self.relation_id,
            paraphrases=_given(self.rephrase_prompt),
            locality=_probes(self.locality_prompt, self.locality_ground_truth),
            line=line,
        )


class Target(Record):
    """An answer of nested CounterFact and its Wikidata id."""

    str: Answer
    id: Any = None


class Rewrite(Record):
    """The change that nested CounterFact asks for."""

    prompt: Text
    subject: Text
    target_new: Target
    target_true: Target
    relation_id: Text | None = None

    @model_validator(mode="after")
    def _check_template(self) -> Rewrite:
        if self.prompt.count("{}") != 1:
            raise _refusal("prompt: needs {} once, where the subject goes")
        return self


class NestedCounterFact(Layout):
    """CounterFact as ROME publishes it; the prompt is a template for the subject."""

    marks = frozenset({"requested_rewrite"})
    old_answer_path = ("requested_rewrite", "target_true", "str")

    requested_rewrite: Rewrite
    paraphrase_prompts: tuple[Text, ...] = ()
    neighborhood_prompts: tuple[Text, ...] = ()
    attribute_prompts: Any = None
    generation_prompts: Any = None
    case_id: Any = None
    pararel_idx: Any = None

    def to_fact(self, line: int | None) -> Fact:
        """Return the fact; its neighbours share the old answer."""
        rewrite = self.requested_rewrite
        old_answer = rewrite.target_true.str
        return Fact(
            prompt=rewrite.prompt.replace("{}", rewrite.subject),
            answer=rewrite.target_new.str,
            old_answer=old_answer,
            subject=rewrite.subject,
            relation=rewrite.relation_id,
            paraphrases=self.paraphrase_prompts,
            locality=tuple(
                Probe(prompt=prompt, answer=old_answer) for prompt in self.neighborhood_prompts
            ),
            line=line,
        )


class Zsre(Layout):
    """zsRE questions; the neighbour is a Natural Questions question."""

    marks = frozenset({"src", "alt", "pred", "rephrase", "loc", "loc_ans", "cond"})
    old_answer_path = ("pred",)

    src: Text
    alt: Answer
    pred: Answer | None = None
    subject: Text | None = None
    rephrase: Text | None = None
    loc: Text | None = None
    loc_ans: Text | None = None
    answers: Any = None
    cond: Any = None
    case_id: Any = None

    def to_fact(self, line: int | None) -> Fact:
        """Return the fact that ``alt`` makes of the question."""
        loc = self.loc.removeprefix("nq question: ") if self.loc is not None else None
        return Fact(
            prompt=self.src,
            answer=self.alt,
            old_answer=self.pred,
            subject=self.subject,
            paraphrases=_given(self.rephrase),
            locality=_probes(loc, self.loc_ans),
            line=line,
        )


def layout_of(record: object) -> type[Layout]:
    """Return the layout that a record's keys speak of; our own if none does."""
    if isinstance(record, Mapping):
        for layout in (NestedCounterFact, FlatCounterFact, Zsre):
            if not layout.marks.isdisjoint(record):
                return layout
    return Native


def _given(text: str | None) -> tuple[str, ...]:
    return () if text is None else (text,)


def _probes(prompt: str | None, answer: str | None) -> tuple[Probe, ...]:
    return () if prompt is None else (Probe(prompt=prompt, answer=answer),)
