"""Claims on codes in one pass: PSD, KL-sparse units, the recurrent autoencoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.claims import CLAIMS, amortised, recurrent_codes
from thalweg.claims.amortised import L1, plain_energy
from thalweg.claims.recurrent_codes import GROUPS, examine, group_values
from thalweg.sparse import encode
from thalweg.sparse.autoencoders import DrSAE

VERDICTS = {"psd-one-pass": "confirmed", "sparse-kl": "reduced", "drsae-digits": "corrected"}
SLOW = {"drsae-mnist"}


def test_every_claim_of_these_files_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(amortised, recurrent_codes)) == set(VERDICTS) | SLOW
    assert not CLAIMS.load("drsae-mnist").quick


@pytest.mark.parametrize("name", VERDICTS)
def test_the_claim_gives_its_verdict_with_figures(name, judged) -> None:
    claim = judged(name)
    assert claim.verdict == VERDICTS[name], claim.measures
    assert claim.charts


@pytest.mark.parametrize("name", VERDICTS)
def test_one_number_beyond_its_tolerance_is_not_reproduced(name, judged, verdict_with) -> None:
    claim = judged(name)
    for measure in claim.measures:
        if measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced", measure.name


def test_the_plain_energy_is_that_of_the_library() -> None:
    g = torch.Generator().manual_seed(0)
    D = torch.randn(6, 9, generator=g, dtype=torch.float64)
    X = torch.randn(4, 6, generator=g, dtype=torch.float64)
    found = encode(X, D, L1, tol=1e-10)
    torch.testing.assert_close(plain_energy(X, found.z, D), found.energy)


def test_groups_made_by_hand_give_the_values_of_the_claim() -> None:
    model, X = DrSAE(16, 8, 4, 2, l1=0.0), torch.rand(40, 16)
    with torch.no_grad():
        model.D.abs_()
        model.E.copy_(0.2 * model.D.T)
        model.S.zero_()
        model.b.zero_()
        model.C.fill_(0.0)
        model.C[0] = 0.1
        model.E[6:] = 0  # two units hear the others alone
        model.S[6:, :6] = 0.5
        model.C[0, 6:] = 2.0
    seen = examine(model, X, torch.zeros(40, dtype=torch.int64))
    assert seen.roles.categorical.tolist() == [False] * 6 + [True] * 2
    values = group_values(seen)
    assert values[GROUPS[0].name] < -0.99
    assert values[GROUPS[1].name] == pytest.approx(20, rel=1e-4)
    assert seen.error == 0
    np.testing.assert_allclose(seen.build[0], 1, rtol=1e-5)
    assert seen.build[1, 0] == 0
