"""``thalweg spectrum``: the words a person types, the answer, the page and clear refusals."""

from __future__ import annotations

import json

import pytest

from thalweg.curvature import advise_batch_size, noise_scale
from thalweg.records import SpectrumReport
from thalweg.report.embed import unpack
from thalweg.task import load_task

TASK = """
import torch
from torch import nn
import thalweg as tw

g = torch.Generator().manual_seed(0)
x = torch.randn(90, 4, generator=g)
y = (x[:, 0] > 0).long()


class Loud(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (1 + torch.rand((), generator=g))


task = tw.Task("two", lambda: nn.Linear(4, 2), nn.functional.cross_entropy,
               train=(x[:60], y[:60]), held_out=(x[60:], y[60:]),
               recipe=tw.Recipe(lr=0.1, batch_size=10, epochs=2))
class Hill(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.w[0] ** 2 - self.w[1] ** 2 + 0 * x.sum()


hill = tw.Task("hill", Hill, lambda z, y: z, train=(x[:60], y[:60]), held_out=(x[60:], y[60:]))
loud = tw.Task("loud", lambda: Loud(4, 2), nn.functional.cross_entropy,
               train=(x[:60], y[:60]), held_out=(x[60:], y[60:]))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    return f"{path}:task"


def test_the_limit_of_the_linear_unit_is_exact_and_said_so(thalweg, tmp_path) -> None:
    ended = thalweg("spectrum", "linear-unit", "--run", str(tmp_path / "s"))
    assert ended.code == 0
    text = " ".join(ended.out.split())
    assert "λmax = 0.84" in text
    assert "converges below a rate of 2.38 and diverges above it" in text
    assert "The condition number (largest to smallest non-zero) is 23.3" in text


def test_a_loss_that_is_no_quadratic_never_reads_diverges(thalweg, file) -> None:
    ended = thalweg("spectrum", file, "--run", "s")
    assert ended.code == 0
    assert "the first steps of plain descent are stable up to a rate of" in ended.out
    assert "diverges" not in ended.out


def test_record_page_and_screen_agree_and_the_landscape_is_drawn(thalweg, file, tmp_path) -> None:
    ended = thalweg("spectrum", file, "--run", "s", "--landscape", "--json")
    assert ended.code == 0
    record = SpectrumReport.from_dict(json.loads(ended.out))
    page = (tmp_path / "s" / "report.html").read_text()
    assert unpack(page) == [record]
    assert json.loads((tmp_path / "s" / "spectrum.json").read_text()) == record.to_dict()
    assert len(record.lines) == 3
    for name in ("density", "lines", "plane"):
        assert f'data-figure="{name}"' in page
    again = thalweg("report", str(tmp_path / "s"), "--out", str(tmp_path / "again.html"))
    assert again.code == 0
    assert unpack((tmp_path / "again.html").read_text()) == [record]


def test_trained_weights_have_their_own_curvature(thalweg, file) -> None:
    assert thalweg("train", file, "--optimizer", "sgd", "--run", "r", "-q").code == 0
    fresh = json.loads(thalweg("spectrum", file, "--run", "a", "--json").out)
    ended = thalweg("spectrum", file, "--weights", "r/model.safetensors", "--run", "b", "--json")
    trained = json.loads(ended.out)
    assert trained["weights"] == "r/model.safetensors"
    assert trained["loss"] < fresh["loss"]


def test_verdict_and_batch_size_stand_on_screen_in_the_record_and_on_the_page(
    thalweg, file, tmp_path
) -> None:
    ended = thalweg("spectrum", file, "--run", "s", "--float64")
    assert ended.code == 0
    record = SpectrumReport.from_dict(json.loads((tmp_path / "s" / "spectrum.json").read_text()))
    at, advice = record.critical, record.batch
    assert at is not None
    assert advice is not None
    assert at.kind == "not critical"
    wanted = noise_scale(load_task(file), dtype="float64", device="cpu")
    assert advice == advise_batch_size(wanted)
    text = " ".join(ended.out.split())
    assert "No critical point: the gradient norm is" in text
    assert f"Batch size: about {advice.batch_size}" in text
    page = (tmp_path / "s" / "report.html").read_text()
    for words in ("No critical point", f"Batch size: about {advice.batch_size}", "What a batch"):
        assert words in page


def test_a_saddle_is_proved_from_the_command_line(thalweg, file) -> None:
    ended = thalweg("spectrum", file.replace(":task", ":hill"), "--run", "s", "--no-noise")
    text = " ".join(ended.out.split())
    assert "The gradient vanishes (norm 0). A saddle, proved by a negative eigenvalue." in text
    assert "1 of 2 directions curve downwards; along the steepest, curvature −2" in text
    assert "Batch size" not in text
    steep = thalweg("spectrum", file, "--run", "t", "--tol-gradient", "10", "--no-noise")
    assert "The gradient vanishes" in " ".join(steep.out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tol-gradient", "0"), "tol_gradient must be above 0"),
        (("--operator", "kfac"), "operator is 'kfac'"),
        (("--tol", "2"), "tol must be between 0 and 1"),
        (("--mode", "test"), "mode is 'test'"),
        (("--part", "rest"), "part is 'rest'"),
        (("--weights", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--device", "nowhere"), "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(thalweg, file, words, message) -> None:
    ended = thalweg("spectrum", file, "--run", "s", "-q", *words)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_loss_that_is_not_deterministic_is_refused_with_its_cause(thalweg, file) -> None:
    ended = thalweg("spectrum", file.replace(":task", ":loud"), "--run", "s", "-q")
    assert ended.code == 2
    assert "not deterministic" in ended.err
    assert "Loud" in ended.err
