"""A disk that fills up while results arrive: nothing kept is lost, and room is all it takes."""

import errno
import os

import numpy as np
import pytest
import torch

from thalweg.rundir import RunDir
from thalweg.rundir.journal import Journal


def large(k):
    return f"m{k}", 0, {"k": k}, {"a": np.full(500, k)}


@pytest.fixture
def disk(mounted):
    return mounted("-t", "tmpfs", "-o", "size=400k", "tmpfs")


def fill(folder, leave):
    """Ballast that leaves so many bytes."""
    free = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - leave)))


def put_until_full(journal):
    for k in range(100):
        journal.put([large(k)])


def test_rows_put_before_the_disk_was_full_stay_and_later_ones_go_on(disk, sample):
    folder = disk / "run"
    with RunDir.open(folder, sample.asked) as run:
        fill(disk, 120_000)
        with pytest.raises(OSError, match=r"journal\.sqlite: No space left.* free there") as caught:
            put_until_full(run.journal)
        assert caught.value.errno == errno.ENOSPC
        done = len(run.journal.rows())
        assert done > 0
        assert len(Journal.read(folder / "journal.sqlite")) == done
        (disk / "ballast").unlink()
        run.journal.put([large(done)])
    assert [row.payload["k"] for row in Journal.read(folder / "journal.sqlite")] == list(
        range(done + 1)
    )


def test_a_run_closed_on_a_full_disk_keeps_its_rows(disk, sample):
    folder = disk / "run"
    run = RunDir.open(folder, sample.asked)
    for k in range(5):
        run.journal.put([large(k)])
    fill(disk, 0)
    run.close()
    assert len(Journal.read(folder / "journal.sqlite")) == 5
    (disk / "ballast").unlink()
    with RunDir.open(folder, sample.asked) as run:
        assert len(run.journal.rows()) == 5


def test_a_state_that_finds_no_room_leaves_the_ones_before(disk, sample):
    with RunDir.open(disk / "run", sample.asked) as run:
        run.checkpoints.save("s", *sample.state(1))
        fill(disk, 20_000)
        with pytest.raises(OSError, match=r"safetensors: No space left"):
            run.checkpoints.save("s", {"w": torch.zeros(20_000)}, {})
        assert run.checkpoints.load("s")[1] == {"step": 1}
        assert len(os.listdir(disk / "run" / "checkpoints")) == 2


@pytest.mark.parametrize("leave", [0, 4096, 8192, 16384, 24576])
def test_a_run_that_finds_no_room_is_not_begun(disk, sample, leave):
    fill(disk, leave)
    with pytest.raises(OSError, match="No space left on device"):
        RunDir.open(disk / "a" / "run", sample.asked)
    assert os.listdir(disk) == ["ballast"]
