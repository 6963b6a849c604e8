"""Task and Recipe: what they accept, and the one line they answer otherwise."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.task import Recipe, Task

X, Y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)


def make(**changes):
    settings = {
        "name": "t",
        "model": lambda: nn.Linear(2, 2),
        "loss": F.cross_entropy,
        "train": (X, Y),
    }
    return Task(**(settings | changes))


GOOD = {
    "a function as model": {},
    "a module instance as model": {"model": nn.Linear(2, 2)},
    "several inputs": {"train": ((X, X), Y)},
    "a dictionary of inputs": {"train": ({"a": X}, Y)},
    "a Dataset": {"train": torch.utils.data.TensorDataset(X, Y)},
    "a DataLoader": {"train": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y))},
    "a list of samples": {"train": [(X[0], Y[0]), (X[1], Y[1])]},
    "a dictionary batch": {"forward": "batch", "train": {"x": X, "y": Y}},
    "one tensor as batch": {"forward": "batch", "train": X},
    "a weight": {"weight": len},
    "a metric function": {"metric": lambda output, target: 1.0},
    "held out and test": {"held_out": (X, Y), "test": (X, Y)},
    "a name in another script": {"name": "задача 1"},
}


@pytest.mark.parametrize("case", GOOD)
def test_task_accepts(case):
    task = make(**GOOD[case])
    assert all(getattr(task, key) is value for key, value in GOOD[case].items())


BAD = {
    "name is no string": ({"name": 3}, TypeError, "must be a string"),
    "name is empty": ({"name": "  "}, ValueError, "empty"),
    "name holds an escape": ({"name": "a\x1b[31m"}, ValueError, "control character"),
    "name holds a line break": ({"name": "a\nb"}, ValueError, "control character"),
    "name reverses its direction": ({"name": "a\u202eb"}, ValueError, "control character"),
    "model is a number": ({"model": 3}, TypeError, "model is a int"),
    "loss is a string": ({"loss": "mse"}, TypeError, "loss is a str"),
    "forward is unknown": ({"forward": "both"}, ValueError, "known: pair, batch"),
    "weight is a tensor": ({"weight": X}, TypeError, "weight is a Tensor"),
    "metric is unknown": ({"metric": "f1"}, ValueError, "known: accuracy, loss"),
    "metric is a number": ({"metric": 1}, TypeError, "metric is a int"),
    "no training data": ({"train": None}, ValueError, "no training data"),
    "training data is a path": ({"train": "x.npy"}, TypeError, "train is a str"),
    "training data is a class": ({"train": list}, TypeError, "train is a"),
    "training data is a number": ({"train": 3}, TypeError, "train is a int"),
    "held out is a number": ({"held_out": 0.2}, TypeError, "held_out is a float"),
    "three in a pair": ({"train": (X, X, Y)}, ValueError, "tuple of 3"),
    "no target": ({"train": (X, None)}, ValueError, "holds nothing"),
    "a dictionary as pair": ({"train": {"x": X}}, TypeError, "forward='pair' needs"),
    "an empty tuple as batch": ({"train": (), "forward": "batch"}, ValueError, "holds nothing"),
    "test without held out": ({"test": (X, Y)}, ValueError, "no held_out="),
    "recipe is a dictionary": ({"recipe": {"lr": 1}}, TypeError, "recipe is a dict"),
}


@pytest.mark.parametrize("case", BAD)
def test_task_refuses(case):
    changes, kind, words = BAD[case]
    with pytest.raises(kind) as caught:
        make(**changes)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_task_prints_without_its_data_and_compares_by_identity():
    task = make()
    assert "tensor" not in repr(task)
    assert len(repr(task)) < 300
    assert task == task
    assert task != make()
    assert len({task, task}) == 1


def test_task_is_frozen_but_can_be_changed_in_a_copy():
    task = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.name = "u"
    assert dataclasses.replace(task, name="u").train is task.train


RECIPES = {
    "optimizer is no name": ({"optimizer": torch.optim.SGD}, TypeError, "optimizer"),
    "optimizer is empty": ({"optimizer": ""}, ValueError, "optimizer"),
    "lr is negative": ({"lr": -0.1}, ValueError, "lr is -0.1"),
    "lr is zero": ({"lr": 0}, ValueError, "lr is 0"),
    "lr is nan": ({"lr": float("nan")}, ValueError, "lr is nan"),
    "lr is infinite": ({"lr": float("inf")}, ValueError, "lr is inf"),
    "lr is a string": ({"lr": "0.1"}, TypeError, "lr is '0.1'"),
    "lr is a boolean": ({"lr": True}, TypeError, "lr is True"),
    "momentum is one": ({"momentum": 1.0}, ValueError, "momentum is 1.0"),
    "momentum is negative": ({"momentum": -0.1}, ValueError, "momentum is -0.1"),
    "weight decay is negative": ({"weight_decay": -1}, ValueError, "weight_decay is -1"),
    "batch size is zero": ({"batch_size": 0}, ValueError, "batch_size is 0"),
    "batch size is a fraction": ({"batch_size": 1.5}, TypeError, "batch_size is 1.5"),
    "no epochs": ({"epochs": 0}, ValueError, "epochs is 0"),
    "schedule is a function": ({"schedule": abs}, TypeError, "schedule"),
    "order is unknown": ({"order": "random"}, ValueError, "known: reshuffle, iid, once, ordered"),
    "hyperparameters are a list": ({"hyperparameters": [1]}, TypeError, "dictionary"),
    "hyperparameters repeat lr": ({"hyperparameters": {"lr": 1.0}}, ValueError, "repeats 'lr'"),
    "a hyperparameter is a tensor": ({"hyperparameters": {"eps": X}}, TypeError, "'eps'"),
    "a hyperparameter has no name": ({"hyperparameters": {1: 2}}, TypeError, "key 1"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_recipe_refuses(case):
    changes, kind, words = RECIPES[case]
    with pytest.raises(kind) as caught:
        Recipe(**changes)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_recipe_defaults_are_those_of_the_contract():
    assert Recipe().to_dict() == {
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch_size": 64,
        "epochs": 10,
        "schedule": None,
        "order": "reshuffle",
        "hyperparameters": {},
    }


def test_recipe_survives_json_and_does_not_share_its_dictionary():
    given = {"betas": [0.9, 0.99], "eps": 1e-8, "foreach": None}
    recipe = Recipe(optimizer="adam", lr=1, schedule="cosine", hyperparameters=given)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    given["eps"] = 1.0
    assert recipe.hyperparameters == {"betas": (0.9, 0.99), "eps": 1e-8, "foreach": None}
