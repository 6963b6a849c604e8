"""Workers and drivers that are killed: the same table in the end, and nobody is left behind."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

import thalweg as tw
from thalweg.race import driver
from thalweg.race.executors.local import Workers
from thalweg.race.executors.messages import Arrived
from thalweg.race.executors.pool import Pool
from thalweg.race.executors.setup import open_pool
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk
from thalweg.risk.fingerprint import fingerprint
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
here = Path(__file__).parent

def net():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))

def shot():
    for flag in here.glob("shoot-*"):  # whoever removes the flag is hit
        try:
            flag.unlink()
            return True
        except FileNotFoundError:
            pass
    return False

def loss(output, target):
    global calls
    calls += 1
    in_worker = multiprocessing.parent_process() is not None
    if in_worker and calls % {every} == 0 and shot():
        os.kill(os.getpid(), signal.SIGKILL)
    if in_worker:
        time.sleep({sleep})
    return nn.functional.cross_entropy(output, target)

task = tw.Task(
    "toy", net, loss, train=(X[:80], y[:80]), held_out=(X[80:], y[80:]),
    recipe=tw.Recipe(batch_size=10, epochs=5),
)
"""
RACE = {"optimizers": ("momentum", "adam"), "lrs": [0.001, 0.01, 0.1, 1e37], "seeds": 3}
MARK = "THALWEG_TEST_MARK"


def load(folder, every=50, sleep=0.0):
    path = folder / "toy.py"
    path.write_text(TASK.format(every=every, sleep=sleep))
    return tw.load_task(path)


def rows(run):
    """The journal's rows, every number spelled exactly."""
    return {
        (row.member, row.segment): (
            {name: repr(value) for name, value in row.payload.items()},
            {name: (str(a.dtype), a.tobytes()) for name, a in row.arrays.items()},
        )
        for row in Journal.read(run / "journal.sqlite")
    }


