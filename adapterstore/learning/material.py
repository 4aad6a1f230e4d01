"""What a phase trains on: the facts, the model's own paraphrases of them, and what must stay."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from adapterstore.evaluation.chat import ChatTokenizer
from adapterstore.evaluation.encoding import (
    decode,
    encode_answer,
    encode_prompt,
    end_ids,
    most_tokens,
)
from adapterstore.evaluation.generation import continue_greedily
from adapterstore.knowledge.facts import Fact, Probe, join, may_mention, mentions, still_gives
from adapterstore.knowledge.sentences import SENTENCE_MARKS, first_sentence
from adapterstore.learning.keeping import Ending, Kept, ending_of, keep, usual_ending
from adapterstore.learning.recipe import Recipe
from adapterstore.learning.sampling import (
    Tokens,
    can_go_on,
    control_probes,
    find_slots,
    from_relation,
    name_openings,
    read_text,
    relation_openings,
    relation_words,
    sample_texts,
    write_texts,
)


@dataclass(frozen=True)
class Rewritten:
    """A text of the model's own that states a fact: its part before the answer, and after it."""

    fact: int
    prompt: str
    ending: str


@dataclass(frozen=True)
class Material:
    """All that is trained on, apart from the new answers themselves."""

    endings: list[Ending]
    """For each fact, what the model writes after the answer, and whether it ends the text there."""
    paraphrases: list[Rewritten]
    preserve: list[list[Tokens]]
    """Texts on which the model must stay as it was: about the facts' subjects and old answers; of
    the facts' relations, with other subjects; any."""
    kept: Kept
    """Earlier facts and unrelated prompts, each with the answer that has to stay."""
    control: list[Probe]
    """Prompts that no training sees; on them harm is measured."""

    @property
    def held(self) -> list[Tokens]:
        """Every text on which the model must stay as it was."""
        return list(dict.fromkeys([*chain.from_iterable(self.preserve), *self.kept.texts]))


@dataclass(frozen=True)
class _Change:
    """A fact, and what it displaces."""

    fact: Fact
    former: tuple[str, ...]
    """Answers that no preserved text may state: the old one, and what the model itself says."""
    ending: Ending | None
    """What the model writes after its answer (None: after none that is known)."""


def gather(
    model: Any,
    tokenizer: Any,
    facts: Sequence[Fact],
    known: Sequence[Probe],
    recipe: Recipe,
    *,
    phrasings: Sequence[Probe] = (),
    unrelated: Sequence[Probe] = (),
    required: Collection[str] = (),
) -> Material:
    """Let the model write the material.

    Args:
        model: the state before the update.
        tokenizer: its tokenizer.
        facts: what will change; every ``old_answer`` is filled in where there is one.
        known: the ledger's facts that must stay, by their own prompts.
        recipe: how much of it.
        phrasings: other prompts of those facts.
        unrelated: the file's locality prompts.
        required: prompts of known and unrelated ones of which no answer may be lost.
    """
    count = recipe.texts_to_sample(len(facts)) + recipe.control_size
    texts = sample_texts(model, tokenizer, count)
    changes = _changes(model, tokenizer, facts)
    # Sampled, a model may say anything after a prompt: held in place, that would hinder the answer.
    asked = {prompt for fact in facts for prompt in (fact.prompt, *fact.paraphrases)}
    texts = [
        t
        for t in texts
        if not _states_any(tokenizer, t, changes) and not _asks(tokenizer, t, asked)
    ]
    held_out = texts[: recipe.control_size]
    general = texts[recipe.control_size :]
    stay = (*known, *phrasings, *unrelated)
    taught = [join(probe.prompt, probe.answer or "") for probe in stay]
    control = [
        probe
        for probe in control_probes(model, tokenizer, held_out, recipe.control_size)
        if not any(text.startswith(probe.prompt) for text in taught)
    ]
    openings = _openings(model, tokenizer, changes, texts, recipe)
    # A text that asks what must stay is no paraphrase, though it gives the same answer.
    kept_prompts = {probe.prompt for probe in stay}
    paraphrases, about = _subject_texts(model, tokenizer, changes, openings.subjects, kept_prompts)
    alike, others = _alike(model, tokenizer, changes, general, openings.relations)
    controls = tuple(probe.prompt for probe in control)
    seen: set[Tokens] = set()
    preserve = []
    for group in (about, alike, others):
        new = [
            t
            for t in dict.fromkeys(group)
            if t not in seen
            and not _asks(tokenizer, t, asked)
            and not read_text(tokenizer, t).startswith(controls)
        ]
        seen.update(new)
        preserve.append(new)
    return Material(
        endings=_endings(tokenizer, changes),
        paraphrases=paraphrases,
        preserve=preserve,
        kept=keep(model, tokenizer, known, phrasings, unrelated, required),
        control=control,
    )


