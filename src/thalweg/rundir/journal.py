"""Results as they arrive: one SQLite table, every row chained to the one before by SHA-256.

An acknowledged row survives ``kill -9`` and loss of power (WAL, synchronous=FULL). The same row may
be put again (a resumed run does); a different one under the same key is refused. Beside the
database lies ``journal.head``: how far the chain had come at the last acknowledgement at the
earliest, so that a lost write-ahead file or an old copy of the database cannot pass for the whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from thalweg.rundir import head
from thalweg.rundir.damage import DamagedRun, refused
from thalweg.rundir.rows import MemoryJournal, Put, Row, Spelled
from thalweg.rundir.spelling import load, unpack_arrays

__all__ = ["Journal", "Put", "Row"]

_TABLES = {
    "head": "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL,"
    " digest TEXT NOT NULL)",
    "rows": "CREATE TABLE rows (member TEXT NOT NULL, segment INTEGER NOT NULL,"
    " place INTEGER NOT NULL UNIQUE, payload TEXT NOT NULL, arrays BLOB NOT NULL,"
    " digest TEXT NOT NULL, PRIMARY KEY (member, segment))",
}
_SYSTEM = {  # what SQLite says -> what the system would have said
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_AUTH: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
_CUT = 522  # SQLITE_IOERR_SHORT_READ: the file ends too early


class Journal:
    """The results of one run.

    Args:
        path: The database file.
        new: Make it (nothing of that name may be there); otherwise it must be there.

    Raises:
        DamagedRun: The file is missing, not a journal, or not the one that was written.
        OSError: It cannot be opened or written.
    """

    def __init__(self, path: Path, new: bool = False) -> None:
        self.path, self._closed = path, False
        self._head: head.Head | None = None
        if new:
            head.create(path)
        elif not path.exists():
            raise DamagedRun(f"{path} is missing: the run's results are gone")
        if path.is_dir():
            raise DamagedRun(f"{path} is a folder; a database was written there")
        self._connect(f"file:{quote(str(path.resolve()))}", "write", self._prepare, new)
        try:
            self._base.execute("PRAGMA journal_mode=WAL")
            self._head = head.Head(path)
        except BaseException as error:
            self._base.close()
            if isinstance(error, sqlite3.Error):
                raise self._trouble(error, "write") from error
            raise

    @classmethod
    def read(cls, path: Path) -> tuple[Row, ...]:
        """All rows, also while a writer runs or after it was killed; no content is changed.

        Raises:
            FileNotFoundError: There never was a journal.
            DamagedRun: As for :class:`Journal`.
            OSError: It cannot be read.
        """
        if not path.exists():
            if head.beside(path).exists():
                raise DamagedRun(f"{path} is missing: the run's results are gone")
            raise FileNotFoundError(errno.ENOENT, "there is no journal", str(path))
        self = object.__new__(cls)
        self.path, self._head, self._closed = path, None, True
        place = f"file:{quote(str(path.resolve()))}?mode=ro"
        try:
            self._connect(place, "read")
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EROFS):
                raise
            self._read_copy()
        rows = tuple(self.rows())
        self._base.close()
        return rows

    def _read_copy(self) -> None:
        """Read a killed writer's journal where SQLite may not put its index beside it."""
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory(prefix="thalweg-journal-") as folder:
            for ending in ("", "-wal"):
                beside = self.path.with_name(self.path.name + ending)
                if beside.exists():
                    shutil.copy(beside, Path(folder, "journal" + ending))
            self._connect(f"file:{quote(folder)}/journal", "read")

    def _connect(self, place: str, doing: str, *prepare: Any) -> None:
        """Open the database, let ``prepare`` work on it, and read and verify every row."""
        least = head.read(self.path)  # before the rows: a writer may be adding some
        try:
            self._base = sqlite3.connect(place, uri=True, isolation_level=None, timeout=10)
        except sqlite3.Error as error:
            raise self._trouble(error, doing) from error
        try:
            if prepare:
                prepare[0](*prepare[1:])
            self._rows = MemoryJournal(self._verified(least), str(self.path))
        except BaseException as error:
            self._base.close()
            if isinstance(error, sqlite3.Error):
                raise self._trouble(error, doing) from error
            if isinstance(error, UnicodeDecodeError | OverflowError):
                raise DamagedRun(f"{self.path} is no intact journal: {error}") from error
            raise

    def _prepare(self, new: bool) -> None:
        """Make the tables, or look through the whole file before anything is added to it."""
        run = self._base.execute
        run("PRAGMA synchronous=FULL")
        if new:
            run("BEGIN IMMEDIATE")
            for statement in _TABLES.values():
                run(statement)
            run("INSERT INTO head VALUES (1, 0, ?)", (head.START,))
            run("COMMIT")
            return
        found = run("PRAGMA integrity_check(1)").fetchall()
        if found != [("ok",)]:
            raise DamagedRun(f"{self.path} is no intact journal: {found[0][0]!s:.200}")

    def _verified(self, least: tuple[int, str]) -> Iterator[Row]:
        """Every row, held to the chain and to what was acknowledged."""
        run = self._base.execute
        run("BEGIN")  # one instant for all three questions, also while a writer runs
        tables = run("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        if dict(tables) != _TABLES:
            raise DamagedRun(f"{self.path} is no intact journal: its tables are others")
        self._chain: list[str] = [head.START]
        query = "SELECT member, segment, payload, arrays, digest, place FROM rows ORDER BY place"
        for row in run(query):
            yield self._check(*row)
        count, digest = len(self._chain) - 1, self._chain[-1]
        if run("SELECT id, count, digest FROM head").fetchall() != [(1, count, digest)]:
            raise DamagedRun(f"{self.path}: rows are missing at its end")
        run("COMMIT")
        if not self.passed(list(least)):
            raise DamagedRun(f"{self.path}: {least[0]} rows were acknowledged, {count} are there")

    def _check(
        self, member: str, segment: int, payload: str, arrays: bytes, kept: str, place: int
    ) -> Row:
        count = len(self._chain) - 1
        kinds = [type(item) for item in (member, segment, payload, arrays, kept, place)]
        if kinds != [str, int, str, bytes, str, int]:
            raise DamagedRun(f"{self.path}: row {count} was altered")
        digest = _digest(self._chain[-1], count, member, segment, payload, arrays)
        if digest != kept or place != count:
            raise DamagedRun(f"{self.path}: the row '{member}', {segment} was altered")
        self._chain.append(digest)
        return Row(member, segment, load(payload), unpack_arrays(arrays))

    def put(self, rows: Iterable[Put]) -> None:
        """Keep rows in one transaction; when this returns, they are on disk.

        Raises:
            DamagedRun: A row is there already with other content.
            OSError: The disk refused; nothing of ``rows`` was kept.
            TypeError: A row holds what a journal cannot.
            ValueError: A key that a journal cannot hold, or the journal is closed.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed; open the run again to go on with it")
        new = self._rows.unknown(rows)
        if new:
            self._commit(new)
            self._rows.add(new)

    def _commit(self, new: list[Spelled]) -> None:
        chain, values = [self._chain[-1]], []
        for count, (row, text, data) in enumerate(new, len(self._rows)):
            chain.append(_digest(chain[-1], count, row.member, row.segment, text, data))
            values.append((row.member, row.segment, count, text, data, chain[-1]))
        count = len(self._rows) + len(new)
        try:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("INSERT INTO rows VALUES (?,?,?,?,?,?)", values)
            self._base.execute("UPDATE head SET count = ?, digest = ?", (count, chain[-1]))
            self._base.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._trouble(error, "write") from error
            raise
        self._chain += chain[1:]
        if self._head is not None:
            self._head.note(count, chain[-1])

    def _trouble(self, error: sqlite3.Error, doing: str) -> Exception:
        code = getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_CORRUPT
        number = _SYSTEM.get(code & 0xFF)
        if number is None or code == _CUT:
            return DamagedRun(f"{self.path} is no intact journal: {error}")
        return refused(OSError(number, os.strerror(number)), self.path, doing)

    def rows(self, member: str | None = None) -> list[Row]:
        """All rows, or those of one member, in the order they arrived."""
        return self._rows.rows(member)

    def get(self, member: str, segment: int) -> Row | None:
        """One row, or None."""
        return self._rows.get(member, segment)

    def last_segment(self, member: str) -> int | None:
        """The highest segment of a member; None if it has no row."""
        return self._rows.last_segment(member)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def mark(self) -> list[Any]:
        """Where the chain stands: number of rows and the last one's digest."""
        return [len(self._chain) - 1, self._chain[-1]]

    def passed(self, mark: Any) -> bool:
        """Whether the chain once stood at ``mark``, so that nothing before it was lost."""
        count, digest = mark
        return 0 <= count < len(self._chain) and self._chain[count] == digest

    def close(self) -> None:
        """Fold everything into one file; where a reader or a full disk prevents that, leave two."""
        with contextlib.suppress(sqlite3.Error):
            self._base.execute("PRAGMA busy_timeout=500")
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._base.execute("PRAGMA journal_mode=DELETE")
        self._base.close()
        self._closed = True
        if self._head is not None:
            self._head.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _digest(before: str, place: int, member: str, segment: int, text: str, data: bytes) -> str:
    sizes = f"{before} {place} {len(member)} {len(text)} {segment} {member}"
    return hashlib.sha256(b"".join((sizes.encode(), text.encode(), data))).hexdigest()
