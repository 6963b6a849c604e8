"""Claims on sparse codes: verdicts, and the measures they rest on against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.claims import CLAIMS, sparse, sparse_atoms, sparse_errata, sparse_lista
from thalweg.claims.base import Setting
from thalweg.claims.sparse_atoms import area, fit_gabors

VERDICTS = {
    "ista-rates": "confirmed",
    "ista-majorises": "confirmed",
    "soft-threshold": "confirmed",
    "half-in-the-energy": "corrected",
    "transpose-in-ista": "corrected",
    "convolutional-energy": "corrected",
}


@pytest.mark.parametrize(("name", "verdict"), VERDICTS.items())
def test_the_quick_claims_come_out(judged, name, verdict):
    assert judged(name).verdict == verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gabor-atoms", "lista-smooth-atoms"])
def test_the_longer_claims_come_out_at_their_smaller_size(judged, name):
    assert judged(name).verdict == "reduced"


@pytest.mark.parametrize("name", VERDICTS)
def test_a_number_beyond_its_tolerance_is_not_reproduced(judged, verdict_with, name):
    claim = judged(name)
    for measure in claim.measures:
        if measure.published is not None and measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced"


def test_the_table_names_what_the_modules_define(lectures_of):
    names = lectures_of(sparse, sparse_atoms, sparse_errata, sparse_lista)
    assert set(VERDICTS) < set(names)
    assert len(names) == 12


@pytest.mark.parametrize("name", ["lista-fista", "lcod-per-multiply", "digit-parts"])
def test_claims_on_data_say_which_folder_they_lack(name):
    with pytest.raises(FileNotFoundError, match="THALWEG_DATA"):
        CLAIMS.load(name).run(Setting())


def test_a_gabor_function_is_fitted_whole_and_noise_is_not():
    at = np.arange(10) - 4.5
    y, x = np.meshgrid(at, at, indexing="ij")
    rows = []
    for angle, frequency, phase, cx in ((0.4, 0.2, 0.3, 1.0), (1.9, 0.12, 1.2, -0.5)):
        u = (x - cx) * np.cos(angle) + y * np.sin(angle)
        v = y * np.cos(angle) - (x - cx) * np.sin(angle)
        wave = np.cos(2 * np.pi * frequency * u + phase)
        rows.append((np.exp(-(u**2) / (2 * 1.8**2) - v**2 / (2 * 2.5**2)) * wave).ravel())
    noise = np.random.default_rng(0).standard_normal((2, 100))
    atoms = torch.from_numpy(np.concatenate([rows, noise]))
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    explained, cycles, fits = fit_gabors(atoms, 10)
    assert explained[:2].min() > 0.99
    assert explained[2:].max() < 0.5
    torch.testing.assert_close(
        cycles[:2], torch.tensor([4 * 0.2 * 1.8, 4 * 0.12 * 1.8]).double(), atol=0.1, rtol=0
    )
    torch.testing.assert_close((fits[:2] - atoms[:2]).norm(dim=1) ** 2, 1 - explained[:2])


def test_area_counts_the_pixels_of_a_flat_patch_and_ignores_scale():
    flat = np.zeros((2, 100))
    flat[0, :7], flat[1, 3] = 0.5, -2.0
    np.testing.assert_allclose(area(flat), [7.0, 1.0])


def test_made_up_patches_are_six_active_before_noise():
    data = sparse_lista.smooth(Setting(), samples=500)
    assert data.X.shape == (500, 100)
    torch.testing.assert_close(data.held_out.norm(dim=1), torch.ones(2000).double())
    active = (data.exact != 0).sum(1).double().mean()
    assert 4 < active < 25
    assert data.fista[0] > data.fista[-1] > 0
