"""The race from a task to its answer: the table, its records, and what it leaves as it was."""

import json
import math
import random
import re

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.records import Race
from thalweg.risk import Risk


class Slope(nn.Module):
    """One weight from 1: f(w) = ½ w², so SGD is stable below lr 2 and best at 1."""

    def __init__(self, start=1.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([start]))

    def forward(self, x):
        return x * self.w


def half_square(output, target):
    return 0.5 * (output - target).square().mean()


def slope(start=1.0, scale=1.0, wanted=0.0, seen=0.0):
    """Trained on the target ``seen``, judged by the target ``wanted``."""
    x = scale * torch.ones(200, 1)
    return tw.Task(
        "slope",
        lambda: Slope(start),
        half_square,
        train=(x[:64], torch.full((64, 1), seen)),
        held_out=(x[64:], torch.full((136, 1), wanted)),
        recipe=tw.Recipe(batch_size=64, epochs=3),
    )


def rates(answer, optimizer):
    return sorted(e.lr for e in answer.table if e.optimizer == optimizer and not e.default)


# ---------------------------------------------------------------- the table


def test_the_table_is_sorted_and_every_entry_is_filled(blobs, run_race):
    answer = run_race(blobs, ("sgd", "adam"), (0.001, 0.03, 0.3), seeds=2, cull=False)
    assert len({(e.optimizer, e.lr) for e in answer.table}) == len(answer.table) == 6
    assert [e.lr for e in answer.defaults] == [0.001, 0.001]  # on the grid, and not raced twice
    scores = [entry.held_out for entry in answer.table]
    assert scores == sorted(scores, reverse=True)
    for entry in answer.table:
        assert entry.status == "finished"
        assert [s.seed for s in entry.seeds] == [0, 1]
        assert entry.held_out == pytest.approx(np.mean([s.held_out for s in entry.seeds]))
        assert entry.loss == pytest.approx(np.mean([s.loss for s in entry.seeds]))
        assert entry.stderr > 0
        for seed in entry.seeds:
            assert seed.evaluations == 10
            assert seed.trace.evaluations[-1] == 10
            assert seed.trace.held_out[-1] == seed.held_out


def test_winner_ties_and_defaults_are_confirmed_and_nobody_else(blobs, run_race):
    answer = run_race(blobs, ("sgd", "adam"), (1e-5, 0.03, 0.3), seeds=3, epochs=8, cull=False)
    assert {e.optimizer for e in answer.defaults} == {"sgd", "adam"}
    assert answer.best.behind is None
    assert not answer.best.tied
    lost = 0
    for entry in answer.table[1:]:
        assert entry.behind.value == pytest.approx(answer.best.held_out - entry.held_out, abs=1e-9)
        assert entry.behind.low <= entry.behind.value <= entry.behind.high
        assert (entry.confirmed is not None) == (entry.tied or entry.default)
        lost += entry.confirmed is None
    assert lost  # otherwise the last lines above say nothing
    assert answer.best.confirmation.value == answer.best.confirmed
    assert answer.best.confirmation.low <= answer.best.confirmed <= answer.best.confirmation.high


