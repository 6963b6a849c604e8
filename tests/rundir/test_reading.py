"""A run is read at any time, and a run in memory keeps the promises of one on disk."""

import math
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from thalweg.rundir import DamagedRun, RunDir
from thalweg.rundir.journal import Journal
from thalweg.rundir.rows import MemoryJournal


@pytest.fixture(params=["disk", "memory"])
def run(request, tmp_path, sample):
    with RunDir.open(tmp_path / "r" if request.param == "disk" else None, sample.asked) as run:
        yield run


def test_both_kinds_of_run_answer_alike(run, sample):
    run.set_plan({"rates": (1, 2)})
    run.set_plan({"rates": [1, 2]})
    with pytest.raises(ValueError, match="another plan already"):
        run.set_plan({"rates": [3]})
    run.journal.put([sample.row(k) for k in (0, 3, 1)])
    run.journal.put([sample.row(3)])
    assert run.plan == {"rates": [1, 2]}
    assert len(run.journal) == 3
    assert run.journal.last_segment("sgd lr=0") == 1
    assert run.journal.last_segment("sgd lr=9") is None
    assert ("sgd lr=1", 0) in run.journal
    assert ("sgd lr=1", 1) not in run.journal
    assert [r.member for r in run.journal.rows()] == ["sgd lr=0", "sgd lr=0", "sgd lr=1"]


def test_both_kinds_of_run_refuse_a_row_that_came_out_differently(run):
    run.journal.put([("m", 0, {"x": math.nan}, {"a": np.zeros(2)})])
    run.journal.put([("m", 0, {"x": math.nan}, {"a": np.zeros(2)})])
    for other in ({"x": 1.0}, {"a": np.zeros(2)}), ({"x": math.nan}, {"a": np.array([0, -0.0])}):
        with pytest.raises(DamagedRun, match="'m', 0 came out differently"):
            run.journal.put([("n", 0, {}, {}), ("m", 0, *other)])
    assert ("n", 0) not in run.journal


@pytest.mark.parametrize(
    ("key", "error", "what"),
    [
        ((3, 0), TypeError, "member is a string, not 3"),
        (("\ud800", 0), ValueError, "half a character"),
        (("m", 1.7), TypeError, "whole number, not 1.7"),
        (("m", "3"), TypeError, "whole number, not '3'"),
        (("m", True), TypeError, "whole number, not True"),
        (("m", None), TypeError, "whole number, not None"),
        (("m", 2**63), ValueError, "64 bits"),
    ],
)
def test_keys_that_a_journal_would_change_are_refused(run, key, error, what):
    with pytest.raises(error, match=what):
        run.journal.put([("first", 0, {}, {}), (*key, {}, {})])
    assert len(run.journal) == 0


@pytest.mark.parametrize("member", ["", "a\0b", "Ünïcödé 🙂", "x" * 10_000, "'; DROP TABLE rows"])
def test_any_name_and_numpy_segments_are_keys(tmp_path, member):
    with Journal(tmp_path / "journal.sqlite", new=True) as journal:
        journal.put([(member, np.int64(2**62), {}, {}), (member, -1, {}, {})])
    found = [(row.member, row.segment) for row in Journal.read(tmp_path / "journal.sqlite")]
    assert found == [(member, 2**62), (member, -1)]


