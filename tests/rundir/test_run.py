"""One driver, one configuration, whole or not there: the life of a run's directory."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from thalweg.rundir import DamagedRun, RunDir, record

FILES = ["journal.head", "journal.sqlite", "lock", "run.json"]


def test_a_run_is_begun_gone_on_with_and_closed(tmp_path, sample):
    folder = tmp_path / "deep" / "run"
    with RunDir.open(folder, sample.asked) as run:
        assert run.plan is None
        run.set_plan({"steps": 3, "rate": 0.1})
        run.journal.put([sample.row(0)])
        run.write("race.json", "{}")
    with RunDir.open(str(folder), sample.asked) as run:
        assert run.plan == {"steps": 3, "rate": 0.1}
        assert len(run.journal.rows()) == 1
        assert run.path == folder
    assert sorted(os.listdir(folder)) == sorted([*FILES, "race.json"])


def test_without_a_path_the_same_calls_keep_everything_in_memory(sample):
    with RunDir.open(None, sample.asked) as run:
        run.set_plan({"a": (1, 2)})
        run.journal.put([sample.row(0), sample.row(0)])
        run.checkpoints.save("s", *sample.state(0))
        run.write("race.json", "")
        assert (run.path, run.plan) == (None, {"a": [1, 2]})
        assert len(run.journal.rows()) == 1
        assert run.journal.get(*sample.row(0)[:2]).payload == sample.row(0)[2]
        assert run.checkpoints.load("s") is None
        run.checkpoints.remove("s")


def test_there_is_one_plan(tmp_path, sample):
    with RunDir.open(tmp_path / "r", sample.asked) as run:
        run.set_plan({"steps": 3})
        run.set_plan({"steps": 3})
        with pytest.raises(ValueError, match="has another plan already"):
            run.set_plan({"steps": 4})
        assert run.plan == {"steps": 3}
    with RunDir.open(tmp_path / "r", sample.asked) as run:
        assert run.plan == {"steps": 3}


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/x", "", ".", "..", "run.json", "journal.sqlite", "lock"]
)
def test_names_are_never_paths_or_the_runs_own_files(tmp_path, sample, name):
    with RunDir.open(tmp_path / "r", sample.asked) as run, pytest.raises(ValueError, match="plain"):
        run.write(name, "x")


def test_another_configuration_is_refused_and_the_keys_named(tmp_path, sample):
    folder = sample.fill(tmp_path / "r")
    with pytest.raises(ValueError, match=r"lrs was \[0\.1, 0\.01\], now \[0\.5\]; seeds was None"):
        RunDir.open(folder, sample.asked | {"lrs": [0.5], "seeds": 3})
    with pytest.raises(ValueError, match="and 1 more"):
        RunDir.open(folder, {"x": 1})
    with RunDir.open(folder, sample.asked) as run:
        assert len(run.journal.rows()) == 6


def test_a_run_without_plan_and_results_gives_way_to_another_configuration(tmp_path, sample):
    folder = tmp_path / "r"
    RunDir.open(folder, {"first": "try"}).__exit__()
    with RunDir.open(folder, sample.asked) as run:
        run.journal.put([sample.row(0)])
    with pytest.raises(ValueError, match="holds another run"):
        RunDir.open(folder, {"first": "try"})


def test_resume_false_refuses_a_run_and_begins_a_new_one(tmp_path, sample):
    with RunDir.open(tmp_path / "r", sample.asked, resume=False):
        pass
    with pytest.raises(ValueError, match="holds a run already"):
        RunDir.open(tmp_path / "r", sample.asked, resume=False)


def test_fresh_removes_the_run_and_nothing_else(tmp_path, sample):
    folder = sample.fill(tmp_path / "r")
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoints" / "notes.txt").write_text("mine too")
    with RunDir.open(folder, {"other": 1}, fresh=True) as run:
        assert (run.plan, run.journal.rows()) == (None, [])
        assert run.checkpoints.load("group") is None
    assert (folder / "notes.txt").read_text() == "mine"
    assert os.listdir(folder / "checkpoints") == ["notes.txt"]


def test_fresh_follows_no_links(tmp_path, sample):
    folder, other = sample.fill(tmp_path / "r"), tmp_path / "other"
    os.rename(folder / "checkpoints", other)
    (folder / "checkpoints").symlink_to(other)
    kept = sorted(os.listdir(other))
    RunDir.open(folder, sample.asked, fresh=True).__exit__()
    assert sorted(os.listdir(other)) == kept


def test_a_folder_of_other_files_is_refused_also_when_asked_to_begin_afresh(tmp_path, sample):
    (tmp_path / "thesis.tex").write_text("mine")
    for fresh in (False, True):
        with pytest.raises(ValueError, match=r"holds other files \('thesis\.tex'\)"):
            RunDir.open(tmp_path, sample.asked, fresh=fresh)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_an_empty_folder_becomes_a_run_and_stays_empty_if_that_fails(tmp_path, sample, monkeypatch):
    def full(path, data):
        raise OSError(28, f"cannot write {path}")

    with monkeypatch.context() as patched:
        patched.setattr("thalweg.rundir.run.atomic_write", full)
        with pytest.raises(OSError, match=r"run\.json"):
            RunDir.open(tmp_path, sample.asked)
        assert os.listdir(tmp_path) == []
        with pytest.raises(OSError, match=r"run\.json"):
            RunDir.open(tmp_path / "new" / "run", sample.asked)
        assert os.listdir(tmp_path) == []
    RunDir.open(tmp_path, sample.asked).__exit__()
    assert sorted(os.listdir(tmp_path)) == FILES


@pytest.mark.parametrize(("inside", "what"), [("", "is a file"), ("/run", "lies in a file")])
def test_a_file_in_the_way_is_refused(tmp_path, sample, inside, what):
    (tmp_path / "r").write_text("mine")
    with pytest.raises(ValueError, match=what):
        RunDir.open(f"{tmp_path}/r{inside}", sample.asked)
    assert (tmp_path / "r").read_text() == "mine"


def test_a_link_to_a_folder_is_that_folder_and_a_link_to_nothing_is_refused(tmp_path, sample):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    sample.fill(tmp_path / "link")
    with RunDir.open(tmp_path / "real", sample.asked) as run:
        assert len(run.journal.rows()) == 6
        with pytest.raises(ValueError, match="in use by this very process"):
            RunDir.open(tmp_path / "link", sample.asked)
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ValueError, match="is a link to nothing"):
        RunDir.open(tmp_path / "dangling", sample.asked)
    assert not (tmp_path / "nowhere").exists()


OTHER = """
    import sys
    from thalweg.rundir import RunDir
    with RunDir.open(sys.argv[1], {"task": "digits", "lrs": [0.1, 0.01]}):
        print("driving", flush=True)
        sys.stdin.read()
