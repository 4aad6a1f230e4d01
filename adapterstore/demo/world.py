"""The demo world: countries, their facts and the phrasings in which the model is asked.

The table (``world.tsv``) is true as of :data:`adapterstore.demo.WORLD_DATE`. It follows common
English names; the continent follows the United Nations geoscheme; where a country has several
capitals or official languages, it names one of them.
"""

import csv
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
    relations and the top-level domain for the relation ``name``.
    """

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


@cache
def countries() -> tuple[Country, ...]:
    """Return the countries of the table, in alphabetical order."""
    with (files(__package__) / "world.tsv").open(encoding="utf-8", newline="") as table:
        return tuple(Country(**row) for row in csv.DictReader(table, delimiter="\t"))


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
    """Return the fact of a subject and relation; raise KeyError if the world has none."""
    for candidate in facts():
        if (candidate.subject, candidate.relation) == (subject, relation):
            return candidate
    raise KeyError((subject, relation))


def fill(template: str, country: Country, relation: str) -> str:
    """Return the prompt that a template of a relation makes for a country."""
    name = country.name_ja if relation in JAPANESE_RELATIONS else country.name_in_text
    prompt = template.replace("{country}", name).replace("{tld}", country.tld)
    # "the Netherlands" may come first; every other prompt starts with a capital already.
    return prompt[0].upper() + prompt[1:]


def _subject(country: Country, relation: str) -> str:
    if relation in JAPANESE_RELATIONS:
        return country.name_ja
    return country.tld if relation == "name" else country.name
