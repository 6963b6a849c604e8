"""How do the numbers travel inside the page? As JSON that no name can break out of, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from markupsafe import Markup

import thalweg.records
from thalweg.records import Record
from thalweg.report.sections import SECTIONS

# Inside <script> nothing is unescaped by the browser, so what could end it is written as \uXXXX.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def safe_json(value: Any) -> Markup:
    """Strict JSON that may stand inside a ``<script>`` element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return Markup(text)


def pack(records: Sequence[Record]) -> Markup:
    """Records with the names of their classes, as the page carries them."""
    return safe_json([{"class": type(r).__name__, "record": r.to_dict()} for r in records])


def unpack(page: str) -> list[Record]:
    """The records that a page carries.

    Args:
        page: The HTML of a page that this package wrote.

    Raises:
        ValueError: There are none in it, or they are of another version.
    """
    finder = _Finder()
    finder.feed(page)
    if finder.text is None:
        raise ValueError("the page carries no thalweg records")
    return [revive(item["class"], item["record"]) for item in json.loads(finder.text)]


def revive(name: str, values: dict[str, Any]) -> Record:
    """The record of that class from its values; ``ValueError`` for a class no section draws."""
    SECTIONS[name]  # only known names are looked up
    return getattr(thalweg.records, name).from_dict(values)


class _Finder(HTMLParser):
    """Collects the text of ``<script id="records">``."""

    def __init__(self) -> None:
        super().__init__()
        self.text: str | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open the one element."""
        if tag == "script" and ("id", "records") in attrs and self.text is None:
            self._inside, self.text = True, ""

    def handle_data(self, data: str) -> None:
        """Keep what stands in it."""
        if self._inside and self.text is not None:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        if tag == "script":
            self._inside = False