def test_scores_are_those_of_the_model_that_the_winners_line_trains(blobs, run_race):
    """Selection and confirmation scores against a plain loop, which never sees the race's code."""
    answer = run_race(blobs, ("momentum",), (0.03, 0.1), seeds=2, dtype="float64", cull=False)
    best, risk = answer.best, Risk(blobs, dtype="float64")
    parts = {"selection": [], "confirmation": []}
    for seed in range(2):
        net, feed = risk.model(seed), risk.feed(seed, 12)
        optimizer = torch.optim.SGD(net.parameters(), lr=best.lr, momentum=0.9)
        for step in range(10):
            x, y = feed.batch(step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        for part, values in parts.items():
            x, y = next(getattr(risk, part).chunks(10**6))
            values.append(float((net(x).argmax(1) == y).double().mean()))
    assert [s.held_out for s in best.seeds] == pytest.approx(parts["selection"], abs=1e-12)
    assert best.confirmed == pytest.approx(np.mean(parts["confirmation"]), abs=1e-12)


def test_under_one_seed_all_configurations_start_alike_on_the_same_batch(blobs, run_race):
    answer = run_race(blobs, ("sgd", "adam", "rmsprop"), (0.01, 0.1), seeds=2, evaluations=1)
    first = {s.seed: set() for s in answer.best.seeds}
    for entry in answer.table:
        for result in entry.seeds:
            first[result.seed].add(result.train_loss)
    assert [len(losses) for losses in first.values()] == [1, 1]
    assert first[0] != first[1]


def test_the_answer_is_the_same_every_time_and_on_disk(tmp_path, blobs, run_race):
    once = run_race(blobs, ("sgd", "adam"), seeds=2, run=tmp_path / "r")
    again = run_race(blobs, ("sgd", "adam"), seeds=2)
    assert again.to_dict()["table"] == once.to_dict()["table"]
    kept = json.loads((tmp_path / "r" / "race.json").read_text())
    assert kept == once.to_dict()
    assert Race.from_dict(kept).to_json() == once.to_json()
    assert Race.from_dict(kept).best == once.best


def test_another_seed_is_another_race(blobs, run_race):
    one, two = (run_race(blobs, seeds=1, seed=seed) for seed in (0, 5))
    assert [s.seed for s in two.best.seeds] == [5]
    assert one.to_dict()["table"] != two.to_dict()["table"]


# ---------------------------------------------------------------- budgets and axes


@pytest.mark.parametrize(
    ("budget", "evaluations"),
    [({}, 10), ({"epochs": 3}, 15), ({"epochs": 0.4}, 2), ({"evaluations": 7}, 7)],
)
def test_budgets_are_gradients_per_run(blobs, run_race, budget, evaluations):
    answer = run_race(blobs, seeds=1, **budget)
    assert {s.evaluations for e in answer.table for s in e.seeds} == {evaluations}
    assert answer.budget["evaluations"] == {"12": evaluations}
    assert answer.budget["epochs"] == {"12": evaluations / 5}
    assert answer.executed == evaluations * len(answer.table)


def test_a_budget_in_seconds_becomes_gradients_once(tmp_path, blobs, run_race):
    answer = run_race(blobs, seeds=1, seconds=0.6, run=tmp_path / "r")
    (per_run,) = answer.budget["evaluations"].values()
    assert per_run >= 8
    again = run_race(blobs, seeds=1, seconds=0.6, run=tmp_path / "r")
    assert again.plan == answer.plan
    assert again.to_dict()["table"] == answer.to_dict()["table"]


def test_every_combination_of_the_axes_is_raced(blobs, run_race):
    space = {
        "weight_decay": [0.0, 0.01],
        "momentum": [0.5, 0.9],
        "batch_size": [10, 20],
        "schedule": ["constant", "cosine"],
        "clip": [None, 1.0],
    }
    answer = run_race(blobs, ("momentum",), (0.05,), space, seeds=1, evaluations=3)
    found = {
        (
            e.hyperparameters["weight_decay"],
            e.hyperparameters["momentum"],
            *(e.settings[axis] for axis in ("batch_size", "schedule", "clip")),
        )
        for e in answer.table
        if not e.default
    }
    assert len(found) == 32
    assert {row[2] for row in found} == {10, 20}


def test_axes_do_what_they_say(run_race):
    """On f(w) = ½ w² every axis has a closed form after three steps."""

    def end(**space):
        axes = {axis: [value] for axis, value in space.items()}
        answer = run_race(
            slope(), ("momentum",), (0.1,), {"momentum": [0.0]} | axes, evaluations=3,
            seeds=1, dtype="float64",
        )  # fmt: skip
        (entry,) = [e for e in answer.table if not e.default]
        return math.sqrt(2 * entry.loss)

    assert end() == pytest.approx(0.9**3, rel=1e-12)
    assert end(weight_decay=0.5) == pytest.approx(0.85**3, rel=1e-12)
    assert end(clip=0.5) == pytest.approx(1 - 3 * 0.05, rel=1e-5)  # torch divides by norm + 1e-6
    w, velocity = 1.0, 0.0
    for _ in range(3):
        velocity = 0.5 * velocity + w
        w -= 0.1 * velocity
    assert end(momentum=0.5) == pytest.approx(w, rel=1e-12)
    from thalweg.steps import SCHEDULES

    for name in ("linear", "cosine"):
        factor = SCHEDULES.load(name)
        wanted = math.prod(1 - 0.1 * factor(step, 3) for step in range(3))
        assert end(schedule=name) == pytest.approx(wanted, rel=1e-12)


def test_the_recipe_gives_what_the_race_does_not_ask(make_task, run_race):
    task = make_task(recipe={"weight_decay": 0.02, "schedule": "linear"})
    answer = run_race(task, ("sgd", "adam"), seeds=1)
    for entry in answer.table:
        assert entry.settings["schedule"] == "linear"
        if not entry.default:
            assert entry.hyperparameters["weight_decay"] == 0.02


# ---------------------------------------------------------------- widening and divergence


def test_the_grid_hangs_from_the_highest_rate_that_trains_and_widens_upwards(run_race):
    answer = run_race(slope(), lrs="auto", seeds=1, evaluations=24, cull=False)
    assert answer.plan["highest"] == {"sgd": 1.0}  # lr 3.2 is above 2
    assert answer.plan["rates"]["sgd"] == [0.001, 0.0032, 0.01, 0.032, 0.1, 0.32, 1.0]
    assert answer.best.lr == 1.0
    assert rates(answer, "sgd")[-1] == 3.2  # one more, for the best one lay on the edge
    assert answer.table[-1].lr == 3.2


def test_the_grid_widens_downwards_while_the_lowest_rate_wins(run_race):
    backwards = slope(start=0.0, wanted=-1000.0, seen=1.0)  # every step leads the wrong way
    answer = run_race(backwards, lrs="auto", seeds=1, evaluations=24, dtype="float64")
    lowest = answer.plan["rates"]["sgd"][0]
    found = rates(answer, "sgd")
    assert answer.best.lr == found[0] < lowest
    assert len([lr for lr in found if lr < lowest]) == 6  # two rungs, three times
    assert any("lowest one tried" in note for note in answer.notes)


def test_rates_given_by_hand_are_not_widened(run_race):
    answer = run_race(slope(), lrs=(0.001, 0.01), seeds=1)
    assert rates(answer, "sgd") == [0.01]
    assert [e.lr for e in answer.defaults] == [0.001]
    assert any("highest one tried" in note for note in answer.notes)


def test_diverged_members_are_marked_and_never_win(run_race):
    answer = run_race(slope(scale=100.0), lrs=(1e-4, 1e3), seeds=2, evaluations=40)
    status = {e.lr: e.status for e in answer.table}
    assert status[1e-4] == "finished"
    assert status[1e3] == "diverged"
    bad = answer.table[-1]
    assert bad.status == "diverged"
    assert math.isnan(bad.held_out)
    assert bad.confirmed is None
    assert max(s.evaluations for s in bad.seeds) < 40
    assert answer.sensitivity[0].fails_above is not None


def test_a_diverged_twin_leaves_the_others_bit_for_bit_as_they_were(blobs, run_race):
    alone = run_race(blobs, lrs=(0.01, 0.1), seeds=2)
    beside = run_race(blobs, lrs=(0.01, 0.1, 1e30), seeds=2)
    kept = {e.lr: e.seeds for e in beside.table}
    for entry in alone.table:
        assert entry.seeds == kept[entry.lr]


def test_when_everything_diverges_it_is_said(run_race):
    answer = run_race(slope(scale=1e9), ("sgd", "momentum"), (1e3,), seeds=1, evaluations=30)
    assert {e.status for e in answer.table} == {"diverged"}
    assert any(note.startswith("Every configuration diverged.") for note in answer.notes)
    assert answer.tied == ()
    assert answer.sensitivity == ()


def test_one_seed_is_called_one_seed(blobs, run_race):
    assert any(note.startswith("One seed:") for note in run_race(blobs, seeds=1).notes)
    assert not any(note.startswith("One seed:") for note in run_race(blobs, seeds=2).notes)


# ---------------------------------------------------------------- culling and parking


@pytest.mark.parametrize("name", ["wine", "diabetes", "blobs"])
def test_culling_spares_the_winner_or_a_tied_one(name, make_task, run_race):
    task = make_task() if name == "blobs" else tw.load_task(name)
    asked = {"lrs": (0.0001, 0.001, 0.01, 0.1, 1.0), "epochs": 8}
    culled = run_race(task, ("sgd", "adam"), **asked)
    whole = run_race(task, ("sgd", "adam"), **asked, cull=False)
    assert culled.executed < 0.9 * whole.executed
    assert "culled" in {e.status for e in culled.table}
    name = (culled.best.optimizer, culled.best.lr)
    assert name in {(e.optimizer, e.lr) for e in (whole.best, *whole.tied)}


def test_runs_parked_on_disk_end_bit_for_bit_like_live_ones(blobs, run_race, monkeypatch):
    live = run_race(blobs, ("adam", "momentum"), seeds=2, epochs=4)
    monkeypatch.setattr("thalweg.race.course.LIVE_BYTES", 1)
    parked = run_race(blobs, ("adam", "momentum"), seeds=2, epochs=4)
    assert parked.to_dict()["table"] == live.to_dict()["table"]


# ---------------------------------------------------------------- what is left as it was


def test_global_state_and_the_users_model_are_untouched(make_task, run_race):
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))
    net[1].eval()
    task = make_task(model=net)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    torch.set_num_threads(2)
    seen = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    run_race(task, ("sgd", "adam"), seeds=2)
    assert torch.equal(seen[0], torch.get_rng_state())
    np.testing.assert_array_equal(seen[1], np.random.get_state()[1])  # noqa: NPY002
    assert seen[2] == random.getstate()
    assert torch.get_num_threads() == 2
    assert torch.get_default_dtype() is torch.float32
    assert not torch.backends.cudnn.deterministic
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert all(p.grad is None for p in net.parameters())


