"""How often a race looks at held-out data: every look costs steps that a plain loop would take."""

import pytest
import torch
from torch import nn

from thalweg.race.driver import Driver
from thalweg.risk import Risk

DOOR = 3  # blocks that the door tries of each part


@pytest.fixture
def counted(make_task):
    """A task judged by a metric of its own, block by block, and the sizes of the blocks scored."""
    scored = []

    def metric(output, target):
        scored.append(len(target))
        return -float(nn.functional.cross_entropy(output, target))

    return make_task(metric=metric), scored


@pytest.mark.parametrize(("evaluations", "looks"), [(4, 1), (500, 4)])
def test_a_race_of_given_rates_scores_its_members_and_little_else(
    counted, run_race, evaluations, looks
):
    task, scored = counted
    answer = run_race(task, ("sgd",), (0.01, 0.1), seeds=2, evaluations=evaluations, cull=False)
    members = 2 * 3  # the default rate is raced as well
    assert len(answer.plan["looks"]) == looks
    blocks = 20  # each part's 60 samples by threes
    assert len(scored) == 2 * DOOR + members * (looks + 1) * blocks


def test_probes_of_rates_share_their_first_look(counted, run_race):
    task, scored = counted
    answer = run_race(task, ("sgd",), "auto", seeds=1, evaluations=4, cull=False)
    probes = answer.plan["probe_evaluations"] / 20  # steps of a probe
    members = sum(len(e.seeds) for e in answer.table)
    looks = len(scored) / 20
    assert looks <= 1 + probes + 2 * members + 1  # the door's blocks are less than one look


def test_weights_of_units_are_those_of_a_model_scored_for_them_alone(blobs, run_race, monkeypatch):
    kept = []
    made = Driver.__init__

    def keep(self, *args):
        made(self, *args)
        kept.append(self)

    monkeypatch.setattr(Driver, "__init__", keep)
    run_race(blobs, seeds=1, evaluations=8)
    alone = Risk(blobs, "cpu")
    for part in ("selection", "confirmation"):
        expected = alone.score(alone.model(0), part).weights
        assert torch.equal(kept[0].risk.unit_weights(part), expected)
