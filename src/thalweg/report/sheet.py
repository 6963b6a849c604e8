"""What does a section hand to the page? Its title, its HTML and its figures."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from thalweg.report.figures import Figure
from thalweg.report.numbers import clean


@dataclass(frozen=True, slots=True)
class Sheet:
    """One record, drawn."""

    title: str
    summary: str  # one line, for the page's table of contents and description
    body: Markup
    figures: tuple[Figure, ...] = ()


@functools.cache
def environment() -> Environment:
    """The templates of the package: everything put into them is escaped unless it is Markup."""
    made = Environment(
        loader=PackageLoader("thalweg.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["clean"] = clean
    return made


def fill(template: str, **values: Any) -> Markup:
    """A template with its values, safe to put into another one."""
    return Markup(environment().get_template(template).render(**values))
