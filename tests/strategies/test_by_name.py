"""``thalweg train --strategy``: by the words a person types."""

from __future__ import annotations

import json

import pytest

from thalweg.cli import main

TASK = """
import torch
from torch import nn
import thalweg as tw

g = torch.Generator().manual_seed(0)
x = torch.randn(120, 4, generator=g)
y = (x[:, 0] > 0).long()
task = tw.Task(
    "two classes",
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)),
    nn.functional.cross_entropy, train=(x[:60], y[:60]), held_out=(x[60:], y[60:]),
    recipe=tw.Recipe(lr=0.1, batch_size=10, epochs=2),
)
"""


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Run ``thalweg train mine.py`` with these words; exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)

    def run(words: str):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["train", "mine.py", *words.split()])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


@pytest.mark.slow
def test_each_strategy_runs_and_says_its_name(typed):
    cases = [
        ("greedy", "--with stage_epochs=1"),
        ("continuation", "--with sigma=0.05"),
        ("curriculum", "--with pacing=root"),
        ("stochastic-curriculum", "--with levels=3"),
        ("majorise", "--with l1=0.001"),
        ("transfer", "--with source=greedy --with layers=1 --with mode=frozen"),
        ("fitnets", "--with teacher=greedy --with hint=1 --with guided=1"),
    ]
    for name, words in cases:
        code, out, err = typed(f"--strategy {name} {words} --run {name} --json --epochs 2")
        assert code == 0, err
        record = json.loads(out)
        assert record["settings"]["strategy"] == name
        assert record["task"] == "two classes"
        assert record["source"].endswith("mine.py:task")
    code, out, _ = typed("--strategy greedy --with stage_epochs=1 --run greedy --json --epochs 2")
    assert json.loads(out)["weights"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--strategy greed", "Did you mean 'greedy'"),
        ("--strategy greedy --with stages=1", "unknown option 'stages'"),
        ("--strategy transfer", "needs source, layers"),
        ("--with sigma=1", "--with needs --strategy"),
        ("--strategy greedy --method easgd --workers 2", "do not go together"),
        ("--strategy adversarial", "needs an AdversarialPair"),
        ("--strategy adversarial --with k=a", "k is 'a'; wanted a whole number"),
        ("--strategy continuation --with sigma=abc", "sigma is 'abc'; wanted a number"),
        ("--strategy continuation --with stages=2.5", "stages is 2.5; wanted a whole number"),
        ("--strategy greedy --with fine_tune=1", "fine_tune is 1; wanted True or False"),
        ("--strategy greedy --with stage_epochs=x", "stage_epochs is 'x'; wanted a number"),
        ("--strategy curriculum --with scores=none.npy", "no .npy file of numbers"),
        ("--strategy curriculum --with teacher=nowhere", "no directory of a training"),
        ("--strategy majorise --optimizer adam", "leave out optimizer"),
    ],
)
def test_bad_input_is_one_line(typed, words, said):
    code, _, err = typed(words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
