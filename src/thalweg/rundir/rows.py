"""What is a row, and what makes two of them the same? Shared by journals on disk and in memory."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from thalweg.rundir.damage import DamagedRun
from thalweg.rundir.spelling import dump, load, pack_arrays, unpack_arrays

if TYPE_CHECKING:
    import numpy as np

Put: TypeAlias = "tuple[str, int, Mapping[str, Any], Mapping[str, np.ndarray]]"


@dataclass(frozen=True, slots=True)
class Row:
    """One result: its key, numbers and strings, and named arrays (read-only)."""

    member: str
    segment: int
    payload: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Spelled(NamedTuple):
    """A row and how a file spells it."""

    row: Row
    text: str
    data: bytes


class MemoryJournal:
    """Rows by key, each there once.

    >>> journal = MemoryJournal()
    >>> journal.put([("sgd", 0, {"loss": 2.0}, {}), ("sgd", 1, {"loss": 1.0}, {})])
    >>> journal.last_segment("sgd"), ("sgd", 2) in journal, len(journal)
    (1, False, 2)

    Args:
        rows: What is in it at the start.
        name: What messages call it.
    """

    def __init__(self, rows: Iterable[Row] = (), name: str = "the run in memory") -> None:
        self._rows = {(row.member, row.segment): row for row in rows}
        self._name = name

    def put(self, rows: Iterable[Put]) -> None:
        """Keep rows, all or none of them; what is there already may come again.

        Raises:
            DamagedRun: A row is there already with other content.
            TypeError: A row holds what a journal cannot.
            ValueError: A key that a journal cannot hold.
        """
        self.add(self.unknown(rows))

    def unknown(self, rows: Iterable[Put]) -> list[Spelled]:
        """Those of ``rows`` that are not there yet, checked; raises as :meth:`put`."""
        new: dict[tuple[str, int], Spelled] = {}
        for member, number, payload, arrays in rows:
            key = member, segment = _key(member, number)
            text, data = dump(payload), pack_arrays(arrays)
            known = self._rows.get(key) or (new[key].row if key in new else None)
            if known is None:
                new[key] = Spelled(Row(*key, load(text), unpack_arrays(data)), text, data)
            elif (dump(known.payload), pack_arrays(known.arrays)) != (text, data):
                raise DamagedRun(
                    f"{self._name}: '{member}', {segment} came out differently this time. The "
                    "run was begun on another kind of machine, build or code; start afresh."
                )
        return list(new.values())

    def add(self, rows: Iterable[Spelled]) -> None:
        """Take in what :meth:`unknown` answered."""
        self._rows.update({(row.member, row.segment): row for row, _, _ in rows})

    def rows(self, member: str | None = None) -> list[Row]:
        """All rows, or those of one member, in the order they arrived."""
        return [row for row in self._rows.values() if member is None or row.member == member]

    def get(self, member: str, segment: int) -> Row | None:
        """One row, or None."""
        return self._rows.get((member, segment))

    def last_segment(self, member: str) -> int | None:
        """The highest segment of a member; None if it has no row."""
        return max((number for name, number in self._rows if name == member), default=None)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)


def _key(member: Any, segment: Any) -> tuple[str, int]:
    if not isinstance(member, str):
        raise TypeError(f"a journal row's member is a string, not {member!r:.80}")
    if not member.isascii() and any("\ud800" <= letter <= "\udfff" for letter in member):
        raise ValueError(f"the name {member!r:.80} holds half a character (a lone surrogate)")
    if isinstance(segment, bool) or not hasattr(segment, "__index__"):
        raise TypeError(f"the segment of '{member}' is a whole number, not {segment!r:.80}")
    if not -(2**63) <= operator.index(segment) < 2**63:
        raise ValueError(f"the segment of '{member}' must fit into 64 bits, got {segment}")
    return member, operator.index(segment)
