"""States that wait on disk come back whole, and nothing of theirs stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from thalweg.race.population.parking import Parking, sweep


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_states_come_back_bit_for_bit_tied_tensors_included(here):
    shared = torch.randn(3)
    state = {"a": shared, "b": shared[1:], "n": 2.5, "bad": float("nan"), "list": [1, None, "x"]}
    parking = Parking()
    parking.put(4, state)
    shared_before = shared.clone()
    shared.zero_()
    back = parking.take(4)
    assert torch.equal(back["a"], shared_before)
    assert torch.equal(back["b"], shared_before[1:])
    assert back["n"] == 2.5
    assert back["bad"] != back["bad"]
    assert back["list"] == [1, None, "x"]


def test_the_folder_goes_with_its_owner(here):
    parking = Parking()
    parking.put(0, {"a": torch.ones(2)})
    assert len(list(here.iterdir())) == 1
    del parking
    assert not list(here.iterdir())


def test_folders_of_killed_processes_are_removed_and_others_stay(here):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = here / f"thalweg-parked-{dead.pid}-abc"
    alive = here / f"thalweg-parked-{os.getpid()}-abc"
    other = here / "thalweg-parked-mine"
    for folder in (gone, alive, other):
        folder.mkdir()
        (folder / "0.bin").write_bytes(b"x")
    sweep(here)
    assert not gone.exists()
    assert alive.exists()
    assert other.exists()


def test_a_full_disk_is_named_with_its_free_space(here, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write .*0\.bin: No space left.* free there"):
        Parking().put(0, {"a": torch.ones(2)})
