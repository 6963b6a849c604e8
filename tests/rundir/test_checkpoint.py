"""The newest intact state counts; a state is never another one's."""

import json
import os

import pytest
import torch

from thalweg.rundir import DamagedRun, RunDir
from thalweg.rundir.checkpoint import Checkpoints


@pytest.fixture
def three(tmp_path, sample):
    checkpoints = Checkpoints(tmp_path / "states")
    for k in range(3):
        checkpoints.save("a", *sample.state(k))
    return checkpoints


def files(checkpoints, ending):
    return sorted(checkpoints.directory.glob(f"*.{ending}"))


def step(found):
    tensors, meta = found
    assert int(tensors["n"]) == meta["step"]
    assert torch.equal(tensors["w"], torch.full((7,), meta["step"] / 3))
    return meta["step"]


def test_the_last_two_are_kept_and_the_newest_is_loaded(three):
    assert step(three.load("a")) == 2
    assert len(files(three, "json")) == len(files(three, "safetensors")) == 2


def test_names_do_not_mix_whatever_is_in_them(tmp_path, sample):
    checkpoints = Checkpoints(tmp_path)
    names = ["a", "a ", "a/b", "../a", "a.b", "a" * 300, "ä", "\udcff", "", "."]
    for k, name in enumerate(names):
        checkpoints.save(name, *sample.state(k))
    assert [step(checkpoints.load(name)) for name in names] == list(range(len(names)))
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*"))


def test_there_is_none_before_the_first_and_after_removal(three):
    assert three.load("b") is None
    (three.directory / "a-orphan.json").touch()
    three.remove("a")
    assert three.load("a") is None
    assert os.listdir(three.directory) == ["a-orphan.json"]
    assert Checkpoints(three.directory / "nowhere").load("a") is None


def test_removal_takes_tensors_whose_manifest_was_never_written(three):
    files(three, "json")[-1].unlink()
    three.remove("a")
    assert os.listdir(three.directory) == []


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_damaged_newest_state_gives_the_one_before(three, ending):
    path = files(three, ending)[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert step(three.load("a")) == 1


def test_no_intact_state_is_an_error_that_names_a_file(three):
    for path in files(three, "safetensors"):
        path.write_bytes(b"")
    with pytest.raises(DamagedRun, match=r"safetensors was altered"):
        three.load("a")


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "null", '{"check": 1}', "[" * 5000, "\x00"])
def test_a_manifest_of_any_other_kind_is_damage(three, text):
    for path in files(three, "json"):
        path.write_text(text)
    with pytest.raises(DamagedRun):
        three.load("a")


def test_another_names_files_are_not_taken_for_this_one(three, sample):
    three.save("b", *sample.state(9))
    mine, other = files(three, "json")[:2], [p for p in files(three, "json") if p.name[0] == "b"]
    for path in mine:
        path.write_bytes(other[0].read_bytes())
        path.with_suffix(".safetensors").write_bytes(
            other[0].with_suffix(".safetensors").read_bytes()
        )
    with pytest.raises(DamagedRun, match="was altered"):
        three.load("a")


def test_an_older_state_under_a_newer_number_is_not_taken(three):
    old, new = files(three, "json")
    new.write_bytes(old.read_bytes())
    new.with_suffix(".safetensors").write_bytes(old.with_suffix(".safetensors").read_bytes())
    assert step(three.load("a")) == 1  # as number 2, not as number 3
    old.unlink()
    with pytest.raises(DamagedRun, match="was altered"):
        three.load("a")


def test_foreign_files_in_the_folder_are_left_alone(three, sample):
    stem = files(three, "json")[0].name.split(".")[0]
    (three.directory / f"{stem}.notes.json").write_text("mine")
    three.save("a", *sample.state(3))
    assert step(three.load("a")) == 3
    three.remove("a")
    assert os.listdir(three.directory) == [f"{stem}.notes.json"]


def test_meta_that_json_cannot_hold_is_refused_before_anything_is_written(three, sample):
    for meta, error in (({"x": {1}}, TypeError), ({"x": float("nan")}, ValueError)):
        with pytest.raises(error):
            three.save("a", sample.state(9)[0], meta)
    assert step(three.load("a")) == 2
    assert len(files(three, "safetensors")) == 2


def test_a_state_of_rows_that_the_journal_does_not_hold_is_refused(tmp_path, sample):
    one, two = sample.fill(tmp_path / "one"), sample.fill(tmp_path / "two", rows=2)
    for path in (two / "checkpoints").iterdir():
        path.unlink()
    for path in (one / "checkpoints").iterdir():
        (two / "checkpoints" / path.name).write_bytes(path.read_bytes())
    with RunDir.open(two, sample.asked) as run:
        with pytest.raises(DamagedRun, match="results that the journal does not hold"):
            run.checkpoints.load("group")
        assert json.loads((two / "run.json").read_text())["plan"] == {"steps": 100}