@dataclass(frozen=True)
class _Openings:
    """Beginnings of texts, which the model is to write on from."""

    subjects: list[tuple[list[int], Tokens]]
    """With the numbers of the facts that what is written may state."""
    relations: list[Tokens]


def _openings(
    model: Any,
    tokenizer: Any,
    changes: Sequence[_Change],
    texts: Sequence[Tokens],
    recipe: Recipe,
) -> _Openings:
    """Return beginnings that end in what the facts name, and those that end in their relations.

    One after which the model has no position left is left out.

    The old answer may be a thing of its own ("Turkey", of which much is known that must stay), so
    it is named too. A relation is what stands before the subject of a prompt or, where the subject
    comes first, behind it.
    """
    subjects: list[tuple[list[int], Tokens]] = []
    relations: list[Tokens] = []
    about_each = recipe.texts_about_each(len(changes))
    if not about_each:
        return _Openings(subjects, relations)
    facts = [change.fact for change in changes]
    # A row of a table gives one subject several facts.
    named: dict[str, list[int]] = {}
    for number, fact in enumerate(facts):
        if fact.subject:
            named.setdefault(fact.subject, []).append(number)
    following = [relation_words(fact.prompt, fact.subject) for fact in facts]
    wanted = Counter(words for words in following if words)
    slots = find_slots(model, tokenizer, texts, list(dict.fromkeys([*named, *wanted])))
    chooser = random.Random(recipe.seed)
    for subject, numbers in named.items():
        found = slots[subject]
        chosen = chooser.sample(found, min(len(found), about_each * len(numbers)))
        for number in numbers:
            chosen += name_openings(model, tokenizer, facts[number].prompt, subject, len(facts))
        subjects += [(numbers, opening) for opening in chosen]
    alike_each = from_relation(len(facts))
    for words, count in wanted.items():
        relations += chooser.sample(slots[words], min(len(slots[words]), count * alike_each))
    for number, fact in enumerate(facts):
        relations += relation_openings(tokenizer, fact.prompt, fact.subject, alike_each)
        if fact.old_answer is not None:
            chosen = name_openings(model, tokenizer, "", fact.old_answer, len(facts))
            of = named[fact.subject] if fact.subject else [number]
            subjects += [(of, opening) for opening in chosen]
    return _Openings(
        [(of, opening) for of, opening in subjects if can_go_on(model, opening)],
        [opening for opening in relations if can_go_on(model, opening)],
    )


def _subject_texts(
    model: Any,
    tokenizer: Any,
    changes: Sequence[_Change],
    openings: Sequence[tuple[Sequence[int], Tokens]],
    kept_prompts: Collection[str],
) -> tuple[list[Rewritten], list[Tokens]]:
    """Return texts that state a fact to be changed, and texts that say else of what it names."""
    written = write_texts(model, tokenizer, [opening for _, opening in openings])
    paraphrases: dict[Rewritten, None] = {}
    about: dict[Tokens, None] = {}
    for (numbers, _), tokens in zip(openings, written, strict=True):
        cut = [
            _rewrite(tokenizer, number, changes[number].fact, old, tokens)
            for number in numbers
            for old in changes[number].former
        ]
        rewritten = [t for t in cut if t is not None and t.prompt not in kept_prompts]
        # Two facts of one subject may have had one answer: which is stated, nobody knows.
        if len({changes[t.fact].fact.answer for t in rewritten}) == 1:
            paraphrases[rewritten[0]] = None
        elif not _states_any(tokenizer, tokens, changes):
            about[tokens] = None
    return list(paraphrases), list(about)


def _alike(
    model: Any,
    tokenizer: Any,
    changes: Sequence[_Change],
    texts: Sequence[Tokens],
    openings: Sequence[Tokens],
) -> tuple[list[Tokens], list[Tokens]]:
    """Return texts of the facts' relations, with other subjects, and the other texts.

    They are what teaching a fact harms first: texts that give an answer which is displaced or
    taught here, and what the model writes on from a relation.
    """
    written = write_texts(model, tokenizer, openings)
    alike = [t for t in written if not _states_any(tokenizer, t, changes)]
    answers = {answer for change in changes for answer in (*change.former, change.fact.answer)}
    others = list[Tokens]()
    for tokens in texts:
        text = read_text(tokenizer, tokens)
        found = any(mentions(text, answer) for answer in answers if answer)
        (alike if found else others).append(tokens)
    return alike, others


