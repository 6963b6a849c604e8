"""Averaged iterates against the stacked mean and the recursion written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from thalweg.optim.averaging import Averaged


def walk(model: nn.Module, steps: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(steps):
        with torch.no_grad():
            model.weight.copy_(torch.randn(model.weight.shape, generator=g))
        seen.append(model.weight.detach().clone())
        yield seen


@pytest.mark.parametrize("burn_in", [0, 3, 7])
def test_polyaks_average_is_the_mean_of_the_iterates_since_the_burn_in(burn_in) -> None:
    model = nn.Linear(3, 2, bias=False).double()
    average = Averaged(model, burn_in=burn_in)
    for seen in walk(model, 10):
        average.update_parameters(model)
        wanted = torch.stack(seen[burn_in:]).mean(0) if len(seen) > burn_in else seen[-1]
        torch.testing.assert_close(average.module.weight.detach(), wanted, rtol=1e-12, atol=1e-13)


def test_the_exponential_average_is_its_recursion_and_keeps_a_constant() -> None:
    model = nn.Linear(3, 2, bias=False).double()
    average, wanted = Averaged(model, "exponential", decay=0.9, burn_in=2), None
    for seen in walk(model, 9):
        average.update_parameters(model)
        if len(seen) <= 3:
            wanted = seen[-1]
        else:
            wanted = 0.9 * wanted + 0.1 * seen[-1]
        torch.testing.assert_close(average.module.weight.detach(), wanted, rtol=1e-12, atol=1e-13)
    still = nn.Linear(3, 2)
    constant = Averaged(still, "exponential", decay=0.99)
    for _ in range(5):
        constant.update_parameters(still)
    torch.testing.assert_close(constant.module.weight, still.weight)


def test_an_average_is_saved_and_gone_on_with() -> None:
    model = nn.Linear(3, 2, bias=False).double()
    one, two = Averaged(model, burn_in=2), Averaged(model, burn_in=2)
    for seen in walk(model, 8):
        one.update_parameters(model)
        if len(seen) == 5:
            two.load_state_dict(one.state_dict())
        if len(seen) > 5:
            two.update_parameters(model)
    assert torch.equal(one.module.weight, two.module.weight)


def test_the_average_of_sgd_on_a_noisy_bowl_falls_as_one_over_k_while_the_last_iterate_stalls():
    # f = w²/2 with unit gradient noise and rate 0.2: Var(last) = .2/(2-.2), Var(mean) -> 1/K
    g = torch.Generator().manual_seed(0)
    w, mean = torch.zeros(4000, dtype=torch.float64), torch.zeros(4000, dtype=torch.float64)
    model, steps = nn.Linear(4000, 1, bias=False).double(), 400
    with torch.no_grad():
        model.weight.zero_()
    average = Averaged(model)
    for _ in range(steps):
        w -= 0.2 * (w + torch.randn(4000, generator=g, dtype=torch.float64))
        with torch.no_grad():
            model.weight.copy_(w[None])
        average.update_parameters(model)
    mean = average.module.weight.detach()[0]
    assert float(w.var()) == pytest.approx(0.2 / 1.8, rel=0.08)
    assert float(mean.var()) == pytest.approx(1 / steps, rel=0.12)


def test_bad_arguments_are_named() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="known: polyak, exponential"):
        Averaged(model, "mean")
    with pytest.raises(ValueError, match="decay must be in"):
        Averaged(model, decay=1.0)
    with pytest.raises(ValueError, match="burn_in must be a whole number"):
        Averaged(model, burn_in=-1)
