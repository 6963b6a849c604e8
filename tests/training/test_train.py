"""Training against the loop written out, and against itself after an interruption."""

from __future__ import annotations

import copy
import dataclasses
import signal

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.risk import Risk
from thalweg.training import Hook, load, train

CONFIGURATIONS = {
    "momentum": {"optimizer": "momentum", "hyperparameters": {"lr": 0.05}},
    "adam": {"optimizer": "adam", "schedule": "cosine", "clip": 0.5, "warmup": 7},
    "entropy": {"optimizer": "entropy-sgd", "hyperparameters": {"n_langevin": 5, "noise": 0.01}},
    "polyak": {"optimizer": "sgd", "average": "polyak", "burn_in": 9},
    "exponential": {"optimizer": "rmsprop", "average": "exponential", "decay": 0.9},
    "early": {"optimizer": "sgd", "hyperparameters": {"lr": 1.0}, "patience": 2, "epochs": 30},
    "bfloat16": {"optimizer": "adamw", "autocast": "bfloat16"},
    "delta": {"optimizer": "delta-bar-delta", "hyperparameters": {"lr": 0.01}},
}


def weights(model: nn.Module) -> torch.Tensor:
    state = model.state_dict().values()
    return torch.cat([v.double().flatten() for v in state])


def test_it_is_the_plain_loop_over_the_same_batches(plain_task) -> None:
    run = train(plain_task, "momentum", {"lr": 0.05, "momentum": 0.8}, epochs=4, seed=3)
    risk = Risk(plain_task, split_seed=3)
    model, feed = risk.model(3), risk.feed(3, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8)
    for step in range(4 * 6):
        x, y = feed.batch(step)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert torch.equal(weights(run.model()), weights(model))
    assert run.evaluations == run.steps == 24
    assert run.held_out == risk.score(model, "selection").mean
    assert run.confirmed == risk.score(model, "confirmation").mean
    assert len(run.trace.evaluations) == 4


class Interrupt(Hook):
    """The end of the process after so many updates, or Ctrl-C."""

    def __init__(self, after: int, press: bool = False) -> None:
        self.after, self.press = after, press

    def after_step(self, training) -> None:
        if training.step == self.after:
            if not self.press:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_interrupted_run_goes_on_to_the_same_bits(name, task, tmp_path) -> None:
    setting = CONFIGURATIONS[name]
    whole = train(task, **setting, seed=1)
    folder = tmp_path / "run"
    for after in (8, 21):  # in mid-epoch, in mid-cycle; the second time from the first's state
        with pytest.raises(KeyboardInterrupt):
            train(
                task,
                **setting,
                seed=1,
                run=folder,
                checkpoint_seconds=0.0,
                hooks=[Interrupt(after)],
            )
    resumed = train(task, **setting, seed=1, run=folder)
    assert torch.equal(weights(resumed.model()), weights(whole.model()))
    for field in ("trace", "rates", "held_out", "confirmed", "status", "best"):
        assert getattr(resumed, field) == getattr(whole, field)


def test_ctrl_c_keeps_what_was_done_up_to_the_step_in_hand(task, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(task, "adam", run=tmp_path / "r", hooks=[Interrupt(4, press=True)])
    steps: list[int] = []

    class Count(Hook):
        def after_step(self, training) -> None:
            steps.append(training.step)

    resumed = train(task, "adam", run=tmp_path / "r", hooks=[Count()])
    assert steps[0] == 7  # six were kept: up to the end of the epoch
    assert torch.equal(weights(resumed.model()), weights(train(task, "adam").model()))


@pytest.mark.parametrize("name", ["nonlinear-cg", "lbfgs"])
def test_methods_with_a_search_take_all_samples_and_resume(name, plain_task, tmp_path) -> None:
    whole = train(plain_task, name, evaluations=60)
    assert whole.settings["batch_size"] == 90
    assert whole.evaluations >= 60 > whole.steps
    with pytest.raises(KeyboardInterrupt):
        train(plain_task, name, evaluations=60, run=tmp_path / "r", hooks=[Interrupt(1)])
    resumed = train(plain_task, name, evaluations=60, run=tmp_path / "r")
    assert torch.equal(weights(resumed.model()), weights(whole.model()))
    assert resumed.evaluations == whole.evaluations
    assert resumed.trace == whole.trace


def test_early_stopping_keeps_the_best_weights(task_maker) -> None:
    task = task_maker(0.0, True, n=40, lr=0.5, batch_size=8)
    run = train(task, "sgd", {"lr": 0.5}, epochs=60, patience=3)
    assert run.status == "stopped early"
    best = max(run.trace.held_out)
    assert run.held_out == best
    assert run.trace.evaluations.index(run.best) == len(run.trace.evaluations) - 4
    risk = Risk(task)
    assert risk.score(run.model(), "selection").mean == best


def test_the_average_is_scored_with_batch_statistics_of_its_own(task_maker) -> None:
    task = task_maker(0.0, True)
    run = train(task, "sgd", {"lr": 0.3}, average="polyak", epochs=3)
    risk = Risk(task)
    model, feed = risk.model(0), risk.feed(0, 16)
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=0.3), []
    for step in range(18):
        x, y = feed.batch(step)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        seen.append([p.detach().clone() for p in model.parameters()])
    mean = copy.deepcopy(model)
    with torch.no_grad():
        for p, *walk in zip(mean.parameters(), *seen, strict=True):
            p.copy_(torch.stack(walk).mean(0))
    torch.optim.swa_utils.update_bn((feed.batch(s)[0] for s in range(6)), mean)
    torch.testing.assert_close(weights(run.model())[:-1], weights(mean)[:-1], rtol=1e-4, atol=1e-5)


