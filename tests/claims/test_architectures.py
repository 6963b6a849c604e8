"""Claims on how networks compute: verdicts, and that a wrong number would show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thalweg.claims import (
    CLAIMS,
    architectures,
    architectures_lagrangian,
    architectures_layers,
    architectures_lenet,
    architectures_masks,
)
from thalweg.claims.base import Setting

VERDICTS = {
    "perceptron-xor": "confirmed",
    "backprop-deltas": "confirmed",
    "lagrangian-sign": "corrected",
    "lagrangian-index": "corrected",
    "softmax-index": "corrected",
    "maxout-relu": "confirmed",
    "convolution": "confirmed",
    "receptive-field": "confirmed",
    "map-size": "corrected",
    "pooling-2x2": "confirmed",
    "pooling-3x3": "corrected",
    "lenet-shape": "confirmed",
    "lenet-cost": "confirmed",
    "dropout-average": "confirmed",
    "dropout-p": "corrected",
    "stochastic-depth": "confirmed",
}
MODULES = (
    architectures,
    architectures_lagrangian,
    architectures_layers,
    architectures_lenet,
    architectures_masks,
)


def test_every_claim_of_these_files_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(*MODULES)) == {*VERDICTS, "lenet-mnist"}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_claim_gives_its_verdict(name, judged) -> None:
    claim = judged(name)
    assert claim.verdict == VERDICTS[name], claim.measures


@pytest.mark.parametrize("name", VERDICTS)
def test_one_number_beyond_its_tolerance_is_not_reproduced(name, judged, verdict_with) -> None:
    claim = judged(name)
    for measure in claim.measures:
        if measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced", measure.name


@pytest.mark.parametrize("name", ["perceptron-xor", "lagrangian-sign", "dropout-average"])
def test_another_seed_gives_the_same_verdict(name) -> None:
    assert CLAIMS.load(name).run(Setting(seed=7)).verdict == VERDICTS[name]


@pytest.mark.long
def test_lenet_reaches_its_accuracy_on_mnist() -> None:
    folder = os.environ.get("THALWEG_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("THALWEG_DATA with mnist/ is not set")
    assert CLAIMS.load("lenet-mnist").run(Setting(data=Path(folder))).verdict == "confirmed"