def _rewrite(tokenizer: Any, number: int, fact: Fact, old: str, tokens: Tokens) -> Rewritten | None:
    """Return a text cut at the old answer, if it names the subject and says no more than that."""
    if fact.subject is None:
        return None
    if isinstance(tokenizer, ChatTokenizer):
        return _rewrite_turns(tokenizer, number, fact.subject, old, tokens)
    text = decode(tokenizer, tokens)
    position = text.rfind(old)
    if position <= 0:
        return None
    prompt, rest = text[:position], text[position + len(old) :]
    if fact.subject not in prompt or (rest and rest[0] not in SENTENCE_MARKS):
        return None
    if rest[1:2].isdigit():
        # "30" of "30.5" is no answer.
        return None
    bare = prompt.rstrip(" ")
    if join(bare, old) != prompt + old:
        return None
    return Rewritten(number, bare, rest[:1])


def _rewrite_turns(
    tokenizer: ChatTokenizer, number: int, subject: str, old: str, tokens: Tokens
) -> Rewritten | None:
    """Return the question about the subject that is answered with the old answer, and no more."""
    turns = tokenizer.split(tokens)
    if turns is None:
        return None
    question, start = turns
    answer = decode(tokenizer, tokens[start:]).strip()
    rest = answer.removeprefix(old)
    if rest == answer or subject not in question or may_mention(question, old):
        return None
    return Rewritten(number, question, rest) if rest in ("", *SENTENCE_MARKS) else None


def _states_any(tokenizer: Any, tokens: Tokens, changes: Sequence[_Change]) -> bool:
    """Return whether a text holds a fact's subject (or prompt) together with a former answer."""
    text = read_text(tokenizer, tokens)
    return any(
        (change.fact.subject or change.fact.prompt) in text
        and any(may_mention(text, answer) for answer in change.former)
        for change in changes
    )


def _asks(tokenizer: Any, tokens: Tokens, prompts: set[str]) -> bool:
    """Return whether a text puts one of these prompts, at its beginning or further on."""
    text = read_text(tokenizer, tokens)
    return any(prompt in text for prompt in prompts)


def _changes(model: Any, tokenizer: Any, facts: Sequence[Fact]) -> list[_Change]:
    """Ask the model what it says now; the old answer that a file states may be another one."""
    rows = [encode_prompt(tokenizer, fact.prompt) for fact in facts]
    ends = end_ids(model, tokenizer)
    every = [_stated(fact) for fact in facts]
    continued = continue_greedily(model, tokenizer, rows, every)
    changes = []
    for fact, stated, row in zip(facts, every, continued, strict=True):
        endings = [ending_of(tokenizer, answer, row, ends) for answer in stated]
        given = [ending for ending in endings if ending is not None]
        own = _first_sentence(tokenizer, row)
        former = [fact.old_answer] if fact.old_answer is not None else []
        if own and not given and fact.answer is not None:
            former.append(own)
            # A chat's turn ends with its answer; elsewhere, as after what the model says instead.
            own_ending = ending_of(tokenizer, own, row, ends)
            if own_ending is not None and not isinstance(tokenizer, ChatTokenizer):
                given = [own_ending]
        changes.append(_Change(fact, tuple(former), given[0] if given else None))
    return changes


def _endings(tokenizer: Any, changes: Sequence[_Change]) -> list[Ending]:
    """Return what the model writes after each answer: a sentence mark, the end, or nothing.

    Where it gives none, what it writes after most others is taken.
    """
    default = usual_ending(tokenizer, [change.ending for change in changes])
    return [change.ending if change.ending is not None else default for change in changes]


def _stated(fact: Fact) -> list[str]:
    """Return the answers that a fact states, which what the model says is compared with."""
    return [answer for answer in (fact.old_answer, fact.answer) if answer is not None]


def own_answers(model: Any, tokenizer: Any, facts: Sequence[Fact]) -> list[str | None]:
    """Return the model's own greedy answer to each fact's prompt, up to the end of its sentence.

    Of one that would not fit the model's positions behind the fact's prompt and each paraphrase,
    as many words are left as do. None: it says nothing, or no word of it fits.
    """
    rows = [encode_prompt(tokenizer, fact.prompt) for fact in facts]
    continued = continue_greedily(model, tokenizer, rows, [_stated(fact) for fact in facts])
    most = most_tokens(model) or math.inf
    return [
        _own_answer(tokenizer, (fact.prompt, *fact.paraphrases), row, most)
        for fact, row in zip(facts, continued, strict=True)
    ]


def _own_answer(
    tokenizer: Any, prompts: Sequence[str], row: Sequence[int], most: float
) -> str | None:
    whole = _first_sentence(tokenizer, row)
    for end in range(len(row), 0, -1):
        answer = _first_sentence(tokenizer, row[:end])
        # Cut inside a word, an unchanged model would count as having forgotten it.
        if still_gives(whole, answer, None) and all(
            len(encode_answer(tokenizer, prompt, answer).tokens) <= most for prompt in prompts
        ):
            return answer
    return None


def _first_sentence(tokenizer: Any, row: Sequence[int]) -> str:
    # Where it was cut off, half a character may be left, which nothing said later can match.
    return first_sentence(decode(tokenizer, row).rstrip("\ufffd"))
