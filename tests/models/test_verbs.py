"""What the verbs do with the built-in tasks: train and race take all, spectrum says what not."""

from __future__ import annotations

import math

import pytest

import thalweg as tw
from thalweg.cli import main
from thalweg.task.builtin import TASKS

FOLDERS = ("mnist", "mnist-small-lenet", "fashion-mnist", "cifar10")
OURS = [name for name in TASKS.names() if name not in FOLDERS]
LARGE = ("digits", "small-lenet", "char-lm", "char-lstm")


@pytest.mark.parametrize("name", OURS)
def test_a_few_gradients_train_and_the_criterion_is_finite(name) -> None:
    run = tw.train(tw.load_task(name), evaluations=3, seed=1)
    assert run.evaluations == 3
    assert math.isfinite(run.held_out)
    assert math.isfinite(run.confirmed)
    assert sum(p.numel() for p in run.model().parameters()) > 0


@pytest.mark.parametrize("name", [n for n in OURS if n not in LARGE])
def test_a_race_ranks_both_rates(name) -> None:
    race = tw.race(
        tw.load_task(name), optimizers=("adam",), lrs=(1e-4, 2e-3), seeds=1, evaluations=4
    )
    assert sorted(e.hyperparameters["lr"] for e in race.table if not e.default) == [1e-4, 2e-3]
    assert all(math.isfinite(entry.held_out) for entry in race.table)


@pytest.mark.parametrize("name", ["gan-gaussian", "gan-ring", "energy-autoencoder"])
def test_a_spectrum_that_would_mislead_is_refused_in_one_line(name, capsys, tmp_path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["spectrum", name, "--run", str(tmp_path / "s")])
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert f"task '{name}' has no spectrum: " in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("name", "strategy", "words", "said"),
    [
        ("gan-ring", "greedy", [], "takes whole batches"),
        ("gan-ring", "fitnets", ["--with", "teacher=t"], "takes whole batches"),
        ("gan-ring", "majorise", [], "draws random numbers"),
        ("dropout", "majorise", [], "draws random numbers"),
        ("digits-mlp", "adversarial", [], "needs an AdversarialPair"),
        ("stochastic-depth", "greedy", [], "is no plain chain"),
        ("vae", "transfer", ["--with", "source=nowhere", "--with", "layers=1"], "nowhere"),
        ("digits-mlp", "curriculum", ["--with", "pacing=cubic"], "pacing 'cubic'"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused_in_one_line(
    name, strategy, words, said, capsys, tmp_path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", name, "--strategy", strategy, *words, "--run", str(tmp_path / "r")])
    err = capsys.readouterr().err.strip()
    assert ended.value.code == 2, err
    assert said in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("thalweg: ")
