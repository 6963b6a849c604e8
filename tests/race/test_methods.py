"""Methods without a rule race at equal gradients: own steps, own centre, every call counted."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.optim import EntropySGD
from thalweg.race.population.driven import Driven
from thalweg.race.population.looped import Looped, Run
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk
from thalweg.rundir.checkpoint import pack, unpack
from thalweg.task import Recipe, Task

SAMPLES, BATCH = 40, 8  # five minibatches an epoch


@pytest.fixture
def blobs():
    def build(loss=F.cross_entropy, model=None):
        g = torch.Generator().manual_seed(0)
        y = torch.arange(80) % 3
        x = torch.randn(80, 4, generator=g) + 2.0 * F.one_hot(y, 4)
        return Task(
            "blobs",
            model or (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))),
            loss,
            train=(x[:SAMPLES], y[:SAMPLES]),
            held_out=(x[SAMPLES:], y[SAMPLES:]),
            recipe=Recipe(batch_size=BATCH),
        )

    return build


def member(name, seed=0, **hyperparameters):
    return Member(Configuration(name, tuple(sorted(hyperparameters.items())), BATCH), seed)


def nothing(n):
    pass


def test_entropy_sgd_takes_the_steps_of_a_plain_loop_and_is_scored_at_its_centre(blobs):
    risk = Risk(blobs(), "cpu", torch.float64)
    run = Driven(risk, member("entropy-sgd", lr=0.5, n_langevin=5, outer_momentum=0.0), 33, False)
    run.advance(33, nothing)

    model, feed = risk.model(0), risk.feed(0, BATCH)
    optimizer = EntropySGD(model.parameters(), lr=0.5, n_langevin=5, outer_momentum=0.0)
    for step in range(33):  # six cycles and three steps of a seventh
        optimizer.zero_grad()
        x, y = feed.batch(step)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    walking = risk.score(model, "selection").loss
    with optimizer.at_centre():
        centre = risk.score(model, "selection").loss
    assert run.score("selection").loss == pytest.approx(centre, abs=1e-12)
    assert abs(centre - walking) > 1e-6
    assert run.evaluations == 33


@pytest.mark.parametrize("name", ["lbfgs", "nonlinear-cg"])
def test_every_evaluation_of_a_line_search_is_charged_an_epoch(name, blobs):
    seen = []

    def counted(output, target):
        if output.requires_grad:
            seen.append(len(target))
        return F.cross_entropy(output, target)

    risk = Risk(blobs(counted), "cpu", torch.float64)
    run = Driven(risk, member(name, lr=1.0), 93, False)
    seen.clear()
    ticks = []
    for stop in (10, 20, 50, 93):
        assert run.advance(stop, ticks.append) > 0
        assert run.step == stop
    assert run.evaluations == sum(ticks) <= 93
    # the one that was refused was computed, but never used
    assert seen[0] == SAMPLES
    assert len(seen) * 5 in (run.evaluations, run.evaluations + 5)
    assert run.evaluations >= 90  # nothing left but less than one evaluation


def test_a_search_that_runs_out_of_gradients_ends_at_the_best_weights_it_saw(blobs):
    risk = Risk(blobs(), "cpu", torch.float64)
    losses = []
    for total in (10, 20, 40, 80, 160):
        run = Driven(risk, member("lbfgs", lr=1.0), total, False)
        run.advance(total, nothing)
        x, y = risk.train.samples
        with torch.no_grad():
            losses.append(float(F.cross_entropy(run.model(x), y)))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("name", "more"),
    [("entropy-sgd", {"n_langevin": 7}), ("lbfgs", {}), ("nonlinear-cg", {})],
)
def test_saved_states_and_parked_runs_go_on_bit_for_bit(name, more, blobs):
    risk = Risk(blobs(), "cpu")
    straight = Driven(risk, member(name, lr=0.3, **more), 120, False)
    half = Driven(risk, member(name, lr=0.3, **more), 120, False)
    for stop in (45, 120):
        straight.advance(stop, nothing)
    half.advance(45, nothing)
    tensors, meta = pack(half.state())
    again = Driven(risk, member(name, lr=0.3, **more), 120, False)
    again.restore(unpack(tensors, json.loads(json.dumps(meta))))
    again.advance(120, nothing)
    for a, b in zip(straight.parameters, again.parameters, strict=True):
        assert torch.equal(a, b)
    assert again.evaluations == straight.evaluations

    group = [member(name, seed, lr=0.3, **more) for seed in range(3)]
    parked = Looped(risk, group, 120, False, memory=1)  # room for one run at a time
    for stop in (45, 120):
        assert len(list(parked.advance(stop, range(3), nothing))) == 3
    for a, b in zip(straight.parameters, parked.run(0).parameters, strict=True):
        assert torch.equal(a, b)


def test_a_race_of_rules_and_methods_spends_equal_gradients(blobs, run_race):
    names = ("sgd", "entropy-sgd", "lbfgs")
    found = run_race(blobs(), names, "auto", seeds=2, evaluations=60, cull=False, device="cpu")
    assert {e.optimizer for e in found.table} == set(names)
    for entry in found.table:
        spent = {seed.evaluations for seed in entry.seeds}
        assert spent == {60}, entry
    searched = [e for e in found.table if e.optimizer == "lbfgs"]
    assert [e.lr for e in searched] == [1.0]  # a line search corrects any rate: no ladder
    assert searched[0].settings["batch_size"] is None
    assert isinstance(searched[0].make(nn.Linear(2, 2).parameters()), torch.optim.LBFGS)
    assert "line_search_fn='strong_wolfe'" in searched[0].line


def test_rules_stay_stacked_beside_methods(blobs, run_race):
    how = {"seeds": 2, "evaluations": 24, "cull": False, "device": "cpu", "dtype": "float64"}
    mixed = run_race(blobs(), ("sgd", "entropy-sgd"), (0.05, 0.1), engine="stacked", **how)
    alone = run_race(blobs(), ("sgd",), (0.05, 0.1), engine="looped", **how)
    assert mixed.plan["engine"] == "stacked"
    ours = {e.lr: e.loss for e in mixed.table if e.optimizer == "sgd"}
    assert ours == pytest.approx({e.lr: e.loss for e in alone.table}, rel=1e-9)


def test_axes_go_to_the_optimisers_that_know_them(blobs, run_race):
    found = run_race(
        blobs(),
        ("sgd", "entropy-sgd", "nonlinear-cg"),
        (0.1,),
        space={"schedule": ["cosine"], "lr_inner": [0.05, 0.1]},
        seeds=1,
        evaluations=20,
        device="cpu",
    )
    inner = {e.hyperparameters.get("lr_inner") for e in found.table if e.optimizer != "sgd"}
    assert {0.05, 0.1} <= inner
    schedules = {e.settings["schedule"] for e in found.table if e.optimizer == "nonlinear-cg"}
    assert schedules == {"constant"}


def test_a_budget_below_two_passes_is_refused_for_line_searches(blobs, run_race):
    with pytest.raises(ValueError, match=r"lbfgs takes all samples at once.*at least 10"):
        run_race(blobs(), ("sgd", "lbfgs"), (0.1,), seeds=1, evaluations=9, device="cpu")


def test_a_finished_race_with_methods_resumes_to_the_same_table(blobs, run_race, tmp_path):
    def go(**more):
        return run_race(
            blobs(),
            ("adam", "entropy-sgd"),
            (0.01, 0.1),
            seeds=2,
            evaluations=24,
            device="cpu",
            run=tmp_path / "run",
            **more,
        )

    assert go().table == go().table


def test_rules_are_not_driven(blobs):
    from thalweg.race.population.looped import start

    risk = Risk(blobs(), "cpu")
    assert isinstance(start(risk, member("adam", lr=0.1), 5, False), Run)
    assert isinstance(start(risk, member("entropy-sgd", lr=0.1), 5, False), Driven)
