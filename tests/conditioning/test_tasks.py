"""Whole tasks: statistics of the training part alone, in the data or in the model; files."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from thalweg.conditioning import (
    CONDITIONERS,
    INITIALISATIONS,
    Standardizer,
    Whitener,
    condition,
    initialised,
    load,
    save,
)
from thalweg.risk.risk import Risk
from thalweg.task import Task, load_task


def data(n, seed, shift=3.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g) * torch.tensor([1.0, 10.0, 0.1, 2.0]) + shift
    return x, torch.randint(3, (n,), generator=g)


class Items(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


FORMS = {
    "tensors": lambda x, y: (x, y),
    "tensor data set": TensorDataset,
    "data set": Items,
    "loader": lambda x, y: DataLoader(Items(x, y), batch_size=16, shuffle=True),
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
}


def small_task(form="tensors", **changes):
    make = FORMS[form]
    return Task(
        name="small",
        model=lambda: nn.Linear(4, 3),
        loss=nn.functional.cross_entropy,
        train=make(*data(80, 0)),
        held_out=make(*data(40, 1, shift=5.0)),
        test=make(*data(40, 2)),
        **changes,
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", CONDITIONERS.names())
def test_every_part_is_seen_through_the_training_statistics(form, how):
    risk = Risk(condition(small_task(form), how), device="cpu")
    fitted = CONDITIONERS.load(how)().fit(data(80, 0)[0])
    for part, seed, shift, n in (("train", 0, 3.0, 80), ("selection", 1, 5.0, 40)):
        seen = getattr(risk, part).take(torch.arange(n))
        torch.testing.assert_close(seen[0], fitted.transform(data(n, seed, shift)[0]))
        assert torch.equal(seen[1], data(n, seed, shift)[1])


def test_a_loader_keeps_its_batches_and_shuffling():
    risk = Risk(condition(small_task("loader"), "scale"), device="cpu")
    assert risk.batch_size() == 16
    assert risk.order_kind == "reshuffle"


def test_as_a_first_layer_the_model_carries_the_statistics():
    task = small_task()
    fronted = condition(task, "whiten", place="model")
    inside, outside = Risk(fronted, device="cpu"), Risk(condition(task, "whiten"), device="cpu")
    one, other = inside.model(0), outside.model(0)
    batch = torch.arange(80)
    torch.testing.assert_close(
        one(inside.train.take(batch)[0]), other(outside.train.take(batch)[0]), atol=1e-5, rtol=1e-5
    )
    assert {"0.mean", "0.factor", "1.weight", "1.bias"} == set(one.state_dict())
    fresh = nn.Sequential(Whitener(), nn.Linear(4, 3)).float()
    fresh.load_state_dict(one.state_dict())
    x = data(9, 4)[0]
    torch.testing.assert_close(fresh(x), one(x))


def test_a_pretrained_model_behind_a_conditioner_is_copied():
    model = nn.Linear(4, 3)
    fronted = condition(small_task(), "scale", place="model")
    fronted = dataclasses.replace(fronted, model=fronted.model)
    task = condition(dataclasses.replace(small_task(), model=model), "scale", place="model")
    made = task.model()
    assert made[1] is not model
    assert torch.equal(made[1].weight, model.weight)


def test_a_fitted_conditioner_is_used_as_it_is():
    fitted = Standardizer().fit(data(30, 7, shift=0.0)[0])
    task = condition(small_task(), fitted)
    torch.testing.assert_close(task.train[0], fitted.transform(data(80, 0)[0]))
    assert task.name == "small, standardizer"


def test_builtin_digits_are_whitened():
    task = condition(load_task("digits-mlp"), "whiten")
    x = task.train[0].double()
    values = torch.linalg.eigvalsh(x.mT @ x / len(x))
    assert task.train[0].dtype == torch.float32
    assert values[-1] == pytest.approx(1, abs=1e-3)


def test_the_old_task_is_untouched():
    task = small_task()
    before = task.train[0].clone()
    condition(task, "whiten")
    assert torch.equal(task.train[0], before)


class Pairs(Items):
    def __getitem__(self, index):
        return {"a": self.x[index]}, self.y[index]


REFUSALS = {
    "no held-out data": (
        lambda: dataclasses.replace(small_task(), held_out=None, test=None),
        "held_out",
    ),
    "batches": (lambda: dataclasses.replace(small_task(), forward="batch"), "forward='batch'"),
    "unknown": (small_task, "unknown input conditioning 'sphere'"),
    "dictionaries": (
        lambda: dataclasses.replace(small_task(), train=Pairs(*data(9, 0))),
        "input is a dict",
    ),
    "codes": (
        lambda: dataclasses.replace(small_task(), train=(data(9, 0)[0].long(), data(9, 0)[1])),
        "int64",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_conditioned_is_refused(case):
    make, message = REFUSALS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        condition(make(), "sphere" if case == "unknown" else "scale")


def test_reading_an_augmented_data_set_leaves_the_generators_alone():
    class Noisy(Items):
        def __getitem__(self, index):
            return self.x[index] + torch.randn(4), self.y[index]

    task = dataclasses.replace(small_task(), train=Noisy(*data(80, 0)))
    state = torch.get_rng_state()
    condition(task, "scale")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scheme", INITIALISATIONS.names())
def test_an_initialised_task_starts_alike_under_one_seed(scheme):
    risk = Risk(initialised(small_task(), scheme), device="cpu")
    one, again, other = (risk.model(seed).weight for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (scheme == "zero")


@pytest.mark.parametrize("make", [Standardizer, Whitener, lambda: Whitener("pca", 0.1, 2)])
def test_saved_statistics_come_back_bit_for_bit(tmp_path, make):
    fitted = make().fit(data(80, 0)[0])
    save(fitted, tmp_path / "inputs")
    back = load(tmp_path / "inputs")
    assert back.settings() == fitted.settings()
    assert torch.equal(back(data(9, 1)[0]), fitted(data(9, 1)[0]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inputs.json", "inputs.safetensors"]


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "inputs"
    with pytest.raises(RuntimeError, match="call fit first"):
        save(Standardizer(), path)
    save(Standardizer().fit(data(80, 0)[0]), path)
    weights = tmp_path / "inputs.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\x01")
    with pytest.raises(ValueError, match="altered"):
        load(path)
    weights.write_bytes(whole)
    text = (tmp_path / "inputs.json").read_text()
    for bad in (
        "",
        "[]",
        "{}",
        text.replace("standardizer", "os.system"),
        text.replace("eps", "x"),
    ):
        (tmp_path / "inputs.json").write_text(bad)
        with pytest.raises(ValueError):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent")
