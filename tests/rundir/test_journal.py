"""Rows are there exactly once, whoever reads, kills or edits."""

import os
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from thalweg.rundir import DamagedRun
from thalweg.rundir.journal import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def keys(rows):
    return [(row.member, row.segment) for row in rows]


def test_rows_come_back_in_the_order_they_arrived(path, sample):
    with Journal(path, new=True) as journal:
        journal.put([sample.row(5), sample.row(0)])
        journal.put([sample.row(3)])
        before = journal.rows()
    with Journal(path) as journal:
        after = journal.rows()
    assert keys(after) == keys(before) == [sample.row(k)[:2] for k in (5, 0, 3)]
    for one, two in zip(before, after, strict=True):
        assert one.payload == two.payload
        np.testing.assert_array_equal(one.arrays["values"], two.arrays["values"])


def test_a_row_in_memory_is_what_a_later_reader_gets(path):
    with Journal(path, new=True) as journal:
        values = np.arange(3.0)
        journal.put([("m", 0, {"pair": (1, 2), "x": np.float32("nan")}, {"v": values})])
        values[:] = 9
        row = journal.get("m", 0)
        assert row.payload["pair"] == [1, 2]
        assert row.arrays["v"].tolist() == [0, 1, 2]
        assert repr(Journal.read(path)[0]) == repr(row)


def test_the_same_row_may_be_put_again_and_another_one_may_not(path, sample):
    member, segment, payload, arrays = sample.row(0)
    with Journal(path, new=True) as journal:
        journal.put([sample.row(0), sample.row(0)])
        journal.put([sample.row(0)])
        with pytest.raises(DamagedRun, match="came out differently this time"):
            journal.put([(member, segment, payload | {"loss": 2.0}, arrays)])
        with pytest.raises(DamagedRun, match="came out differently"):
            journal.put([(member, segment, payload, {"values": arrays["values"] + 1})])
        assert len(journal.rows()) == 1


def test_one_bad_row_keeps_the_whole_batch_out(path, sample):
    with Journal(path, new=True) as journal:
        with pytest.raises(TypeError, match="a journal row cannot hold set"):
            journal.put([sample.row(0), ("m", 1, {"x": {1}}, {})])
        assert journal.rows() == []
        journal.put([sample.row(0)])
    assert len(Journal.read(path)) == 1


def test_rows_of_one_member(path, sample):
    with Journal(path, new=True) as journal:
        journal.put([sample.row(k) for k in range(7)])
        assert keys(journal.rows("sgd lr=0")) == [("sgd lr=0", k) for k in range(3)]
        assert journal.get("sgd lr=0", 9) is None


def test_closing_leaves_one_database_file(path):
    with Journal(path, new=True) as journal:
        journal.put([("m", 0, {}, {})])
        assert path.with_name("journal.sqlite-wal").exists()
    assert sorted(os.listdir(path.parent)) == ["journal.head", "journal.sqlite"]
    journal.close()  # again: nothing happens


def test_readers_see_every_acknowledged_row_while_the_writer_runs(path, sample):
    with Journal(path, new=True) as journal:
        for k in range(5):
            journal.put([sample.row(k)])
            assert keys(Journal.read(path)) == keys(journal.rows())


def test_a_reader_in_the_way_delays_folding_but_loses_nothing(path, sample):
    journal = Journal(path, new=True)
    journal.put([sample.row(0)])
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    cursor = reader.execute("SELECT * FROM rows")
    journal.put([sample.row(1)])
    journal.close()
    cursor.close()
    reader.close()
    assert len(Journal.read(path)) == 2
    with Journal(path) as journal:
        journal.put([sample.row(2)])
    assert len(Journal.read(path)) == 3
    assert sorted(os.listdir(path.parent)) == ["journal.head", "journal.sqlite"]


KILLED = """
    import os, sys
    from pathlib import Path
    from thalweg.rundir.journal import Journal
    journal = Journal(Path(sys.argv[1]), new=True)
    for k in range(4):
        journal.put([("m", k, {"k": k}, {})])
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def killed(path):
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(path)], check=False)
    assert path.with_name("journal.sqlite-wal").stat().st_size
    return path


def test_rows_of_a_killed_writer_are_read_and_gone_on_with(killed):
    assert len(Journal.read(killed)) == 4
    with Journal(killed) as journal:
        journal.put([("m", 4, {"k": 4}, {})])
    assert keys(Journal.read(killed)) == [("m", k) for k in range(5)]


@pytest.mark.parametrize("ending", ["-shm", ""])
def test_rows_of_a_killed_writer_are_read_from_a_read_only_disk(killed, mounted, ending):
    if ending:
        killed.with_name("journal.sqlite-shm").unlink()
    place = mounted("--bind", str(killed.parent), at="view")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    assert len(Journal.read(place / "journal.sqlite")) == 4


def test_a_lost_write_ahead_file_is_noticed(killed):
    killed.with_name("journal.sqlite-wal").unlink()
    for reading in (Journal, Journal.read):
        with pytest.raises(DamagedRun, match=r"intact|acknowledged"):
            reading(killed)


def test_an_older_copy_of_the_journal_is_noticed(path, sample):
    with Journal(path, new=True) as journal:
        journal.put([sample.row(0)])
    old = path.read_bytes()
    with Journal(path) as journal:
        journal.put([sample.row(1)])
    path.write_bytes(old)
    with pytest.raises(DamagedRun, match="2 rows were acknowledged, 1 are there"):
        Journal(path)


def test_the_line_of_a_commit_may_be_torn_or_lag_but_not_both_lines_be_wrong(path, sample):
    with Journal(path, new=True) as journal:
        for k in range(3):
            journal.put([sample.row(k)])
    head = path.with_suffix(".head")
    lines = head.read_bytes()
    size = len(lines) // 2
    for torn in (lines[:10] + bytes(20) + lines[30:], lines[: size + 10], lines[:size] * 2):
        head.write_bytes(torn)
        with Journal(path) as journal:
            assert len(journal.rows()) == 3
    head.write_bytes(bytes(2 * size))
    with pytest.raises(DamagedRun, match=r"journal\.head was altered"):
        Journal(path)
    head.unlink()
    with pytest.raises(DamagedRun, match=r"journal\.head is missing"):
        Journal(path)


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(4096)])
def test_a_file_that_is_no_journal_is_damaged(path, content):
    Journal(path, new=True).close()
    path.write_bytes(content)
    for reading in (Journal, Journal.read):
        with pytest.raises(DamagedRun):
            reading(path)


def test_another_table_or_trigger_is_damage(path):
    Journal(path, new=True).close()
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE guests (x)")
    base.close()
    with pytest.raises(DamagedRun, match="its tables are others"):
        Journal(path)


def test_a_missing_journal_is_damage_for_a_run_and_not_found_for_a_reader(path):
    with pytest.raises(FileNotFoundError):
        Journal.read(path)
    with pytest.raises(DamagedRun, match="missing"):
        Journal(path)
    Journal(path, new=True).close()
    path.unlink()
    with pytest.raises(DamagedRun, match="missing"):
        Journal.read(path)


def test_names_with_signs_that_addresses_use_are_plain_names(tmp_path, sample):
    folder = tmp_path / "50 % of? #1 & rüns"
    folder.mkdir()
    with Journal(folder / "journal.sqlite", new=True) as journal:
        journal.put([sample.row(0)])
    assert len(Journal.read(folder / "journal.sqlite")) == 1
    assert len(list(folder.iterdir())) == 2
