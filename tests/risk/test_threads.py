"""One thread unless more are worth it, and as many as before afterwards."""

from __future__ import annotations

import pytest
import torch

import thalweg as tw
from thalweg.risk.threads import threads_put_back, worthwhile

CPU = torch.device("cpu")


@pytest.fixture
def two():
    """Torch with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("alone", "both", "wanted"), [(1.0, 0.7, 2), (1.0, 0.9, 1), (1.0, 9.0, 1)])
def test_more_threads_must_be_a_fifth_faster(two, alone, both, wanted):
    assert worthwhile(CPU, lambda: {1: alone, 2: both}[torch.get_num_threads()]) == wanted
    assert torch.get_num_threads() == 2


def test_nothing_is_timed_where_there_is_no_choice(two):
    def seconds():
        raise AssertionError

    assert worthwhile(torch.device("cuda"), seconds) == 2
    torch.set_num_threads(1)
    assert worthwhile(CPU, seconds) == 1


def test_threads_are_put_back_after_errors_too(two):
    @threads_put_back()
    def fails():
        torch.set_num_threads(1)
        raise KeyError("inside")

    with pytest.raises(KeyError):
        fails()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda task: tw.spectrum(task, samples=32, steps=3, layers=False, noise=False),
        lambda task: tw.diagnose(task, seconds=1, evaluations=4),
    ],
)
def test_diagnose_and_spectrum_leave_them_as_they_were(two, ask):
    ask(tw.load_task("linear-unit"))
    assert torch.get_num_threads() == 2
