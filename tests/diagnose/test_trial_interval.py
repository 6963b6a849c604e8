"""The interval of a trial, and how steps of a cure go on top of each other."""

from __future__ import annotations

import dataclasses
import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from thalweg.diagnose import cures
from thalweg.diagnose.cure import corrects, over
from thalweg.diagnose.judge import _renamed
from thalweg.diagnose.suspect import step
from thalweg.diagnose.trial import interval
from thalweg.records import Interval
from thalweg.records_diagnosis import Finding, Trial


def test_few_gains_have_students_interval():
    gains = [0.1, 0.15, 0.3]
    found = interval(gains)
    low, high = stats.t.interval(0.95, 2, np.mean(gains), stats.sem(gains))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert math.isinf(interval([0.3]).high)


def test_five_unequal_gains_count_by_their_order():
    found = interval([0.8, 0.05, 0.75, 0.06, 0.9])  # half of the starts fail without the cure
    assert found.low == pytest.approx(0.05)
    assert interval([0.8, -0.05, 0.75, 0.06, 0.9]).low < 0
    assert interval([0.8, 0.05, 0.75, 0.06, 0.9], extra=0.04).low < 0  # few held-out samples


def test_the_bound_is_wrong_as_rarely_as_it_says():
    draw = np.random.default_rng(0)
    false = {"normal": 0, "bimodal": 0}
    for _ in range(4000):
        a = draw.normal(0, 1, 5)
        b = draw.choice([-1.0, 1.0], 5) * draw.uniform(0.5, 1.5, 5)
        false["normal"] += interval(list(a)).low > 0
        false["bimodal"] += interval(list(b)).low > 0
    # 2.5 % by Student's t and 3.1 % by order; either of the two
    assert max(false.values()) / 4000 < 0.056 + 3 * math.sqrt(0.056 / 4000)


def test_luck_with_names_is_that_over_all_permutations():
    table = torch.randint(0, 9, (5, 5), generator=torch.Generator().manual_seed(0)).double()
    share = table / table.sum()
    scores = [sum(float(share[i, p[i]]) for i in range(5)) for p in permutations(range(5))]
    assert _renamed(table) == pytest.approx(np.std(scores))
    assert _renamed(torch.eye(3)) == 0.0


def test_settings_of_the_recipe_may_be_made_anew_but_not_other_cures():
    few = (step("recipe", "4 epochs", epochs=4), step("recipe", "rate", lr=0.1))
    more = (step("recipe", "16 epochs", epochs=16),)
    assert [s.says for s in over(few, more)] == ["rate", "16 epochs"]
    leaky = (step("other_activation", "leaky", old="relu", new="leaky_relu"),)
    tanh = (step("other_activation", "tanh", old="sigmoid", new="relu"),)
    assert over(tanh, leaky) is None


def test_a_certain_mistake_is_put_right_though_few_data_show_no_gain():
    steps = (step("dropout_in_training_only", "dropout off when evaluated"),)
    trial = Trial(
        "dropout off", steps, (0, 1, 2), 10, "accuracy", (0.8,) * 3, (0.81,) * 3,
        Interval(0.02, 0.05, -0.1, 0.14), 0.7, 0.72, "no difference",
    )  # fmt: skip
    finding = Finding("dropout-misuse", "error", "Dropout stays on", "It does.", trial=trial)
    assert corrects(finding)
    sure = dataclasses.replace(trial, gain=Interval(0.2, 0.02, 0.1, 0.3), skill_after=0.9)
    guess = dataclasses.replace(trial, steps=(step("recipe", "weight decay", weight_decay=0.1),))
    worse = dataclasses.replace(trial, gain=Interval(-0.1, 0.05, -0.3, 0.1))
    broken = dataclasses.replace(trial, verdict="fails")
    for other in (sure, guess, worse, broken):  # the first counts as helping anyway
        assert not corrects(dataclasses.replace(finding, trial=other))
    assert not corrects(dataclasses.replace(finding, severity="info"))
    assert not corrects(dataclasses.replace(finding, trial=None))
    assert all(callable(getattr(cures, name)) for name in cures.CORRECTIONS)
