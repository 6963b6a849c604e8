"""How do records become one page? A single HTML file that needs no network and no server."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from thalweg.records import Record
from thalweg.registry import resolve
from thalweg.report.embed import pack, safe_json
from thalweg.report.sections import SECTIONS
from thalweg.report.sheet import Sheet, fill
from thalweg.rundir.atomic import atomic_write


def write(records: Sequence[Record], path: str | Path) -> Path:
    """Write one self-contained page.

    Args:
        records: What to show, in order; each of a class that a section draws.
        path: The HTML file; its folder is made. A reader never sees half a page.

    Returns:
        The absolute path of the page.

    Raises:
        ValueError: No records, or a class without a section.
    """
    target = Path(path).absolute()
    page = render(records).encode("utf-8", "backslashreplace")
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, page)
    return target


def render(records: Sequence[Record]) -> str:
    """The page as text (see ``write``)."""
    if not records:
        raise ValueError("a report needs at least one record; got none")
    sheets = [draw(record) for record in records]
    figures = {
        f"record-{place}/{figure.name}": asdict(figure)
        for place, sheet in enumerate(sheets)
        for figure in sheet.figures
    }
    plotly, script = get_plotlyjs(), _text("page.js")
    page = fill(
        "page.html.j2",
        title=sheets[0].title if len(sheets) == 1 else f"{len(sheets)} records",
        version=resolve("thalweg:__version__"),
        sheets=sheets,
        style=Markup(_text("style.css")),
        # Only these two scripts may run: an element that slipped in through a name would not.
        sources=Markup(f"{_digest(plotly)} {_digest(script)}"),
        plotly=Markup(plotly),
        script=Markup(script),
        records=pack(records),
        figures=safe_json(figures),
    )
    return str(page)


def draw(record: Record) -> Sheet:
    """The section that the record's class is registered for."""
    return SECTIONS.load(type(record).__name__)(record)


def _text(name: str) -> str:
    return (resources.files("thalweg.report") / "templates" / name).read_text("utf-8")


def _digest(script: str) -> str:
    value = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{value}'"
