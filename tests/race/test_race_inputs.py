"""What a race is handed may be wrong in many ways: each gets one clear line before any training."""

import math
import os

import pytest
import torch
from torch import nn

import thalweg as tw

BAD = {
    "unknown optimiser": ({"optimizers": ["adm"]}, r"unknown optimizer 'adm'.*adam"),
    "no optimisers": ({"optimizers": []}, r"optimizers=\[\]: wanted a list of names"),
    "one name for a list": ({"optimizers": "sgd"}, r"optimizers='sgd': wanted a list of names"),
    "an optimiser twice": ({"optimizers": ["sgd", "sgd"]}, "a name stands twice"),
    "negative rate": ({"lrs": [0.1, -0.1]}, "learning rates must be positive and finite"),
    "rate of zero": ({"lrs": [0.0]}, "learning rates must be positive and finite"),
    "rate that is not a number": ({"lrs": [math.nan]}, "must be positive and finite"),
    "no rates": ({"lrs": []}, r"lrs=\[\]: learning rates must be"),
    "rates by an unknown word": ({"lrs": "best"}, r"lrs='best': wanted 'auto' or a list"),
    "a rate in words": ({"lrs": ["small"]}, "wanted 'auto' or a list of positive numbers"),
    "one rate for a list": ({"lrs": 0.1}, "wanted 'auto' or a list of positive numbers"),
    "unknown axis": ({"space": {"momentom": [0.9]}}, r"space\['momentom'\].*weight_decay|momentum"),
    "an axis nobody has": ({"space": {"alpha": [0.9]}}, r"space\['alpha'\]: no raced optimiser"),
    "rates as an axis": ({"space": {"lr": [0.1]}}, "give learning rates by lrs="),
    "an axis of one value": ({"space": {"clip": 1.0}}, r"space\['clip'\]=1.0: wanted a list"),
    "an empty axis": ({"space": {"clip": []}}, r"space\['clip'\]=\[\]: wanted a list"),
    "negative momentum": (
        {"optimizers": ["momentum"], "space": {"momentum": [-1.0]}},
        "momentum: .*momentum",
    ),
    "the second value of an axis": ({"space": {"weight_decay": [0.0, -1.0]}}, "weight_decay"),
    "batch of no samples": ({"space": {"batch_size": [0]}}, "batch_size=0: wanted a whole number"),
    "batch of half a sample": ({"space": {"batch_size": [1.5]}}, "batch_size=1.5: wanted a whole"),
    "batch of more than all": ({"space": {"batch_size": [10**6]}}, "more than the 60 training"),
    "unknown schedule": ({"space": {"schedule": ["cosin"]}}, "unknown schedule 'cosin'.*cosine"),
    "negative clip": ({"space": {"clip": [-1.0]}}, "clip=-1.0: wanted a positive gradient norm"),
    "clip in words": ({"space": {"clip": ["hard"]}}, "clip='hard': wanted a positive gradient"),
    "no seeds": ({"seeds": 0}, "seeds=0: wanted a whole number of at least 1"),
    "half a seed": ({"seeds": 1.5}, "seeds=1.5: wanted a whole number"),
    "true seeds": ({"seeds": True}, "seeds=True: wanted a whole number"),
    "no workers": ({"workers": 0}, "workers=0: wanted a whole number of at least 1"),
    "two budgets": ({"seconds": 1, "epochs": 1}, r"budget given twice \(seconds, epochs\)"),
    "all budgets": (
        {"seconds": 1, "epochs": 1, "evaluations": 1},
        "give only one of seconds",
    ),
    "no time": ({"seconds": 0}, "seconds=0: wanted a positive number"),
    "negative epochs": ({"epochs": -1}, "epochs=-1: wanted a positive number"),
    "endless epochs": ({"epochs": math.inf}, "epochs=inf: wanted a positive number"),
    "half a gradient": ({"evaluations": 0.5}, "evaluations=0.5: wanted a whole number"),
    "epochs in words": ({"epochs": "3"}, "epochs='3': wanted a positive number"),
    "unknown device": ({"device": "tpu9"}, "device 'tpu9' is unknown to torch"),
    "unsupported device": ({"device": "meta"}, "device 'meta' is not supported"),
    "unknown dtype": ({"dtype": "int8"}, "dtype 'int8' is not supported"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_argument_is_named_with_what_to_do_and_nothing_is_made(
    case, blobs, tmp_path, run_race
):
    asked, message = BAD[case]
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match=message) as caught:
        run_race(blobs, **asked, run=folder)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


X, Y = torch.randn(90, 5, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 3
BROKEN = {
    "a NaN among the inputs": (
        lambda: {"train": (torch.cat([X[:59], X[:1] / 0]), Y[:60])},
        "train inputs hold 5 NaN or infinite number.* first at index 59",
    ),
    "classes beyond the outputs": (
        lambda: {"train": (X[:60], Y[:60] + 2)},
        "class|label|target",
    ),
    "one sample": (lambda: {"train": (X[:1], Y[:1])}, "at least 2"),
    "no samples": (lambda: {"train": (X[:0], Y[:0])}, "0 sample"),
    "a model without parameters": (lambda: {"model": nn.Identity}, "no parameters"),
    "a model that is all frozen": (
        lambda: {"model": nn.Linear(5, 3).requires_grad_(False)},
        "frozen",
    ),
    "a loss of vectors": (
        lambda: {"loss": nn.CrossEntropyLoss(reduction="none")},
        "scalar|single number|one number",
    ),
    "inputs of another width": (lambda: {"model": lambda: nn.Linear(4, 3)}, "5|shape|multiplied"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_task_is_refused_before_a_run_is_made(case, make_task, tmp_path, run_race):
    fields, message = BROKEN[case]
    with pytest.raises(ValueError, match=message) as caught:
        run_race(make_task(**fields()), run=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_run_of_another_race_is_refused_and_what_differs_is_said(blobs, tmp_path, run_race):
    folder = tmp_path / "run"
    run_race(blobs, seeds=1, run=folder)
    kept = (folder / "race.json").read_bytes()
    with pytest.raises(ValueError, match=r"holds another run: lrs was \[0\.01, 0\.1\], now"):
        run_race(blobs, lrs=(0.5,), seeds=1, run=folder)
    with pytest.raises(ValueError, match="seeds was 1, now 2"):
        run_race(blobs, seeds=2, run=folder)
    with pytest.raises(ValueError, match="holds a run already"):
        run_race(blobs, seeds=1, run=folder, resume=False)
    assert (folder / "race.json").read_bytes() == kept
    assert run_race(blobs, lrs=(0.5,), seeds=1, run=folder, fresh=True).best.lr in (0.5, 0.001)


@pytest.mark.parametrize("part", ["train", "held_out", "model"])
def test_a_run_on_other_data_or_weights_is_refused(part, make_task, tmp_path, run_race, small_net):
    task, folder = make_task(), tmp_path / "run"
    run_race(task, seeds=1, run=folder)
    if part == "model":

        def other():
            net = small_net()
            with torch.no_grad():
                net[0].weight[0, 0] += 1e-3
            return net

    else:
        x, y = getattr(task, part)
        other = (x.clone(), y)
        other[0][3, 1] += 1e-3
    with pytest.raises(ValueError, match="holds another run: data was"):
        run_race(make_task(**{part: other}), seeds=1, run=folder)


def test_a_loss_that_fails_in_the_middle_leaves_a_run_to_go_on_with(make_task, tmp_path, run_race):
    calls, folder = [], tmp_path / "run"

    def loss(output, target):
        calls.append(0)
        if len(calls) == 60:
            raise RuntimeError("torn cable")
        return nn.functional.cross_entropy(output, target)

    with pytest.raises(RuntimeError, match="torn cable"):
        run_race(make_task(loss=loss), seeds=2, run=folder)
    resumed = run_race(make_task(loss=loss), seeds=2, run=folder)
    calm = run_race(make_task(), seeds=2)
    assert [e.held_out for e in resumed.table] == [e.held_out for e in calm.table]


def test_a_task_whose_dtype_is_asked_for_is_raced_in_it(blobs, run_race):
    answer = run_race(blobs, seeds=1, dtype="float64")
    assert answer.plan["dtype"] == "torch.float64"
    assert isinstance(answer, tw.Race)
