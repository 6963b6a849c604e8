"""What is not a run's own is never overwritten or removed, also when asked to begin afresh."""

import os
import stat
import threading

import pytest

from thalweg.rundir import RunDir, atomic_write

FOREIGN = {
    "a page": {"report.html": "mine"},
    "another tool's run.json": {"run.json": '{"scripts": "npm"}'},
    "an empty run.json": {"run.json": ""},
    "a record that was copied": {"race.json": "{}"},
    "another tool's lock": {"lock": "yarn lockfile v1"},
    "weights": {"checkpoints/model.safetensors": "mine"},
    "a lock and weights": {"lock": "17", "checkpoints/model.json": "mine"},
}


def tree(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("what", FOREIGN)
def test_files_that_only_share_a_name_with_a_runs_are_left_alone(tmp_path, sample, what, fresh):
    for name, text in FOREIGN[what].items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with pytest.raises(ValueError, match="holds other files"):
        RunDir.open(tmp_path, sample.asked, fresh=fresh)
    assert tree(tmp_path) == FOREIGN[what]


def test_fresh_takes_a_runs_states_and_leaves_other_weights(tmp_path, sample):
    folder = sample.fill(tmp_path / "r")
    (folder / "checkpoints" / "best.safetensors").write_text("mine")
    (folder / "checkpoints" / "best.json").write_text("mine")
    RunDir.open(folder, sample.asked, fresh=True).close()
    assert sorted(os.listdir(folder / "checkpoints")) == ["best.json", "best.safetensors"]


def test_a_link_stays_and_its_target_is_replaced_and_keeps_its_permissions(tmp_path):
    (tmp_path / "target").write_text("old")
    os.chmod(tmp_path / "target", 0o600)
    (tmp_path / "link").symlink_to("target")
    atomic_write(tmp_path / "link", "new")
    assert os.readlink(tmp_path / "link") == "target"
    assert (tmp_path / "target").read_text() == "new"
    assert stat.S_IMODE(os.stat(tmp_path / "target").st_mode) == 0o600


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    heard = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    atomic_write(tmp_path / "pipe", b"x" * 200_000)
    reader.join(timeout=20)
    assert heard == [b"x" * 200_000]
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    atomic_write(tmp_path / "null", "x")
    assert stat.S_ISCHR(os.stat(tmp_path / "null").st_mode)
    assert (tmp_path / "null").is_symlink()


def test_a_full_device_is_named_in_the_error(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    with pytest.raises(OSError, match=r"cannot write /dev/full: No space left"):
        atomic_write("/dev/full", "x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_folder_in_the_way_of_a_file_is_named(tmp_path):
    (tmp_path / "page").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write .*page: Is a directory"):
        atomic_write(tmp_path / "page", "x")
    assert os.listdir(tmp_path) == ["page"]