"""


def test_a_second_driver_is_refused_until_the_first_ends_or_dies(tmp_path, sample):
    folder = tmp_path / "r"
    for end in ("close", "kill"):
        command = [sys.executable, "-c", textwrap.dedent(OTHER), str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
            assert first.stdout.readline() == b"driving\n"
            for fresh in (False, True):
                with pytest.raises(ValueError, match=f"in use by process {first.pid}"):
                    RunDir.open(folder, sample.asked, fresh=fresh)
            first.stdin.close() if end == "close" else first.kill()
        with RunDir.open(folder, sample.asked) as run:
            run.journal.put([sample.row(0)])


def test_a_failed_opening_lets_the_next_driver_in(tmp_path, sample):
    folder = sample.fill(tmp_path / "r")
    good = (folder / "run.json").read_bytes()
    (folder / "run.json").write_bytes(good[:-9])
    for _ in range(2):
        with pytest.raises(DamagedRun, match=r"run\.json was altered"):
            RunDir.open(folder, sample.asked)
    (folder / "run.json").write_bytes(good)
    with pytest.raises(ValueError, match="holds another run"):
        RunDir.open(folder, {})
    RunDir.open(folder, sample.asked).__exit__()


def test_the_lock_is_given_back_once_even_if_closed_twice(tmp_path, sample):
    run = RunDir.open(tmp_path / "r", sample.asked)
    run.close()
    with RunDir.open(tmp_path / "r", sample.asked):
        run.close()
        with pytest.raises(ValueError, match="in use"):
            RunDir.open(tmp_path / "r", sample.asked)


def test_a_run_of_a_newer_schema_is_refused_in_words(tmp_path, sample):
    folder = sample.fill(tmp_path / "r")
    kept = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(record.sealed(kept | {"schema": 7}))
    with pytest.raises(ValueError, match=r"newer thalweg \(schema 7; this one knows 1\)"):
        RunDir.open(folder, sample.asked)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "3", '{"sha256": 1}', "\ufffd", "[" * 9999]
)
def test_any_other_run_json_is_damage(tmp_path, sample, text):
    folder = sample.fill(tmp_path / "r")
    (folder / "run.json").write_text(text)
    with pytest.raises(DamagedRun, match=r"run\.json was altered"):
        RunDir.open(folder, sample.asked)


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: p.symlink_to("nowhere")])
def test_a_run_json_that_is_no_file_is_damage(tmp_path, sample, make):
    folder = sample.fill(tmp_path / "r")
    (folder / "run.json").unlink()
    make(folder / "run.json")
    with pytest.raises(DamagedRun, match=r"run\.json is a"):
        RunDir.open(folder, sample.asked)


@pytest.mark.parametrize("name", ["run.json", "journal.sqlite", "journal.head"])
def test_a_run_that_lost_a_file_is_damaged_and_can_be_begun_afresh(tmp_path, sample, name):
    folder = sample.fill(tmp_path / "r")
    (folder / name).unlink()
    with pytest.raises(DamagedRun):
        RunDir.open(folder, sample.asked)
    with RunDir.open(folder, sample.asked, fresh=True) as run:
        assert run.journal.rows() == []


def test_what_a_driver_killed_at_the_start_left_is_no_obstacle(tmp_path, sample):
    whole = tmp_path / "whole"
    RunDir.open(whole, sample.asked).__exit__()
    for kept in (["lock"], ["lock", "journal.head"], ["lock", "journal.head", "journal.sqlite"]):
        folder = tmp_path / str(len(kept))
        folder.mkdir()
        for name in kept:
            (folder / name).write_bytes((whole / name).read_bytes())
        (folder / ".thalweg-4194305-0a0b0c0d.part").write_text('{"schema"')
        with RunDir.open(folder, sample.asked) as run:
            run.journal.put([sample.row(0)])
        assert sorted(os.listdir(folder)) == FILES


def test_a_configuration_that_json_cannot_hold_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(TypeError):
        RunDir.open(tmp_path / "r", {"x": object()})
    with pytest.raises(ValueError, match="JSON"):
        RunDir.open(tmp_path / "r", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_read_only_disk_is_named(tmp_path, sample, mounted):
    sample.fill(tmp_path / "real" / "r")
    place = mounted("--bind", str(tmp_path / "real"), at="view")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    for name in ("r", "new"):
        with pytest.raises(OSError, match=rf"cannot write .*{name}.*: Read-only file system \("):
            RunDir.open(place / name, sample.asked)


def test_importing_the_package_loads_no_torch():
    code = (
        "import sys, thalweg.rundir; print(sorted({'torch', 'safetensors'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
