"""What is a figure? Plain plotly data with a caption, drawn by the page.

Colours are names (``@hue0``, ``@ink``, ``@hue0/0.15`` with its opacity): the page puts in those of
the light or the dark scheme, so that one figure serves both.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from thalweg.records import Race


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart: what plotly is given, a caption, and a text for those who cannot see it."""

    name: str
    title: str
    caption: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 400


def optimizers(race: Race) -> list[str]:
    """The optimisers of a race, the best first."""
    return list(dict.fromkeys(entry.optimizer for entry in race.table))


def capital(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


def plotly_text(text: str) -> str:
    """Plotly reads a little HTML in its labels; names of others must stay plain text."""
    return html.escape(text, quote=False)