def test_a_closed_journal_says_so(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", new=True)
    journal.close()
    with pytest.raises(ValueError, match="is closed; open the run again"):
        journal.put([("m", 0, {}, {})])


def test_a_snapshot_is_read_while_a_driver_goes_on(tmp_path, sample):
    with RunDir.open(tmp_path / "r", sample.asked) as run:
        first = RunDir.read(tmp_path / "r")
        run.set_plan({"steps": 9})
        run.journal.put([sample.row(0), sample.row(1)])
        second = RunDir.read(str(tmp_path / "r"))
        assert run.report == second.report == tmp_path / "r" / "report.html"
    assert (first.plan, len(first.journal)) == (None, 0)
    assert (second.plan, len(second.journal)) == ({"steps": 9}, 2)
    assert second.configuration == sample.asked
    assert {"processor", "cores", "memory", "python", "torch", "numpy"} <= second.machine.keys()
    assert isinstance(second.journal, MemoryJournal)
    np.testing.assert_array_equal(
        second.journal.get("sgd lr=1", 0).arrays["values"], sample.row(1)[3]["values"]
    )


def test_reading_changes_no_file(tmp_path, sample):
    folder = sample.fill(tmp_path / "r")
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    RunDir.read(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("make", [None, "folder", "file", "other"])
def test_where_no_run_is_it_is_said(tmp_path, make):
    place = tmp_path / "r"
    if make == "file":
        place.write_text("x")
    elif make:
        place.mkdir()
    if make == "other":
        (place / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds no run"):
        RunDir.read(place)


def test_a_snapshot_of_damaged_files_is_refused(tmp_path, sample):
    folder = sample.fill(tmp_path / "r")
    data = bytearray((folder / "journal.sqlite").read_bytes())
    at = data.index(b'{"loss"')
    data[at + 10] ^= 1
    (folder / "journal.sqlite").write_bytes(data)
    with pytest.raises(DamagedRun):
        RunDir.read(folder)


def test_names_of_states(tmp_path, sample):
    with RunDir.open(tmp_path / "r", sample.asked) as run:
        assert run.checkpoints.names() == ()
        for name in ("b", "../a", "b", "b"):
            run.checkpoints.save(name, *sample.state(0))
        assert run.checkpoints.names() == ("../a", "b")
        run.checkpoints.remove("b")
        assert run.checkpoints.names() == ("../a",)
        path = next((tmp_path / "r" / "checkpoints").glob("*.json"))
        path.write_text("{}")
        with pytest.raises(DamagedRun, match="cannot be read"):
            run.checkpoints.names()


DRIVERS = """
    import os, sys
    from pathlib import Path
    from thalweg.rundir import RunDir
    drove = 0
    while drove < 5:
        try:
            with RunDir.open(Path(sys.argv[1]), {"a": 1}) as run:
                n = len(run.journal)
                run.journal.put([("m", n, {"pid": os.getpid()}, {})])
                drove += 1
        except ValueError as error:
            assert "is in use by process" in str(error), error
"""


def test_drivers_that_begin_one_run_together_take_turns_and_readers_see_it_grow(tmp_path):
    folder = tmp_path / "a" / "run"
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(DRIVERS), str(folder)]
    drivers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    ended, seen = threading.Event(), [0]

    def read():
        while not ended.wait(0.001):
            if (folder / "run.json").exists():
                seen.append(len(RunDir.read(folder).journal))

    reader = threading.Thread(target=read)
    reader.start()
    errors = [driver.communicate(timeout=100)[1] for driver in drivers]
    ended.set()
    reader.join()
    assert errors == [b""] * 3
    rows = RunDir.read(folder).journal.rows()
    assert [row.segment for row in rows] == list(range(15))
    assert len({row.payload["pid"] for row in rows}) == 3
    assert seen == sorted(seen)
    RunDir.open(folder, {"a": 1}).close()  # nobody reads any more: everything folds into one file
    assert sorted(os.listdir(folder)) == ["journal.head", "journal.sqlite", "lock", "run.json"]


def test_importing_the_package_waits_for_nothing_heavy():
    code = """
        import sys, time
        import asyncio, dataclasses, hashlib, json, pathlib, sqlite3, tempfile, urllib.parse
        begun = time.process_time()
        import thalweg.rundir
        print(time.process_time() - begun)
        print(sorted({"torch", "numpy", "safetensors"} & sys.modules.keys()))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    answers = [subprocess.run(command, capture_output=True, text=True).stdout for _ in range(5)]
    assert {answer.splitlines()[1] for answer in answers} == {"[]"}
    assert min(float(answer.split()[0]) for answer in answers) < 0.05
