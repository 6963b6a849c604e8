"""Batches are pure functions of (seed, step), whatever the data came in."""

import itertools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from thalweg.risk import Risk, source, tree
from thalweg.risk.feed import Feed
from thalweg.risk.order import Order
from thalweg.task import Recipe, Task

X, Y = torch.arange(20.0)[:, None], torch.arange(20) % 2
CPU = torch.device("cpu")


def read(data):
    return source.read(data, "train", CPU, None)


def make_task(train, **changes):
    fields = {
        "name": "t",
        "model": lambda: nn.Linear(1, 2),
        "loss": F.cross_entropy,
        "train": train,
        "held_out": (X, Y),
        "recipe": Recipe(batch_size=6),
    }
    return Task(**fields | changes)


def seen(risk, seed, steps, size=None):
    feed = risk.feed(seed, size or risk.batch_size())
    return [risk.input(feed.batch(step))[:, 0].tolist() for step in range(steps)]


class Twice(Dataset):
    """Items that are the same whenever they are read."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return X[i], int(Y[i])


class Noisy(Dataset):
    """Random augmentation by all three generators that people use."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        noise = torch.rand(1) + np.random.rand() + random.random()  # noqa: NPY002
        return X[i] + 100 * noise.float(), int(Y[i])


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_index_once_per_epoch(n, size, epoch, drop_last):
    order = Order(n, size, "reshuffle", drop_last)
    batches = order.batches(3, epoch)
    assert len(batches) == order.steps_per_epoch
    flat = torch.cat(list(batches)).tolist() if len(batches) else []
    assert len(set(flat)) == len(flat)
    if not drop_last or n % min(size, n) == 0:
        assert sorted(flat) == list(range(n))


def test_orders_do_what_their_names_say():
    def epochs(kind):
        order = Order(12, 5, kind)
        return [torch.cat(list(order.batches(0, e))).tolist() for e in range(3)]

    a, b, _ = epochs("reshuffle")
    assert a != b
    a, b, c = epochs("once")
    assert a == b == c != list(range(12))
    assert epochs("ordered") == [list(range(12))] * 3
    assert any(len(set(epoch)) < 12 for epoch in epochs("iid"))


def test_steps_can_be_asked_for_in_any_order_and_after_a_restart():
    risk = Risk(make_task((X, Y)), device="cpu")
    forward = seen(risk, 1, 9)
    again = Risk(make_task((X, Y)), device="cpu").feed(1, 6)
    for step in (8, 0, 3, 7, 1):
        assert again.batch(step)[0][:, 0].tolist() == forward[step]
    assert seen(risk, 2, 9) != forward