def test_what_conditions_dropout_noise_is_the_seed_alone(task) -> None:
    torch.manual_seed(0)
    one = train(task, "adam", seed=4, epochs=2)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    two = train(task, "adam", seed=4, epochs=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(one.model()), weights(two.model()))
    other = train(task, "adam", seed=5, epochs=2)
    assert not torch.equal(weights(one.model()), weights(other.model()))


def test_a_model_instance_is_copied_and_left_as_it_was(task) -> None:
    model = task.model()
    before = weights(model)
    fixed = dataclasses.replace(task, model=model)
    run = train(fixed, epochs=1)
    assert torch.equal(weights(model), before)
    assert not torch.equal(weights(run.model()), before)


def test_a_loss_that_blows_up_ends_the_run(plain_task) -> None:
    run = train(plain_task, "sgd", {"lr": 1e38}, epochs=5)
    assert run.status == "diverged"
    assert "lower the learning rate" in " ".join(run.notes)
    assert run.steps < 30


def test_a_race_hands_over_its_winner(plain_task, tmp_path) -> None:
    race = tw.race(
        plain_task,
        ("sgd", "adam"),
        lrs=(0.001, 0.1),
        seeds=1,
        epochs=2,
        run=tmp_path / "race",
        space={"clip": (1.0,)},
    )
    for start in (race, race.best, tmp_path / "race"):
        run = train(plain_task, start=start, epochs=1)
        assert run.optimizer == race.best.optimizer
        assert run.hyperparameters["lr"] == race.best.lr
        assert run.settings["clip"] == 1.0


def test_the_saved_model_is_loaded_and_strangers_are_refused(task, tmp_path) -> None:
    run = train(task, epochs=1, run=tmp_path / "r")
    loaded = load(tmp_path / "r", task)
    assert torch.equal(weights(loaded), weights(run.model()))
    with pytest.raises(ValueError, match="weights of another model: only the"):
        load(tmp_path / "r", nn.Linear(2, 2))
    other = task.model()
    other.body[0] = nn.Linear(7, 12)
    with pytest.raises(ValueError, match=r"'body.0.weight' is \(12, 6\) there"):
        load(tmp_path / "r" / "model.safetensors", other)
    with pytest.raises(ValueError, match="does not exist"):
        load(tmp_path / "nowhere", task)
    again = type(run).from_dict(run.to_dict())
    assert again == run
    with pytest.raises(ValueError, match=r"thalweg.training.load\("):
        again.model()


def test_the_log_is_called_at_every_look(plain_task) -> None:
    seen = []
    run = train(plain_task, epochs=3, log=lambda at, row: seen.append((at, row["held_out"])))
    assert seen == list(zip(run.trace.evaluations, run.trace.held_out, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sdg"}, "Did you mean 'sgd'"),
        ({"optimizer": "sgd", "hyperparameters": {"betas": (0.9, 0.99)}}, "unknown hyperparameter"),
        ({"optimizer": "lbfgs", "batch_size": 8}, "leave batch_size out"),
        ({"optimizer": "nonlinear-cg", "clip": 1.0}, "do not apply"),
        ({"epochs": 1, "evaluations": 3}, "budget given twice"),
        ({"epochs": -1}, "wanted a positive number"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"average": "mean"}, "known are polyak"),
        ({"patience": 0}, "patience=0"),
        ({"autocast": "float16"}, "known is bfloat16"),
        ({"clip": 0.0}, "clip=0.0"),
        ({"start": "nowhere"}, "not the record of a race"),
    ],
)
def test_bad_arguments_are_named(plain_task, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        train(plain_task, **options)


def test_a_search_over_a_random_loss_is_refused(task) -> None:
    with pytest.raises(ValueError, match="random"):
        train(task, "nonlinear-cg", epochs=3)


def test_another_configuration_may_not_go_on_in_the_same_folder(plain_task, tmp_path) -> None:
    train(plain_task, epochs=1, run=tmp_path / "r")
    with pytest.raises(ValueError, match="r"):
        train(plain_task, "adam", epochs=1, run=tmp_path / "r")
    fresh = train(plain_task, "adam", epochs=1, run=tmp_path / "r", fresh=True)
    assert fresh.optimizer == "adam"