def test_global_state_is_given_back_when_the_race_fails(make_task, run_race):
    calls = []

    def loss(output, target):
        calls.append(0)
        if len(calls) > 30:
            raise RuntimeError("torn cable")
        return nn.functional.cross_entropy(output, target)

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="torn cable"):
        run_race(make_task(loss=loss))
    assert torch.equal(before, torch.get_rng_state())


def test_progress_tells_phases_counts_and_leaders(run_race, blobs):
    told = []
    answer = run_race(blobs, ("sgd", "adam"), "auto", seeds=2, progress=told.append)
    phases = list(dict.fromkeys(p.phase for p in told))
    assert phases[0] == "probing learning rates"
    assert phases[1] == "racing"
    assert phases[-1] == "confirming"
    racing = [p for p in told if p.phase != "probing learning rates"]
    done = [p.done for p in racing]
    assert done == sorted(done)
    assert all(p.done <= p.total for p in racing)
    assert racing[-1].done == racing[-1].total == answer.executed
    assert all(len(p.leaders) <= 8 for p in told)
    assert all(p.left is None or p.left >= 0 for p in told)
    assert racing[-1].leaders[0].lr == answer.best.lr


# ---------------------------------------------------------------- the winner's line


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam", "adamw", "amsgrad",
                                  "rmsprop", "adagrad", "adadelta", "delta-bar-delta"])  # fmt: skip
def test_an_entry_builds_its_optimiser_and_so_does_its_line(blobs, run_race, small_net, name):
    answer = run_race(
        blobs, (name,), (0.02,), {"weight_decay": [0.0, 0.01]}, seeds=1, evaluations=1
    )
    for entry in answer.table:
        model = small_net()
        made = entry.make(model.parameters())
        pasted = eval(entry.line, {"torch": torch, "thalweg": tw, "model": model})
        assert type(made) is type(pasted)
        one, two = (
            {k: v for k, v in o.param_groups[0].items() if k != "params"} for o in (made, pasted)
        )
        assert one == two
        assert one["lr"] == entry.lr
        assert re.fullmatch(r"[\w.]+\(model\.parameters\(\), .*\)", entry.line)
