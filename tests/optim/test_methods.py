"""Everything one can train with: names, defaults, checks and lines."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from thalweg.optim import METHODS, OPTIMIZERS
from thalweg.optim.methods import check, defaults, line, make, method


def test_whatever_races_can_be_trained_with() -> None:
    assert set(OPTIMIZERS.names()) < set(METHODS.names())


@pytest.mark.parametrize("name", METHODS.names())
def test_the_line_builds_what_make_builds(name) -> None:
    import thalweg

    model = nn.Linear(3, 2)
    built = make(name, model.parameters(), lr=0.01)
    pasted = eval(line(name, {"lr": 0.01}), {"torch": torch, "thalweg": thalweg, "model": model})
    assert type(built) is type(pasted)
    assert built.defaults == pasted.defaults


@pytest.mark.parametrize("name", METHODS.names())
def test_defaults_are_what_is_built(name) -> None:
    optimizer = make(name, [nn.Parameter(torch.ones(2))])
    for key, value in defaults(name).items():
        if key in optimizer.defaults and value is not None:  # None: torch derives it
            assert optimizer.defaults[key] == value


@pytest.mark.parametrize("name", METHODS.names())
def test_one_step_moves_downhill(name) -> None:
    w = nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64))
    optimizer = make(name, [w], lr=0.01)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    if method(name).evaluates:
        optimizer.step(closure)
    else:
        for _ in range(20):  # one cycle of Entropy-SGD
            closure()
            optimizer.step()
    assert float((w * w).sum().detach()) < 13.0


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="Did you mean 'entropy-sgd'"):
        check("entropy-sdg", {})
    with pytest.raises(ValueError, match="Did you mean 'n_langevin'"):
        check("entropy-sgd", {"n_langevn": 3})
    with pytest.raises(ValueError, match="entropy-sgd: average must be in"):
        check("entropy-sgd", {"average": 2.0})
    with pytest.raises(ValueError, match="lbfgs"):
        check("lbfgs", {"lr": -1.0})
