"""A race that was stopped anywhere goes on and ends with the same table, bit for bit."""

import json
import random
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

from thalweg.race import driver
from thalweg.rundir import DamagedRun
from thalweg.rundir.checkpoint import Checkpoints
from thalweg.rundir.journal import Journal

ASKED = {"lrs": (0.01, 0.3, 1e30), "seeds": 2, "evaluations": 16}
OPTIMISERS = ("adam", "momentum")


class Stopped(BaseException):
    """Not an Exception, like Ctrl-C: nothing may swallow it."""


def save_always(patch):
    for name, value in (("SAVE_EVERY", 0.0), ("SAVE_SHARE", 1e9), ("FLUSH_EVERY", 0.0)):
        patch.setattr(driver, name, value)


@pytest.fixture(autouse=True)
def _save_always(monkeypatch):
    save_always(monkeypatch)


@pytest.fixture
def tmp_path(quick_disk):
    with tempfile.TemporaryDirectory(dir=quick_disk) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def task(make_task):
    """Dropout and batch norm: masks and buffers must go on too."""
    return make_task(
        model=lambda: nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)
        )
    )


@pytest.fixture(scope="module")
def calm(run_race, task, quick_disk):
    """The undisturbed race: its table and its rows."""
    with pytest.MonkeyPatch.context() as patch:
        save_always(patch)
        answer = run_race(task, OPTIMISERS, run=quick_disk / "calm", **ASKED)
    return bare(answer), rows(quick_disk / "calm")


@pytest.fixture
def go(run_race, task, tmp_path):
    def once(**how):
        return run_race(task, OPTIMISERS, run=tmp_path / "run", **(ASKED | how))

    return once


def bare(answer):
    record = json.loads(answer.to_json())
    for key in ("seconds", "run", "command"):
        record.pop(key)
    record["plan"].pop("seconds_per_evaluation")
    for choice in record["plan"].get("engines", {}).values():
        for timing in ("gradients_per_second", "seconds", "reasons"):
            choice.pop(timing, None)
    return record


def rows(folder):
    return {
        (r.member, r.segment): (repr(r.payload), {k: a.tobytes() for k, a in r.arrays.items()})
        for r in Journal.read(folder / "journal.sqlite")
    }


def stop_at(monkeypatch, owner, method, k, before):
    """The k-th call stops the process' work, before or after it was done."""
    plain, calls = getattr(owner, method), []

    def stopping(self, *arguments):
        calls.append(0)
        if len(calls) == k and before:
            raise Stopped
        found = plain(self, *arguments)
        if len(calls) == k:
            raise Stopped
        return found

    monkeypatch.setattr(owner, method, stopping)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "method", "k"),
    [(Journal, "put", k) for k in (1, 16, 40)] + [(Checkpoints, "save", k) for k in (2, 29)],
)
def test_stopped_at_any_write_it_ends_as_if_it_had_not_been(
    go, calm, tmp_path, monkeypatch, owner, method, k, before
):
    with monkeypatch.context() as patched:
        stop_at(patched, owner, method, k, before)
        with pytest.raises(Stopped):
            go()
    answer = go()
    assert bare(answer) == calm[0]
    assert rows(tmp_path / "run") == calm[1]
    assert list((tmp_path / "run").glob("checkpoints/*")) == []


@pytest.mark.parametrize("engine", ["stacked", "vmap"])
def test_a_population_stopped_between_rows_and_state_goes_on_alike(
    engine, run_race, task, tmp_path, monkeypatch
):
    asked = ASKED | {"engine": engine}
    calm = run_race(task, OPTIMISERS, run=tmp_path / "calm", **asked)
    assert calm.plan["engine"] == engine
    for owner, method, k in ((Journal, "put", 3), (Journal, "put", 14), (Checkpoints, "save", 2)):
        with monkeypatch.context() as patched:
            stop_at(patched, owner, method, k, before=False)
            with pytest.raises(Stopped):
                run_race(task, OPTIMISERS, run=tmp_path / "run", fresh=True, **asked)
        assert bare(run_race(task, OPTIMISERS, run=tmp_path / "run", **asked)) == bare(calm)
        assert rows(tmp_path / "run") == rows(tmp_path / "calm")


def test_stopped_again_and_again_it_still_ends_the_same(go, calm, tmp_path, monkeypatch):
    stops = 0
    while True:
        try:
            with monkeypatch.context() as patched:
                stop_at(patched, Journal, "put", 6, before=stops % 2 == 0)
                answer = go()
            break
        except Stopped:
            stops += 1
    assert stops >= 4
    assert bare(answer) == calm[0]
    assert rows(tmp_path / "run") == calm[1]


@pytest.fixture
def halfway(go, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_at(patched, Checkpoints, "save", 20, before=False)
        with pytest.raises(Stopped):
            go()
    states = sorted((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    assert len(states) == 2
    return states


@pytest.mark.parametrize("lost", ["newest damaged", "newest gone", "all gone"])
def test_lost_states_cost_time_and_nothing_else(go, calm, halfway, lost):
    for path in halfway if lost == "all gone" else halfway[-1:]:
        if lost == "newest damaged":
            path.write_bytes(path.read_bytes()[:-5])
        else:
            path.unlink()
            path.with_suffix(".json").unlink()
    assert bare(go()) == calm[0]


def test_a_damaged_journal_is_an_error_and_not_another_answer(go, halfway, tmp_path):
    journal = tmp_path / "run" / "journal.sqlite"
    data = bytearray(journal.read_bytes())
    rng = random.Random(0)
    for _ in range(200):
        data[rng.randrange(4096, len(data))] ^= 0xFF
    journal.write_bytes(data)
    with pytest.raises(DamagedRun):
        go()
    assert go(fresh=True).best.status == "finished"


def test_an_unfinished_run_keeps_a_table_to_look_at(halfway, tmp_path):
    record = json.loads((tmp_path / "run" / "race.json").read_text())
    assert record["unfinished"]
    assert record["table"]


def test_a_finished_race_is_answered_again_without_training(go, calm, monkeypatch):
    first = go()
    monkeypatch.setattr("thalweg.race.population.looped.Run.advance", pytest.fail)
    assert bare(go()) == bare(first) == calm[0]


def test_the_plan_of_the_run_is_followed_whatever_is_measured_now(go, calm, halfway, monkeypatch):
    monkeypatch.setattr("thalweg.race.plan.Planner.plan", pytest.fail)
    before = torch.get_num_threads()
    assert bare(go(threads=2)) == calm[0]
    assert torch.get_num_threads() == before


def test_a_widened_race_goes_on_in_its_second_generation(run_race, task, tmp_path, monkeypatch):
    asked = {"lrs": "auto", "seeds": 1, "evaluations": 4, "cull": False}
    monkeypatch.setattr("thalweg.race.ladder.POINTS", 2)  # the best rate lies on an edge
    calm = run_race(task, run=tmp_path / "calm", **asked)
    known = rows(tmp_path / "calm")
    first = set(calm.plan["rates"]["sgd"]) | {e.lr for e in calm.defaults}
    assert {e.lr for e in calm.table} - first, "this race was to be widened"
    with monkeypatch.context() as patched:
        stop_at(patched, Journal, "put", len(known) - 2, before=True)
        with pytest.raises(Stopped):
            run_race(task, run=tmp_path / "run", **asked)
    assert bare(run_race(task, run=tmp_path / "run", **asked)) == bare(calm)
    assert rows(tmp_path / "run") == known
