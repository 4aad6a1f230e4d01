"""A report as a reader without scripts sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "input", "img", "link", "hr"}
INVISIBLE = {"script", "style", "svg", "title"}


@dataclass(frozen=True)
class Element:
    """An element with its attributes and the text in it."""

    name: str
    attributes: dict[str, str | None]
    text: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """The elements of a page, and the visible text that stands outside of ``<data>``."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.loose_text: list[str] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {[element.name for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        # Rows and cells are all closed in the page; anything else would be a broken template.
        assert self._open, tag
        assert self._open[-1].name == tag, f"{tag} closes {self._open[-1].name}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text.append(data)
        names = {element.name for element in self._open}
        if data.strip() and not names & {*INVISIBLE, "data"}:
            self.loose_text.append(data.strip())

    def all(self, name: str) -> list[Element]:
        """Return the elements of a name."""
        return [element for element in self.elements if element.name == name]

    def with_id(self, wanted: str) -> Element:
        """Return the element of an id."""
        (found,) = (e for e in self.elements if e.attributes.get("id") == wanted)
        return found