@pytest.fixture
def saving_always(monkeypatch):
    """States are saved after every member instead of every half minute."""
    monkeypatch.setattr(driver, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(driver, "SAVE_SHARE", 1e9)


@pytest.fixture
def undisturbed(tmp_path):
    """Rows and table of the race that nobody disturbs."""
    found = tw.race(load(tmp_path), **RACE, threads=1, run=tmp_path / "undisturbed")
    return rows(tmp_path / "undisturbed"), found.to_dict()["table"]


@pytest.mark.parametrize("every", [37, 150, 401])  # early, and after one and several segments
def test_killed_workers_change_nothing(tmp_path, undisturbed, every):
    task = load(tmp_path, every)
    for n in range(2):
        (tmp_path / f"shoot-{n}").touch()
    found = tw.race(task, **RACE, workers=2, run=tmp_path / "run")
    assert len(list(tmp_path.glob("shoot-*"))) < 2  # at least one was hit
    assert (rows(tmp_path / "run"), found.to_dict()["table"]) == undisturbed


def test_killed_workers_go_on_from_saved_states(tmp_path, undisturbed, saving_always):
    task = load(tmp_path, 401)
    for n in range(2):
        (tmp_path / f"shoot-{n}").touch()
    found = tw.race(task, **RACE, workers=2, run=tmp_path / "run")
    assert len(list(tmp_path.glob("shoot-*"))) < 2  # at least one was hit
    assert (rows(tmp_path / "run"), found.to_dict()["table"]) == undisturbed


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_that_stack_members_may_be_killed_too(tmp_path, monkeypatch, workers):
    """Members of a stack are trained together; not even their number may touch their bits."""
    task = tw.load_task("digits-mlp")
    how = {"optimizers": ("sgd", "adam"), "lrs": [0.003, 0.01, 0.03, 0.1], "evaluations": 80}
    how |= {"engine": "stacked", "threads": 1}
    alone = tw.race(task, **how, run=tmp_path / "undisturbed")
    shots, listen = [10, 40], Pool.receive

    def receive(pool):
        for slot, answer in listen(pool):
            if shots and isinstance(answer, Arrived) and answer.step >= shots[0]:
                shots.pop(0)
                os.kill(pool.pids[slot], signal.SIGKILL)
            yield slot, answer

    monkeypatch.setattr(Pool, "receive", receive)
    found = tw.race(task, **how, workers=workers, run=tmp_path / "run")
    assert not shots
    assert found.plan["engine"] == alone.plan["engine"] == "stacked"
    assert rows(tmp_path / "run") == rows(tmp_path / "undisturbed")
    assert found.to_dict()["table"] == alone.to_dict()["table"]


def test_a_worker_that_dies_again_and_again_ends_the_race(tmp_path):
    task = load(tmp_path, every=1)
    for n in range(9):
        (tmp_path / f"shoot-{n}").touch()
    with pytest.raises(ChildProcessError, match=r"worker \d of 2 died 3 times .*SIGKILL"):
        tw.race(task, **RACE, workers=2)
    assert not multiprocessing.active_children()


def test_a_race_stopped_in_the_middle_goes_on_from_its_states(tmp_path, undisturbed, saving_always):
    task = load(tmp_path, sleep=0.004)

    class Stop(Exception):
        pass

    def after(gradients):
        def look(progress):
            if progress.done > gradients:
                raise Stop

        return look

    for gradients in (60, 100, 140):
        with pytest.raises(Stop):
            tw.race(task, **RACE, workers=2, run=tmp_path / "run", progress=after(gradients))
    found = tw.race(task, **RACE, workers=2, run=tmp_path / "run")
    assert (rows(tmp_path / "run"), found.to_dict()["table"]) == undisturbed


def test_a_state_holds_what_arrived_but_was_not_yielded(tmp_path):
    risk = Risk(load(tmp_path), "cpu")
    plan = {"workers": 2, "threads": 1, "stochastic": True}
    plan["engines"] = {"10": {"engine": "looped", "chunk": 1}}
    asked = {"seed": 0, "data": fingerprint(risk)}
    runs = [
        Member(Configuration("sgd", (("lr", lr),), 10), seed)
        for seed in (0, 1)
        for lr in (0.001, 0.01, 0.1)
    ]
    everyone = range(len(runs))

    def fresh(pool, group):
        return Workers(pool, group, runs, 40, "looped")

    with open_pool(risk, plan, asked, 2**30) as pool:
        assert isinstance(pool, Pool)
        whole = {d.index: d for d in fresh(pool, 1).advance(8, everyone, lambda n: None)}
        first = fresh(pool, 2)
        going = first.advance(8, everyone, lambda n: None)
        begun = next(going)
        time.sleep(0.5)  # the others arrive meanwhile
        tensors, meta = first.state()
        second = fresh(pool, 3)
        second.restore(tensors, meta)
        left = [i for i in everyone if i != begun.index]
        rest = {}
        for done in second.advance(8, left, lambda n: None):
            assert second.score(done.index, "selection").mean >= 0
            rest[done.index] = done
        assert {begun.index: begun} | rest == whole


CHILD = """
import sys
import thalweg as tw
from thalweg.race import driver
driver.SAVE_EVERY, driver.SAVE_SHARE = 0.0, 1e9
tw.race(tw.load_task(sys.argv[1]), **{race!r}, workers=2, run=sys.argv[2])
"""


def start(folder, mark):
    script = folder / "child.py"
    script.write_text(CHILD.format(race=RACE))
    return subprocess.Popen(
        [sys.executable, script, folder / "toy.py", folder / "run"],
        env=os.environ | {MARK: mark},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def marked(mark):
    """Processes that carry this mark in their environment."""
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                place.name.isdigit()
                and f"{MARK}={mark}".encode() in (place / "environ").read_bytes()
            ):
                found.append(int(place.name))
    return found


def until(condition, *arguments, seconds=60):
    end = time.monotonic() + seconds
    while not condition(*arguments) and time.monotonic() < end:
        time.sleep(0.05)
    return condition(*arguments)


def gone(mark):
    return not marked(mark)


def far(child, folder, saved):
    return kept(folder) >= saved or child.poll() is not None


def kept(folder):
    """How many states of a race are saved: a sign of how far it has come."""
    found = list((folder / "run" / "checkpoints").glob("*.json"))
    return max((int(path.name.split(".")[-2]) for path in found), default=0)


@pytest.mark.slow
def test_a_killed_driver_leaves_nobody_behind_and_resumes(tmp_path, undisturbed):
    load(tmp_path, sleep=0.005)
    for saved in (4, 12):
        mark = uuid.uuid4().hex
        child = start(tmp_path, mark)
        assert until(far, child, tmp_path, saved)
        assert len(marked(mark)) >= 3  # driver and two workers at least
        child.kill()
        child.communicate()
        assert until(gone, mark, seconds=10)
    found = tw.race(tw.load_task(tmp_path / "toy.py"), **RACE, workers=2, run=tmp_path / "run")
    assert (rows(tmp_path / "run"), found.to_dict()["table"]) == undisturbed


def test_an_interrupt_of_the_whole_group_ends_everyone_quietly(tmp_path):
    load(tmp_path, sleep=0.005)
    mark = uuid.uuid4().hex
    child = start(tmp_path, mark)
    assert until(far, child, tmp_path, 4)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    _, stderr = child.communicate(timeout=20)
    assert child.returncode == -signal.SIGINT
    assert stderr.count(b"Traceback") == 1  # the driver's own
    assert until(gone, mark, seconds=10)
