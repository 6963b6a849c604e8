"""Members spread over worker processes: the same numbers, one clear error, and no surprises."""

import multiprocessing
import subprocess
import sys
import textwrap

import pytest

import thalweg as tw
from thalweg.race.executors.pool import WorkerTraceback
from thalweg.race.executors.shards import shares, split
from thalweg.race.space import Configuration, Member
from thalweg.rundir.journal import Journal

TASK = """
import multiprocessing, os, signal, time
from pathlib import Path
import torch
from torch import nn
import thalweg as tw

draw = torch.Generator().manual_seed(0)
X = torch.randn(160, 6, generator=draw)
y = (X[:, 0] + 0.5 * torch.randn(160, generator=draw) > 0).long()
calls = 0

def net():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))

def loss(output, target):
    global calls
    calls += 1
    in_worker = multiprocessing.parent_process() is not None
    {extra}
    return nn.functional.cross_entropy(output, target)

task = tw.Task(
    "toy", net, loss, train=(X[:80], y[:80]), held_out=(X[80:], y[80:]),
    recipe=tw.Recipe(batch_size=10, epochs=5),
)
"""
RACE = {"optimizers": ("momentum", "adam"), "lrs": [0.001, 0.01, 0.1, 1e37], "seeds": 3}


def write(folder, extra="pass"):
    path = folder / "toy.py"
    path.write_text(TASK.format(extra=extra))
    return path


def load(folder, extra="pass"):
    return tw.load_task(write(folder, extra))


def rows(run):
    """The journal's rows, every number spelled exactly."""
    return {
        (row.member, row.segment): (
            {name: repr(value) for name, value in row.payload.items()},
            {name: (str(a.dtype), a.tobytes()) for name, a in row.arrays.items()},
        )
        for row in Journal.read(run / "journal.sqlite")
    }


def members(configurations, seeds):
    made = [Configuration("sgd", (("lr", 2.0**-k),), 8) for k in range(configurations)]
    return [Member(c, seed) for seed in range(seeds) for c in made]


@pytest.mark.parametrize(
    ("configurations", "seeds", "workers"), [(7, 3, 2), (5, 3, 3), (4, 2, 8), (1, 1, 4), (9, 5, 4)]
)
def test_every_member_has_one_worker_and_all_have_about_as_much(configurations, seeds, workers):
    found = split(members(configurations, seeds), workers)
    assert sorted(i for shard in found for i in shard) == list(range(configurations * seeds))
    fair = configurations * seeds / workers
    # each straddled seed is dealt to within one member, and a share touches two at its ends
    assert all(abs(len(shard) - fair) <= 2 for shard in found)


def test_seeds_that_fit_stay_whole():
    assert split(members(5, 4), 2) == [tuple(range(10)), tuple(range(10, 20))]


def test_shares_of_each_seed_sum_to_one():
    found = shares(3, 5)
    assert [sum(worker[s] for worker in found) for s in range(3)] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("workers", [2, 5])  # fewer and more than seeds
def test_workers_end_with_the_same_rows_bit_for_bit(tmp_path, workers):
    task = load(tmp_path)
    space = {"batch_size": [10, 20], "schedule": ["cosine"]}
    alone = tw.race(task, **RACE, space=space, threads=1, run=tmp_path / "one")
    spread = tw.race(task, **RACE, space=space, workers=workers, run=tmp_path / "many")
    assert rows(tmp_path / "many") == rows(tmp_path / "one")
    assert spread.to_dict()["table"] == alone.to_dict()["table"]
    assert {entry.status for entry in spread.table} >= {"finished", "culled", "diverged"}
    assert spread.plan["workers"] == workers
    assert len(spread.plan["shards"]) == workers
    assert f"--workers {workers}" in spread.command


def test_a_task_made_in_python_is_refused(tmp_path):
    task = load(tmp_path)
    lone = tw.Task("lone", task.model, task.loss, train=task.train)
    with pytest.raises(ValueError, match=r"workers=2: .* task 'lone' was made in Python"):
        tw.race(lone, workers=2)


def test_a_task_that_loads_differently_is_refused(tmp_path):
    path = write(tmp_path)
    drifts = "manual_seed(1 if multiprocessing.parent_process() else 0)"
    path.write_text(path.read_text().replace("manual_seed(0)", drifts))
    with pytest.raises(ValueError, match=r"loads with other train and selection"):
        tw.race(tw.load_task(path), **RACE, workers=2)


def test_an_exception_in_a_worker_arrives_with_its_line_and_traceback(tmp_path):
    task = load(tmp_path, "if in_worker and calls > 30: raise KeyError('no such thing')")
    with pytest.raises(
        RuntimeError, match=r"KeyError: 'no such thing' \(toy.py, line 20\)"
    ) as found:
        tw.race(task, **RACE, workers=2)
    assert isinstance(found.value.__cause__, WorkerTraceback)
    assert "in advance" in str(found.value.__cause__)
    assert "\n" not in str(found.value)
    assert not multiprocessing.active_children()


def test_a_resumed_race_keeps_the_workers_of_its_plan(tmp_path):
    task = load(tmp_path)
    first = tw.race(task, **RACE, workers=2, run=tmp_path / "run")
    again = tw.race(task, **RACE, workers=1, run=tmp_path / "run")
    assert again.plan["workers"] == 2
    assert any("2 worker(s), as the plan says; 1 was asked for" in note for note in again.notes)
    assert again.to_dict()["table"] == first.to_dict()["table"]
    assert not multiprocessing.active_children()  # nothing to train, nobody started


def test_a_script_without_a_guard_races_once(tmp_path):
    write(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import thalweg as tw
        print("begun")
        found = tw.race(tw.load_task({str(tmp_path / "toy.py")!r}), ["sgd"], [0.1], workers=2)
        print(found.best.status)
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["begun", "finished"]
    assert done.returncode == 0, done.stderr
