"""``thalweg train``: real runs of a small task by the words a person types."""

from __future__ import annotations

import json

import pytest

from thalweg.records_training import Run
from thalweg.report.embed import unpack

TASK = """
import torch
from torch import nn
import thalweg as tw

g = torch.Generator().manual_seed(0)
x = torch.randn(120, 4, generator=g)
y = (x[:, 0] > 0).long()
task = tw.Task(
    "two classes", lambda: nn.Linear(4, 2), nn.functional.cross_entropy,
    train=(x[:60], y[:60]), held_out=(x[60:], y[60:]),
    recipe=tw.Recipe(lr=0.1, batch_size=10, epochs=3),
)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    return str(path)


def test_it_prints_the_answer_and_writes_weights_record_and_page(thalweg, file, tmp_path) -> None:
    ended = thalweg("train", file, "--optimizer", "momentum", "-o", "lr=0.05", "--run", "r")
    assert ended.code == 0
    lines = ended.out.strip().splitlines()
    assert lines[0].startswith("momentum reaches held-out accuracy")
    assert any("torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)" in x for x in lines)
    assert lines[-1].startswith("report: ")
    folder = tmp_path / "r"
    record = Run.from_dict(json.loads((folder / "train.json").read_text()))
    assert record.evaluations == 18
    (shown,) = unpack((folder / "report.html").read_text())
    assert shown.to_dict() | {"command": ""} == record.to_dict()
    assert (folder / "model.safetensors").is_file()
    model = record.model()
    assert model.weight.shape == (2, 4)


def test_the_record_alone_is_printed_as_json_and_redrawn(thalweg, file, tmp_path) -> None:
    ended = thalweg("train", file, "--run", "r", "--json", "--epochs", "1", "--seed", "3")
    record = json.loads(ended.out)
    assert record["seed"] == 3
    assert record["evaluations"] == 6
    redrawn = thalweg("report", "r", "--out", "page.html")
    assert redrawn.code == 0
    assert "Training two classes with" in (tmp_path / "page.html").read_text()


def test_settings_stand_on_the_page_as_they_were(thalweg, file, tmp_path) -> None:
    words = "--optimizer adam -o lr=0.0316 -o betas=(0.9,0.999) --epochs 1 --run r"
    assert thalweg("train", file, *words.split()).code == 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert all(value in page for value in ("0.0316", "0.9, 0.999", "1e-08"))


def test_the_winner_of_a_race_is_trained_on(thalweg, file, tmp_path) -> None:
    raced = thalweg(
        *f"race {file} --optimizers sgd,adam --lrs 0.01,0.3 --seeds 1 --epochs 1 --run a".split()
    )
    assert raced.code == 0
    best = json.loads((tmp_path / "a" / "race.json").read_text())["table"][0]
    ended = thalweg("train", file, "--from", "a", "--run", "b", "--json", "--epochs", "1")
    record = json.loads(ended.out)
    assert record["optimizer"] == best["optimizer"]
    assert record["hyperparameters"]["lr"] == best["hyperparameters"]["lr"]


def test_a_run_that_diverges_says_so_with_its_exit_code(thalweg, file) -> None:
    ended = thalweg(
        "train", *f"{file} --optimizer sgd -o lr=1e30 -o weight_decay=10 --run r".split()
    )
    assert ended.code == 1
    assert "diverged" in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--optimizer entropy-sdg", "Did you mean 'entropy-sgd'"),
        ("-o lr", "expected name=value"),
        ("-o lr=0.1 -o lr=0.2", "given before"),
        ("-o betas=(0.9,0.99)", "unknown hyperparameter 'betas'"),
        ("--from nowhere", "not the record of a race"),
        ("--epochs 1 --evaluations 3", "budget given twice"),
    ],
)
def test_bad_input_is_one_line(thalweg, file, words, said) -> None:
    ended = thalweg("train", file, *words.split())
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1
