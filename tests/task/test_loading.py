"""load_task: by built-in name, file and module, and one clear line for everything else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thalweg.task import TASKS, Task, load_task, task_data, task_source

HEAD = "from thalweg.task import Task\n"
ONE = HEAD + "mine = Task('m', model=object, loss=max, train=([0.0], [0.0]))\n"
BUILD = "def build({}):\n    return Task('b', model=object, loss=max, train=([0.0], [0.0]))\n"


@pytest.fixture
def write(tmp_path):
    def writer(text, name="job.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return writer


def test_file_with_one_task_needs_no_name(write):
    task = load_task(write(ONE))
    assert isinstance(task, Task)
    assert task.name == "m"


def test_file_with_a_function_called_task_needs_no_name(write):
    path = write(HEAD + BUILD.format("").replace("build", "task"))
    assert load_task(path).name == "b"


def test_path_object_loads_as_its_text_does(write):
    assert load_task(Path(write(ONE))).name == "m"


def test_named_function_is_called_and_one_task_under_two_names_is_one(write):
    path = write(ONE + "same = mine\n" + BUILD.format("size=3"))
    assert load_task(path).name == "m"
    assert load_task(f"{path}:same").name == "m"
    assert load_task(f"{path}:build").name == "b"


def test_loading_twice_runs_the_file_as_it_now_is(write):
    path = write(ONE)
    first = load_task(path)
    write(ONE.replace("'m'", "'n'"))  # same length, same second: stale bytecode would show
    second = load_task(path)
    assert (first.name, second.name) == ("m", "n")


def test_file_imports_its_neighbour_and_a_namesake_elsewhere_is_not_mixed_up(write):
    job = "import net_of_this_test\n" + ONE.replace("'m'", "net_of_this_test.NAME")
    for folder in ("a", "b"):
        write(f"NAME = 'from {folder}'\n", f"{folder}/net_of_this_test.py")
    paths = [write(job, f"{folder}/job.py") for folder in ("a", "b", "a")]
    path_before = list(sys.path)
    assert [load_task(path).name for path in paths] == ["from a", "from b", "from a"]
    assert sys.path == path_before


def test_dataclasses_of_a_task_file_find_their_module(write):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + ONE
    text += "@dataclass(frozen=True, slots=True)\nclass Net:\n    width: int = 3\n"
    assert load_task(write(text)).name == "m"


def test_module_in_the_current_folder_is_found(write, tmp_path, monkeypatch):
    write("", "pack_of_this_test/__init__.py")
    write(ONE, "pack_of_this_test/jobs.py")
    monkeypatch.chdir(tmp_path)
    task = load_task("pack_of_this_test.jobs:mine")
    assert task.name == "m"
    assert task_source(task) == "pack_of_this_test.jobs:mine"


def test_source_loads_the_same_task_in_another_process(write, tmp_path, monkeypatch):
    write(ONE)
    monkeypatch.chdir(tmp_path)
    source = task_source(load_task("job.py"))
    assert source == f"{tmp_path.resolve() / 'job.py'}:mine"
    code = "import sys; from thalweg.task import load_task; print(load_task(sys.argv[1]).name)"
    command = [sys.executable, "-c", code, source]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout == "m\n"


def test_task_made_in_python_has_no_source():
    task = Task("m", model=object, loss=max, train=([0.0], [0.0]))
    assert task_source(task) is None
    assert task_data(task) is None


def test_data_folder_comes_from_the_argument_then_from_the_environment(
    write, tmp_path, monkeypatch
):
    seen = HEAD + BUILD.format("data").replace("'b'", "data")
    path, other = write(seen) + ":build", tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    assert load_task(path).name == str(tmp_path.resolve())
    task = load_task(path, data=other)
    assert task.name == task_data(task) == str(other.resolve())


def test_data_folder_is_optional_where_the_function_says_so(write, monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    path = write(HEAD + BUILD.format("data='.'").replace("'b'", "data"))
    assert load_task(f"{path}:build").name == "."


FILES = {
    "syntax error": ("x = 1\ny = (\n", "", ValueError, ["job.py", "syntax error", "line 2"]),
    "null byte": (b"x = 1\0\n", "", ValueError, ["job.py", "syntax error"]),
    "bad encoding": (b"x = '\xff'\n", "", ValueError, ["job.py", "syntax error"]),
    "raises": ("x = 1\n\n1 / 0\n", "", ValueError, ["ZeroDivisionError", "line 3"]),
    "raises two lines": ("raise OSError('a\\nb')\n", "", ValueError, ["OSError: a b", "line 1"]),
    "exits": ("import sys\nsys.exit(3)\n", "", ValueError, ["SystemExit: 3", "line 2"]),
    "lacks a module": ("import absent_xyz\n", "", ValueError, ["absent_xyz", "line 1"]),
    "bad task": (HEAD + "Task('m', 3, max)\n", "", ValueError, ["model is a int", "line 2"]),
    "no task": ("x = 1\n", "", ValueError, ["holds no task"]),
    "two tasks": (ONE + ONE.replace("mine", "other"), "", ValueError, ["mine, other", "job.py:m"]),
    "wrong name": (ONE, ":mime", ValueError, ["Did you mean 'mine'?", "Tasks found there: mine"]),
    "a number": ("x = 1\n", ":x", TypeError, ["job.py:x is a int"]),
    "a class": (ONE, ":Task", TypeError, ["is a class"]),
    "needs arguments": (HEAD + BUILD.format("a, b"), ":build", TypeError, ["argument 'a'"]),
    "returns another": ("def f():\n    return 1\n", ":f", TypeError, ["returned a int"]),
    "function raises": ("def f():\n    1 / 0\n", ":f", ValueError, ["job.py:f failed", "line 2"]),
    "needs data": (HEAD + BUILD.format("data"), ":build", ValueError, ["THALWEG_DATA"]),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_file_is_one_clear_line(case, write, monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    text, name, kind, words = FILES[case]
    modules = set(sys.modules)
    with pytest.raises(kind) as caught:
        load_task(write(text) + name)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert [word for word in words if word not in message] == []
    left = {key for key in set(sys.modules) - modules if key.startswith("_thalweg_task_")}
    assert len(left) <= (0 if "failed" in message and not name else 1)


SPECS = {
    "unknown": ("digts", ValueError, ["Did you mean 'digits'?", "file.py:name"]),
    "empty": ("", ValueError, ["empty"]),
    "no such file": ("nowhere/job.py", ValueError, ["no task file", "job.py"]),
    "near file": ("jop.py", ValueError, ["Did you mean 'job.py'?"]),
    "a folder": ("sub.py", ValueError, ["is a folder"]),
    "not Python": ("job.txt", ValueError, ["not a Python file"]),
    "not Python, named": ("./job.txt:x", ValueError, ["not a Python file"]),
    "no such module": ("absent_xyz.jobs:x", ValueError, ["no module 'absent_xyz'"]),
    "no such submodule": ("json.absent_xyz:x", ValueError, ["no module 'json.absent_xyz'"]),
    "module that fails": ("broken_xyz:x", ValueError, ["ZeroDivisionError", "broken_xyz.py, li"]),
    "module without name": ("json.decoder", ValueError, ["json.decoder:name"]),
    "colon at the end": ("job.py:", ValueError, ["ends in a colon"]),
    "neither": ("my-task:x", ValueError, ["neither"]),
    "name in module": ("json:lods", ValueError, ["Did you mean 'loads'?", "there: none"]),
    "another kind": (3, TypeError, ["int"]),
}


@pytest.mark.parametrize("case", SPECS)
def test_bad_spec_is_one_clear_line(case, write, tmp_path, monkeypatch):
    write(ONE)
    write("", "job.txt")
    write("1 / 0\n", "broken_xyz.py")
    (tmp_path / "sub.py").mkdir()
    monkeypatch.chdir(tmp_path)
    spec, kind, words = SPECS[case]
    with pytest.raises(kind) as caught:
        load_task(spec)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert [word for word in words if word not in message] == []


def test_data_folder_that_is_no_folder_or_not_wanted_is_refused(write, tmp_path):
    path = write(ONE + BUILD.format("data"))
    with pytest.raises(ValueError, match="is not a folder"):
        load_task(f"{path}:build", data=tmp_path / "absent")
    with pytest.raises(ValueError, match="takes no data folder"):
        load_task(f"{path}:mine", data=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_named(write):
    path = write(ONE)
    os.chmod(path, 0)
    with pytest.raises(ValueError, match="cannot be read"):
        load_task(path)


def test_names_and_modules_are_cheap_to_import():
    code = "import sys, thalweg.task, thalweg.data, thalweg.models; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "sklearn"} & set(done.stdout.split())


def test_registry_lists_the_promised_tasks():
    promised = "digits digits-mlp digits-batchnorm diabetes linear-unit quadratic char-lm mnist"
    assert set(promised.split()) | {"fashion-mnist", "cifar10"} <= set(TASKS.names())
