"""Claims on generative models: verdicts, and that a wrong number would show."""

from __future__ import annotations

import math

import pytest
import torch

from thalweg.claims import CLAIMS, generative, generative_codes, generative_game, generative_latent
from thalweg.claims.base import Setting

VERDICTS = {
    "gan-best-answer": "confirmed",
    "gan-discrete": "confirmed",
    "gan-gaussian": "confirmed",
    "gan-saturation": "confirmed",
    "gan-noise-prior": "corrected",
    "gan-ring": "confirmed",
    "linear-autoencoder-pca": "confirmed",
    "reconstruction-exponent": "corrected",
    "incompressible": "confirmed",
    "vae-linear": "confirmed",
    "autoencoder-energy": "confirmed",
}
MODULES = (generative, generative_codes, generative_game, generative_latent)


def test_every_generative_claim_of_these_files_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(*MODULES)) == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_the_generative_claim_gives_its_verdict(name, judged) -> None:
    claim = judged(name)
    assert claim.verdict == VERDICTS[name], claim.measures


@pytest.mark.parametrize("name", VERDICTS)
def test_one_number_beyond_its_tolerance_is_not_reproduced(name, judged, verdict_with) -> None:
    claim = judged(name)
    for measure in claim.measures:
        if measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced", measure.name


@pytest.mark.parametrize("name", ["gan-discrete", "linear-autoencoder-pca", "vae-linear"])
def test_another_seed_gives_the_same_verdict(name) -> None:
    assert CLAIMS.load(name).run(Setting(seed=3)).verdict == VERDICTS[name]


def test_total_variation_on_the_ring_stands_beside_its_sampling_floor(judged) -> None:
    values = {m.name: m.ours for m in judged("gan-ring").measures}
    floor = values["the same of fresh data: the sampling floor"]
    assert 0.02 < floor < values["total variation of the samples from the data"] < 1
    assert values["modes with more than 2 % of the samples"] <= generative_game.MODES


def test_a_generator_that_is_the_data_leaves_only_the_floor() -> None:
    """N(4, 0.25) itself through the claim's histogram: the number it calls total variation."""
    g = torch.Generator().manual_seed(0)
    ring = [generative_game._ring(20_000, g) for _ in range(2)]
    floor = generative_game._variation(*ring)
    shifted = generative_game._variation(ring[0], ring[1] + 0.3)
    assert floor < 0.06 < 0.5 < shifted <= 1 + 1e-6
    assert math.isclose(generative_game._variation(ring[0], ring[0]), 0)