@given(
    st.integers(1, 23),
    st.sampled_from(["reshuffle", "iid", "once", "ordered"]),
    st.booleans(),
    st.lists(st.integers(0, 700), min_size=1, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_epochs_gathered_together_hold_the_batches_of_each_epoch(size, kind, drop_last, steps):
    order = Order(20, size, kind, drop_last)
    feed, per_epoch = Feed(source.Resident((X, Y), 20), order, seed=4), order.steps_per_epoch
    for step in steps:
        for ahead, batch in enumerate(feed.ahead(step, 30)):
            epoch, place = divmod(step + ahead, per_epoch)
            visited = order.batches(4, epoch)[place]
            assert torch.equal(batch[0], X[visited])
            assert torch.equal(batch[1], Y[visited])


def test_a_batch_lies_at_the_same_place_in_memory_however_a_run_came_there():
    def offset(feed, step):
        batch = feed.batch(step)[0]
        return batch.storage_offset(), batch.data_ptr() % 64

    def feed():
        return Feed(source.Resident((X, Y), 20), Order(20, 3), seed=0)

    straight = feed()
    walked = [offset(straight, step) for step in range(600)]
    assert all(offset(feed(), step) == walked[step] for step in (0, 5, 8, 251, 252, 599))


@pytest.mark.parametrize(
    "train",
    [
        (X, Y),
        (X.numpy(), Y.numpy()),
        TensorDataset(X, Y),
        Twice(),
        DataLoader(Twice(), batch_size=6, shuffle=True),
        DataLoader(TensorDataset(X, Y), batch_size=6, shuffle=True),
    ],
    ids=["tensors", "arrays", "tensor data set", "data set", "loader", "tensor loader"],
)
def test_the_same_data_in_any_form_gives_the_same_batches(train):
    expected = seen(Risk(make_task((X, Y)), device="cpu"), 5, 8)
    assert seen(Risk(make_task(train), device="cpu"), 5, 8) == expected


def test_repeatable_data_sets_are_read_once_and_kept():
    assert isinstance(read(Twice()).source, source.Resident)
    assert isinstance(read(Noisy()).source, source.Items)


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    def draw(seed, steps):
        torch.manual_seed(0)
        return seen(Risk(make_task(Noisy()), device="cpu"), seed, steps)

    first = draw(0, 8)
    torch.rand(7)
    assert draw(0, 8) == first
    assert draw(1, 8) != first
    values = list(itertools.chain(*first))
    assert len(set(values)) == len(values)  # another epoch, other noise


def test_reading_leaves_the_users_random_state_alone():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    seen(Risk(make_task(Noisy()), device="cpu"), 0, 4)
    after = torch.rand(1).item(), random.random(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert after == (torch.rand(1).item(), random.random(), np.random.rand())  # noqa: NPY002


def test_a_loader_without_shuffling_keeps_its_order_and_drops_what_it_drops():
    risk = Risk(make_task(DataLoader(Twice(), batch_size=6, drop_last=True)), device="cpu")
    got = seen(risk, 0, 6)
    assert got[:3] == got[3:] == [[float(i) for i in range(s, s + 6)] for s in (0, 6, 12)]


def test_a_loaders_own_collate_is_used():
    def collate(items):
        return torch.stack([x for x, _ in items]) * 1000, torch.tensor([y for _, y in items])

    loader = DataLoader(Twice(), batch_size=4, collate_fn=collate)
    assert seen(Risk(make_task(loader), device="cpu"), 0, 1) == [[0.0, 1000.0, 2000.0, 3000.0]]


def test_ragged_items_are_padded_by_the_users_collate():
    class Ragged(Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return torch.ones(1 + i % 4), i % 2

    def collate(items):
        rows = [x for x, _ in items]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0.0)
        return padded.sum(1, keepdim=True), torch.tensor([y for _, y in items])

    risk = Risk(make_task(DataLoader(Ragged(), batch_size=4, collate_fn=collate)), device="cpu")
    assert seen(risk, 0, 1) == [[1.0, 2.0, 3.0, 4.0]]


def test_a_users_sampler_is_a_function_of_seed_and_epoch():
    def loader():
        sampler = WeightedRandomSampler(torch.ones(20), 20)
        return DataLoader(TensorDataset(X, Y), batch_size=5, sampler=sampler)

    one, two = (Risk(make_task(loader()), device="cpu") for _ in range(2))
    assert seen(one, 0, 8, 5) == seen(two, 0, 8, 5)
    assert seen(one, 0, 4, 5) != seen(one, 1, 4, 5)
    with pytest.raises(ValueError, match="sampler of its own, whose batches of 5"):
        one.order(7)


def test_sampling_with_replacement_is_understood():
    loader = DataLoader(Twice(), batch_size=5, sampler=RandomSampler(Twice(), replacement=True))
    assert Risk(make_task(loader), device="cpu").order_kind == "iid"


def test_dict_and_tuple_inputs_are_spread_over_the_models_arguments():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, left, right):
            return self.layer(left - 2 * right)

    for inputs in ({"left": X, "right": X}, (X, X)):
        task = make_task((inputs, Y), model=Net, held_out=(inputs, Y))
        risk = Risk(task, device="cpu")
        model = risk.model(0)
        batch = risk.feed(0, 6).batch(0)
        left = batch[0]["left"] if isinstance(inputs, dict) else batch[0][0]
        assert torch.equal(risk.forward(model, batch), model.layer(-left))


def test_held_out_parts_are_disjoint_and_complete():
    risk = Risk(make_task((X, Y)), device="cpu")
    parts = [part.samples[0][:, 0].tolist() for part in (risk.selection, risk.confirmation)]
    assert sorted(parts[0] + parts[1]) == X[:, 0].tolist()
    assert Risk(make_task((X, Y), test=(X[:3], Y[:3])), device="cpu").confirmation.n == 3


def test_one_init_per_seed_and_the_users_random_state_is_not_used():
    risk = Risk(make_task((X, Y)), device="cpu")
    torch.manual_seed(5)
    a = risk.model(0)
    torch.manual_seed(6)
    b, c = risk.model(0), risk.model(1)
    assert torch.equal(a.weight, b.weight)
    assert not torch.equal(a.weight, c.weight)


def test_trees_are_told_apart():
    left = {"a": torch.tensor([1.0, float("nan")]), "b": 2}
    assert tree.same(left, {"a": torch.tensor([1.0, float("nan")]), "b": 2})
    assert not tree.same(left, {"a": torch.tensor([1.0, 2.0]), "b": 2})
    assert not tree.same(left, {"a": left["a"]})
