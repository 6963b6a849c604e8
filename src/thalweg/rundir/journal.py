"""Results as they arrive: one SQLite table, every row chained to the one before by SHA-256.

An acknowledged row survives ``kill -9`` and loss of power (WAL, synchronous=FULL). The same row may
be put again (a resumed run does); a different one under the same key is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from thalweg.rundir.damage import DamagedRun, refused

Put = tuple[str, int, Mapping[str, Any], Mapping[str, np.ndarray]]

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
    member TEXT NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL UNIQUE,
    payload TEXT NOT NULL, arrays BLOB NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (member, segment));
CREATE TABLE IF NOT EXISTS head (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER, digest TEXT);
INSERT OR IGNORE INTO head VALUES (1, 0, '');
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One result: its key, numbers and strings, and named arrays."""

    member: str
    segment: int
    payload: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Journal:
    """The results of one run.

    Args:
        path: The database file; made if missing.

    Raises:
        DamagedRun: The file is not a journal, or not the one that was written.
        OSError: It cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open(f"file:{_quoted(path)}", writing=True)

    @classmethod
    def read(cls, path: Path) -> tuple[Row, ...]:
        """All rows, also while a writer runs or after it was killed; nothing is changed."""
        self = object.__new__(cls)
        self.path = path
        if not path.exists():
            raise FileNotFoundError(f"there is no journal at {path}")
        self._open(f"file:{_quoted(path)}?mode=ro", writing=False)
        rows = tuple(self.rows())
        self._base.close()
        return rows

    def _open(self, uri: str, writing: bool) -> None:
        try:
            self._base = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
        except sqlite3.OperationalError as error:
            raise refused(OSError(str(error)), self.path) from error
        try:
            if writing:
                self._base.execute("PRAGMA journal_mode=WAL")
                self._base.execute("PRAGMA synchronous=FULL")
                self._base.executescript(_TABLES)
            self._rows = {(row.member, row.segment): row for row in self._verified()}
        except sqlite3.OperationalError as error:
            self._base.close()
            raise self._trouble(error) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError) as error:
            self._base.close()
            raise DamagedRun(f"{self.path} is no intact journal: {error}") from error
        except DamagedRun:
            self._base.close()
            raise

    def _verified(self) -> Iterator[Row]:
        digest, count = "", 0
        query = "SELECT member, segment, payload, arrays, digest, place FROM rows ORDER BY place"
        for member, segment, payload, arrays, kept, place in self._base.execute(query):
            try:
                digest = _digest(digest, count, member, segment, payload, arrays)
                if digest != kept or place != count:
                    raise DamagedRun(f"{self.path}: the row '{member}', {segment} was altered")
                yield Row(member, segment, _load(payload), _unpack_arrays(arrays))
            except (TypeError, AttributeError) as error:  # a type that was never written
                raise DamagedRun(f"{self.path}: row {count} was altered") from error
            count += 1
        head = self._base.execute("SELECT count, digest FROM head").fetchall()
        if head != [(count, digest)]:
            raise DamagedRun(f"{self.path}: rows are missing at its end")
        self._count, self._digest = count, digest

    def put(self, rows: Iterable[Put]) -> None:
        """Keep rows in one transaction; when this returns, they are on disk.

        Raises:
            DamagedRun: A row is there already with other content.
            OSError: The disk refused; nothing of ``rows`` was kept.
        """
        new, digest, count = [], self._digest, self._count
        for member, segment, payload, arrays in rows:
            row = Row(member, int(segment), dict(payload), {k: _copy(a) for k, a in arrays.items()})
            text, blob = _dump(row.payload), _pack_arrays(row.arrays)
            if (known := self._rows.get((member, row.segment))) is not None:
                if (_dump(known.payload), _pack_arrays(known.arrays)) != (text, blob):
                    raise DamagedRun(
                        f"{self.path}: '{member}', {segment} came out differently this time. The "
                        "run was begun on another kind of machine, build or code; start afresh."
                    )
                continue
            digest = _digest(digest, count, member, row.segment, text, blob)
            new.append((row, (member, row.segment, count, text, blob, digest)))
            count += 1
        if not new:
            return
        try:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("INSERT INTO rows VALUES (?,?,?,?,?,?)", [n[1] for n in new])
            self._base.execute("UPDATE head SET count = ?, digest = ?", (count, digest))
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise self._trouble(error) from error
        self._digest, self._count = digest, count
        self._rows.update({(row.member, row.segment): row for row, _ in new})

    def _trouble(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return DamagedRun(f"{self.path} is no intact journal: {error}")
        import errno

        known = {
            sqlite3.SQLITE_FULL: errno.ENOSPC,
            sqlite3.SQLITE_IOERR: errno.EIO,
            sqlite3.SQLITE_READONLY: errno.EROFS,
            sqlite3.SQLITE_CANTOPEN: errno.EACCES,
            sqlite3.SQLITE_BUSY: errno.EBUSY,
        }
        if primary in known:
            return refused(OSError(known[primary], str(error)), self.path)
        return DamagedRun(f"{self.path} is no intact journal: {error}")

    def rows(self, member: str | None = None) -> list[Row]:
        """All rows, or those of one member, in the order they arrived."""
        return [row for row in self._rows.values() if member is None or row.member == member]

    def get(self, member: str, segment: int) -> Row | None:
        """One row, or None."""
        return self._rows.get((member, segment))

    def close(self) -> None:
        """Fold everything into one file."""
        try:
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._base.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError:
            pass  # a reader holds it: the write-ahead file stays, and stays valid
        finally:
            self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.resolve()))


def _digest(before: str, place: int, member: str, segment: int, text: str, blob: bytes) -> str:
    digest = hashlib.sha256(f"{before} {place} {len(member)} {member} {segment} ".encode())
    digest.update(text.encode())
    digest.update(blob)
    return digest.hexdigest()


def _copy(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=True)


def _dump(payload: Mapping[str, Any]) -> str:
    return json.dumps(_spell(payload), sort_keys=True, allow_nan=False)


def _spell(value: Any) -> Any:
    """Numbers that JSON lacks, as ``{"~float": "nan"}``."""
    if isinstance(value, Mapping):
        return {str(k): _spell(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_spell(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"~float": repr(float(value))}
    return float(value) if isinstance(value, np.floating) else value


def _load(text: str) -> dict[str, Any]:
    def read(item: dict[str, Any]) -> Any:
        return float(item["~float"]) if item.keys() == {"~float"} else item

    return json.loads(text, object_hook=read)


def _pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    table = [[name, a.dtype.str, list(a.shape)] for name, a in sorted(arrays.items())]
    head = json.dumps(table).encode()
    parts = [len(head).to_bytes(8, "little"), head]
    return b"".join(parts + [a.tobytes() for _, a in sorted(arrays.items())])


def _unpack_arrays(blob: bytes) -> dict[str, np.ndarray]:
    size = int.from_bytes(blob[:8], "little")
    at, arrays = 8 + size, {}
    for name, kind, shape in json.loads(blob[8:at]):
        count = math.prod(shape)
        array = np.frombuffer(blob, np.dtype(kind), count, at).reshape(shape)
        arrays[name] = array
        at += array.nbytes
    return arrays
