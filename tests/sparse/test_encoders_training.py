"""Training keeps its constraints, beats its start on held-out signals, and resumes to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.sparse import encode
from thalweg.sparse.encoders import LISTA, LCoD, Shrinkage

L1 = 0.1


@pytest.fixture(scope="module")
def data():
    """Sparse mixtures of 32 atoms in 16 dimensions, and their exact codes: train and held out."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((16, 32))
    D /= np.linalg.norm(D, axis=0)
    Z = rng.standard_normal((2560, 32)) * (rng.random((2560, 32)) < 0.1)
    X = Z @ D.T + 0.02 * rng.standard_normal((2560, 16))
    codes = encode(X, D, L1, tol=1e-8).z
    return D, (X[:2048], codes[:2048]), (X[2048:], codes[2048:])


def error(encoder, pair):
    X, codes = pair
    return float(((encoder.encode(X) - codes) ** 2).sum() / (codes**2).sum())


CASES = {
    "shrinkage": lambda D: Shrinkage(D, L1),
    "lista": lambda D: LISTA(D, L1, depth=3),
    "sparse": lambda D: LISTA(D, L1, depth=2, S_form="sparse", keep=0.3),
    "lowrank": lambda D: LISTA(D, L1, depth=2, S_form="lowrank", rank=8),
    "lcod": lambda D: LCoD(D, L1, steps=8),
}


@pytest.mark.parametrize("name", CASES)
def test_training_reduces_the_held_out_code_error_and_keeps_the_constraints(data, name):
    D, train, held_out = data
    encoder = CASES[name](D)
    before = error(encoder, held_out)
    training = encoder.fit(*train, steps=300, lr=5e-3, batch_size=128, every=100)
    # measured ratios: shrinkage .43, lista .21, sparse .28, lowrank .37, lcod .83
    assert error(encoder, held_out) < 0.9 * before
    assert float(encoder.theta.detach().min()) >= 0
    assert training.steps == (100, 200, 300)
    if name == "sparse":
        assert bool((encoder.S[encoder.mask == 0] == 0).all())


def test_lcod_beats_coordinate_descent_of_a_quarter_of_m_steps(data):
    D, train, held_out = data
    untrained, trained = LCoD(D, L1, steps=8), LCoD(D, L1, steps=8)
    trained.fit(*train, steps=400, lr=2e-3, batch_size=128)
    assert error(trained, held_out) < error(untrained, held_out)


def test_codes_are_computed_when_not_given(data):
    D, (X, codes), _ = data
    a, b = LISTA(D, L1), LISTA(D, L1)
    a.fit(X[:64], steps=5, batch_size=32)
    b.fit(X[:64], codes[:64], steps=5, batch_size=32)
    torch.testing.assert_close(a.S, b.S, atol=1e-4, rtol=0)  # codes agree to their gap only


def test_the_same_seed_gives_the_same_bits_and_another_does_not(data):
    D, train, _ = data
    runs = []
    for seed in (0, 0, 1):
        encoder = LISTA(D, L1)
        encoder.fit(*train, steps=20, seed=seed)
        runs.append(encoder.S.detach())
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_global_random_state_is_left_alone(data):
    D, train, _ = data
    state = torch.get_rng_state()
    LISTA(D, L1).fit(*train, steps=3)
    assert torch.equal(state, torch.get_rng_state())


class Cut(Exception):
    """Stands for a machine that went away."""


@pytest.mark.parametrize("name", ["lista", "lcod"])
def test_a_training_cut_off_resumes_to_the_same_bits(data, name, tmp_path):
    D, train, _ = data
    settings = {"steps": 60, "batch_size": 64, "every": 10}
    whole = CASES[name](D)
    curve = whole.fit(*train, **settings)

    def cut(step, steps, loss):
        if step == 30:
            raise Cut

    with pytest.raises(Cut):
        CASES[name](D).fit(*train, **settings, checkpoint=tmp_path, progress=cut)
    resumed = CASES[name](D)
    assert resumed.fit(*train, **settings, checkpoint=tmp_path) == curve
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_training_is_refused(data, tmp_path):
    D, train, _ = data
    LISTA(D, L1).fit(*train, steps=10, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"belongs to other work \(different seed\)"):
        LISTA(D, L1).fit(*train, steps=10, seed=1, checkpoint=tmp_path)


def test_progress_is_told_step_of_steps_and_loss(data):
    D, train, _ = data
    told = []
    LISTA(D, L1).fit(*train, steps=25, every=10, progress=lambda *said: told.append(said))
    assert [said[:2] for said in told] == [(10, 25), (20, 25), (25, 25)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be a whole number"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"codes": np.zeros((3, 3))}, "codes must have shape"),
        ({"X": np.zeros((0, 16))}, "empty batch"),
    ],
)
def test_bad_settings_are_refused(data, arguments, message):
    D, (X, codes), _ = data
    with pytest.raises(ValueError, match=message):
        LISTA(D, L1).fit(**({"X": X, "codes": codes} | arguments))


def test_divergence_is_an_error_that_names_the_rate(data):
    D, (X, codes), _ = data
    encoder = LISTA(D, L1, depth=7)
    with pytest.raises(FloatingPointError, match="lower lr"):
        encoder.fit(X, codes, steps=200, lr=1e250)
