"""Which members does a family have? A table of names, resolved to objects only on use.

Listing names must stay cheap: the command line shows them before torch is imported.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


def resolve(target: str) -> Any:
    """Import what ``"package.module:attribute"`` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a family: where it lives, in one line what it is, and who published it."""

    name: str
    target: str
    summary: str
    reference: str = ""

    def load(self) -> Any:
        """Import and return the object itself."""
        return resolve(self.target)


class Registry:
    """The members of one family by name.

    >>> tasks = Registry("task", Member("half", "fractions:Fraction", "a number"))
    >>> tasks.names(), tasks.load("half")(1, 2)
    (('half',), Fraction(1, 2))
    """

    def __init__(self, family: str, *members: Member) -> None:
        self.family = family
        self._members = {member.name: member for member in members}
        if len(self._members) != len(members):
            raise ValueError(f"two members of the {family} registry share a name")

    def names(self) -> tuple[str, ...]:
        """Every name, in the order of the table."""
        return tuple(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Member:
        """The member called ``name``; ``ValueError`` with the nearest name otherwise."""
        if name not in self._members:
            raise ValueError(f"unknown {self.family} '{name}'. {suggest(name, self.names())}")
        return self._members[name]

    def load(self, name: str) -> Any:
        """Import and return the object called ``name``."""
        return self[name].load()


def suggest(name: str, known: tuple[str, ...]) -> str:
    """One sentence that helps a person who mistyped ``name``."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(known)}."
