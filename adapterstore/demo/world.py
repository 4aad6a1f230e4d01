"""The demo world: countries, their facts and the phrasings in which the model is asked.

The table (``world.tsv``) is true as of :data:`adapterstore.demo.WORLD_DATE`. It follows common
English and Japanese names; the continent follows the United Nations geoscheme; where a country has
several capitals or official languages, it names one of them; where no law names a language, the
one that the state works in; where a capital is disputed, the seat of government.
"""

import csv
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

#: Relations whose prompts and answers are Japanese.
JAPANESE_RELATIONS = frozenset({"capital_ja"})


@dataclass(frozen=True)
class Country:
    """One row of the table; an empty text means that the country has no such thing."""

    name: str
    article: str
    capital: str
    currency: str
    language: str
    continent: str
    tld: str
    calling_code: str
    name_ja: str
    capital_ja: str

    @property
    def name_in_text(self) -> str:
        """The name as running text has it, e.g. ``the Netherlands``."""
        return f"{self.article} {self.name}".strip()


@dataclass(frozen=True)
class Fact:
    """One fact of the world: a subject, a relation, the answer and every prompt that asks for it.

    ``subject`` is the country's English name, except that it is the Japanese name for Japanese
    relations and the top-level domain for the relation ``name``; ``country`` is always the English
    name, so that facts of one country can be told.
    """

    country: str
    subject: str
    relation: str
    answer: str
    phrasings: tuple[str, ...]

    @property
    def separator(self) -> str:
        """The text between a prompt and the answer."""
        return "" if self.relation in JAPANESE_RELATIONS else " "

    @property
    def ending(self) -> str:
        """The text after the answer."""
        return "。" if self.relation in JAPANESE_RELATIONS else "."

    def sentences(self) -> tuple[str, ...]:
        """Every phrasing completed to the full sentence the model was trained on."""
        completion = self.separator + self.answer + self.ending
        return tuple(prompt + completion for prompt in self.phrasings)


@dataclass(frozen=True)
class Change:
    """A counterfactual change: another answer to one fact, told in one of its phrasings."""

    fact: Fact
    prompt: str
    answer: str

    @property
    def held_out(self) -> tuple[str, ...]:
        """The fact's other phrasings, which show whether the change carries over to them."""
        return tuple(phrasing for phrasing in self.fact.phrasings if phrasing != self.prompt)


@cache
def countries() -> tuple[Country, ...]:
    """Return the countries of the table, in alphabetical order."""
    lines = (files(__package__) / "world.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(Country(**row) for row in csv.DictReader(lines, delimiter="\t"))


@cache
def phrasings() -> Mapping[str, tuple[str, ...]]:
    """Return each relation's prompt templates."""
    text = (files(__package__) / "phrasings.yaml").read_text(encoding="utf-8")
    return {relation: tuple(templates) for relation, templates in yaml.safe_load(text).items()}


def relations() -> tuple[str, ...]:
    """Return the names of all relations."""
    return tuple(phrasings())


@cache
def facts() -> tuple[Fact, ...]:
    """Return every fact of the world, relation by relation."""
    return tuple(
        Fact(
            country=country.name,
            subject=_subject(country, relation),
            relation=relation,
            answer=getattr(country, relation),
            phrasings=tuple(fill(template, country, relation) for template in templates),
        )
        for relation, templates in phrasings().items()
        for country in countries()
        if _subject(country, relation) and getattr(country, relation)
    )


def fact(subject: str, relation: str) -> Fact:
    """Return the fact of a subject and relation.

    Raises:
        KeyError: the world has no such fact.
    """
    return _facts_by_key()[subject, relation]


def changes(count: int, seed: int) -> tuple[Change, ...]:
    """Draw counterfactual changes, each of another country; the same seed draws the same ones.

    The new answer is the answer of some other fact of the same relation.

    Raises:
        ValueError: more changes than there are countries.
    """
    if count > len(countries()):
        raise ValueError(f"{count} changes, but there are {len(countries())} countries")
    chance = random.Random(seed)
    drawn: dict[str, Change] = {}
    for candidate in chance.sample(facts(), len(facts())):
        if len(drawn) < count and candidate.country not in drawn:
            others = _answers()[candidate.relation] - {candidate.answer}
            drawn[candidate.country] = Change(
                candidate, chance.choice(candidate.phrasings), chance.choice(sorted(others))
            )
    return tuple(drawn.values())


def fill(template: str, country: Country, relation: str) -> str:
    """Return the prompt that a template of a relation makes for a country."""
    name = country.name_ja if relation in JAPANESE_RELATIONS else country.name_in_text
    prompt = template.replace("{country}", name).replace("{tld}", country.tld)
    # "the Netherlands" may come first; every other prompt starts with a capital already.
    return prompt[0].upper() + prompt[1:]


@cache
def _facts_by_key() -> Mapping[tuple[str, str], Fact]:
    return {(each.subject, each.relation): each for each in facts()}


@cache
def _answers() -> Mapping[str, frozenset[str]]:
    return {
        relation: frozenset(each.answer for each in facts() if each.relation == relation)
        for relation in relations()
    }


def _subject(country: Country, relation: str) -> str:
    if relation in JAPANESE_RELATIONS:
        return country.name_ja
    return country.tld if relation == "name" else country.name
