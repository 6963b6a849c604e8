"""Mixed precision is the user's own loop under torch.autocast, in every engine that offers it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from thalweg.race.population.choose import choose
from thalweg.race.population.looped import Run
from thalweg.race.population.make import make
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk

STEPS = 20


def members(count=3):
    lrs = [0.05 * (k + 1) for k in range(count)]
    return [Member(Configuration("sgd", (("lr", lr),), 12), 0) for lr in lrs]


def by_hand(risk, member):
    model, feed = risk.model(member.seed), risk.feed(member.seed, 12)
    optimizer = torch.optim.SGD(model.parameters(), member.configuration.lr, fused=True)
    for step in range(STEPS):
        x, y = feed.batch(step)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return model


def test_a_looped_run_is_the_loop_under_autocast_bit_for_bit(blobs):
    risk = Risk(blobs, "cpu", autocast="bfloat16")
    run = Run(risk, members()[0], STEPS, False)
    run.advance(STEPS, lambda n: None)
    plain = Run(Risk(blobs, "cpu"), members()[0], STEPS, False)
    plain.advance(STEPS, lambda n: None)
    for mine, wanted, whole in zip(
        run.parameters, by_hand(risk, members()[0]).parameters(), plain.parameters, strict=True
    ):
        assert mine.dtype is torch.float32
        assert torch.equal(mine, wanted)
        assert not torch.equal(mine, whole)


def test_held_out_data_is_scored_in_the_same_precision(blobs):
    risk = Risk(blobs, "cpu", autocast="bfloat16")
    model, (x, y) = risk.model(0), risk.selection.samples
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = float(F.cross_entropy(model.eval()(x), y))
    assert risk.score(model, "selection").loss == wanted
    with risk.full_precision():
        assert risk.score(model, "selection").loss != wanted


def test_mapped_members_follow_the_loop_within_bfloat16(blobs):
    risk = Risk(blobs, "cpu", autocast="bfloat16")
    engine = make("vmap", risk, members(), STEPS, False, 2**30)
    assert len(list(engine.advance(STEPS, range(3), lambda n: None))) == 3
    for i, member in enumerate(members()):
        for mine, wanted in zip(
            engine.module(i).parameters(), by_hand(risk, member).parameters(), strict=True
        ):
            torch.testing.assert_close(mine, wanted, rtol=0.02, atol=0.02)


def test_the_probe_proves_engines_in_full_precision_and_says_why_not_stacked(blobs):
    found = choose(Risk(blobs, "cpu", autocast="bfloat16"), False, members(8), 200, 2**30)
    assert found.engine in ("looped", "vmap")
    assert "vmap" in found.gradients_per_second
    assert "one precision" in found.reasons["stacked"]


def test_a_race_keeps_its_precision_in_plan_and_run_directory(blobs, run_race, tmp_path):
    asked = {"seeds": 1, "run": tmp_path / "run", "autocast": "bfloat16"}
    first = run_race(blobs, ("sgd",), (0.1, 0.2), **asked)
    assert first.plan["autocast"] == "bfloat16"
    assert run_race(blobs, ("sgd",), (0.1, 0.2), **asked).table == first.table
    with pytest.raises(ValueError, match="autocast"):
        run_race(blobs, ("sgd",), (0.1, 0.2), seeds=1, run=tmp_path / "run")


@pytest.mark.parametrize(("engine", "autocast"), [("stacked", "bfloat16"), ("looped", "float16")])
def test_what_is_not_offered_is_refused(engine, autocast, blobs, run_race):
    with pytest.raises(ValueError, match=r"autocast"):
        run_race(blobs, ("sgd",), (0.1, 0.2), seeds=2, engine=engine, autocast=autocast)
