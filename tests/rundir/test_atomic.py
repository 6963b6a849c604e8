"""A file is replaced whole or not at all, whichever step fails."""

import errno
import os
import threading

import pytest

from thalweg.rundir import atomic, atomic_write
from thalweg.rundir.damage import refused

STEPS = ("_create", "_write", "_fsync", "_replace")


def fail(error):
    def step(*_):
        raise OSError(error, os.strerror(error))

    return step


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", STEPS)
def test_a_failing_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, number):
    path = tmp_path / "table.json"
    atomic_write(path, "old")
    monkeypatch.setattr(atomic, step, fail(number))
    with pytest.raises(OSError, match=r"free there\); what was written before is intact") as caught:
        atomic_write(path, "new")
    assert caught.value.errno == number
    assert str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.json"]


def test_if_only_the_last_sync_fails_the_new_file_is_there_whole_and_it_is_said(
    tmp_path, monkeypatch
):
    path = tmp_path / "table.json"
    atomic_write(path, "old")
    monkeypatch.setattr(atomic, "_fsync_folder", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        atomic_write(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["table.json"]


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_write", lambda fd, data: os.write(fd, data[:3]))
    atomic_write(tmp_path / "a", "0123456789")
    assert (tmp_path / "a").read_text() == "0123456789"


def test_a_write_that_writes_nothing_is_an_error_and_not_a_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_write", lambda fd, data: 0)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_write(tmp_path / "a", "x")


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", "x")
    assert os.listdir(tmp_path) == []


def test_two_threads_writing_one_file_leave_one_of_the_two(tmp_path):
    path = tmp_path / "a"
    texts = [letter * 10_000 for letter in "abcd"]
    threads = [threading.Thread(target=atomic_write, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["a"]


def test_folders_made_are_named_and_a_failure_removes_those_made_before(tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b" / "c"
    assert atomic.make_folder(deep) == [deep, deep.parent, deep.parent.parent]
    plain = atomic._mkdir

    def third(folder):
        fail(errno.ENOSPC)() if folder.name == "z" else plain(folder)

    monkeypatch.setattr(atomic, "_mkdir", third)
    with pytest.raises(OSError, match="No space left"):
        atomic.make_folder(tmp_path / "x" / "y" / "z")
    assert os.listdir(tmp_path) == ["a"]


def test_temporaries_of_dead_writers_are_swept_and_those_of_living_ones_are_not(tmp_path):
    dead = 2**22 + 1  # above the largest process id Linux gives out
    parent = os.getppid()
    (tmp_path / f".thalweg-{dead}-00000000.part").touch()
    (tmp_path / f".thalweg-{os.getpid()}-00000000.part").touch()
    (tmp_path / f".thalweg-{parent}-00000000.part").touch()
    (tmp_path / "mine.part").touch()
    atomic.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [f".thalweg-{parent}-00000000.part", "mine.part"]


def test_a_refusal_names_a_place_that_does_not_exist_yet(tmp_path):
    error = refused(OSError(errno.EACCES, "x"), tmp_path / "no" / "such" / "place")
    assert isinstance(error, PermissionError)
    assert "no/such/place: Permission denied (" in str(error)
    assert "free there)" in str(error)
