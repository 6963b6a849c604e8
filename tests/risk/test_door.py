"""Bad tasks are refused at the door in one line that names what, where and what to do."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from thalweg.risk import Risk
from thalweg.risk.door import check
from thalweg.task import Task

N, D, C = 40, 5, 3


def inputs(n=N):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(n))


def labels(n=N):
    return torch.arange(n) % C


def net():
    return nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, C))


def task(**changes):
    fields = {
        "name": "t",
        "model": net,
        "loss": F.cross_entropy,
        "train": (inputs(), labels()),
        "held_out": (inputs(20), labels(20)),
    }
    return Task(**fields | changes)


def spoiled(value, row=7):
    x = inputs()
    x[row, 2] = value
    return x


class Endless(IterableDataset):
    def __iter__(self):
        yield from ()


class Broken(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        raise KeyError("no such file: img_3.png")


class Bare(nn.Module):
    def forward(self, x):
        return x @ torch.ones(D, C)


def frozen():
    model = net()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def nan_weights():
    model = net()
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    return model


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, C)

    def forward(self, x):
        return self.layer(x).detach()


class RootAtZero(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(D, C))

    def forward(self, x):
        return (x @ self.w).abs().sqrt()


CASES = {
    "empty train": ({"train": (inputs(0), labels(0))}, r"train is empty|train has 0"),
    "one sample": ({"train": (inputs(1), labels(1))}, r"train has 1 sample"),
    "one held-out sample": ({"held_out": (inputs(1), labels(1))}, r"held_out has 1 sample"),
    "unequal lengths": (
        {"train": (inputs(), labels(30))},
        r"train: unequal numbers .*train\[0\] has 40, train\[1\] has 30",
    ),
    "NaN input": (
        {"train": (spoiled(math.nan), labels())},
        r"train inputs hold 1 NaN or infinite .*first at index 7",
    ),
    "infinite input": ({"train": (spoiled(math.inf), labels())}, r"train inputs hold 1 NaN or inf"),
    "NaN target": (
        {"train": (inputs(), torch.full((N, C), math.nan)), "loss": F.mse_loss},
        r"train targets hold 120 NaN",
    ),
    "NaN in held-out": (
        {"held_out": (spoiled(math.nan), labels())},
        r"(held_out|confirmation) inputs hold 1 NaN",
    ),
    "label too high": (
        {"train": (inputs(), labels() + 1)},
        r"class labels outside 0\.\.2 \(lowest 3, highest 3, the first at index 2\)",
    ),
    "label too high in held-out only": (
        {"held_out": (inputs(20), labels(20) + 2)},
        r"targets hold class labels outside 0\.\.2|out of bounds",
    ),
    "wrong input width": (
        {"train": (torch.ones(N, D + 1), labels())},
        r"model\(input\) on a batch of \(40, 6\) float32 failed: RuntimeError: mat1 and mat2",
    ),
    "targets that only broadcast": (
        {"loss": F.mse_loss, "train": (inputs(), torch.ones(N, 1))},
        r"the loss on targets \(40, 1\) float32 failed: .*target size",
    ),
    "scalar data": ({"train": (inputs(), torch.tensor(1))}, r"train\[1\] is a single number"),
    "strings": ({"train": (["a", "b"], labels(2))}, r"train\[0\]\[0\] is str, not a tensor"),
    "no parameters": ({"model": Bare}, r"no parameters, so there is nothing to train"),
    "all frozen": ({"model": frozen}, r"all 4 parameters of the model are frozen"),
    "NaN weights": ({"model": nan_weights}, r"initial weights of '2.weight' hold NaN"),
    "not a module": ({"model": lambda: 3}, r"model\(\) returned int; wanted a torch.nn.Module"),
    "vector loss": (
        {"loss": lambda o, y: F.cross_entropy(o, y, reduction="none")},
        r"the loss returned a tensor of shape \(40,\); wanted one number",
    ),
    "float loss": ({"loss": lambda o, y: 1.0}, r"the loss returned float; wanted a scalar tensor"),
    "infinite loss": (
        {"loss": lambda o, y: F.cross_entropy(o, y) / 0},
        r"the loss at the initial weights is inf",
    ),
    "loss raises": (
        {"loss": lambda o, y: o.undefined},
        r"the loss on targets .* failed: AttributeError",
    ),
    "no graph": ({"model": Detached}, r"does not depend on any trainable parameter"),
    "infinite gradient": ({"model": RootAtZero}, r"gradient at the initial weights holds NaN"),
    "iterable": ({"train": Endless()}, r"IterableDataset, which has no length and no index"),
    "broken data set": ({"train": Broken()}, r"reading sample 0 of 10 failed: KeyError: .*img_3"),
    "batches as items": (
        {"train": DataLoader(TensorDataset(inputs(), labels()), batch_size=None)},
        r"batch_size=None, so its items are whole batches",
    ),
    "three in a batch": (
        {"train": TensorDataset(inputs(), labels(), labels())},
        r"a batch is 3 parts, but forward='pair' wants \(input, target\)",
    ),
    "wrong weight": ({"weight": lambda batch: 1.0}, r"weight does not fit the loss: loss of a"),
    "weight raises": ({"weight": lambda batch: batch["n"]}, r"weight\(batch\) failed: TypeError"),
    "accuracy of a regression": (
        {"metric": "accuracy", "loss": F.mse_loss, "train": (inputs(), torch.zeros(N, C)),
         "held_out": (inputs(20), torch.zeros(20, C))},
        r"metric 'accuracy' needs integer class targets",
    ),
    "metric is NaN": (
        {"metric": lambda o, y: float("nan")},
        r"criterion '<lambda>' is not finite on the selection part",
    ),
    "metric raises": ({"metric": lambda o, y: o.nope}, r"scoring the selection part"),
    "nothing to hold out": ({"held_out": None, "train": (inputs(5), labels(5))}, r"only 5 samples"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_task_is_refused_in_one_clear_line(case):
    changes, message = CASES[case]
    with pytest.raises((ValueError, TypeError), match=message) as refused:
        check(Risk(task(**changes), device="cpu"))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_a_sound_task_passes_with_its_facts():
    facts = check(Risk(task(), device="cpu"))
    assert (facts.parameters, facts.train) == (8 * D + 8 + 8 * C + C, N)
    assert (facts.selection, facts.confirmation) == (10, 10)
    assert not facts.stochastic


def test_dropout_is_seen_and_does_not_disturb_the_users_random_state():
    def model():
        return nn.Sequential(nn.Linear(D, 8), nn.Dropout(), nn.Linear(8, C))

    torch.manual_seed(3)
    before = torch.get_rng_state()
    facts = check(Risk(task(model=model), device="cpu"))
    assert facts.stochastic
    assert torch.equal(before, torch.get_rng_state())


def test_a_sum_for_a_loss_is_noted_not_refused():
    facts = check(
        Risk(task(loss=lambda o, y: F.cross_entropy(o, y, reduction="sum")), device="cpu")
    )
    assert any("not a mean over samples" in note for note in facts.notes)


def test_frozen_and_unused_parameters_are_noted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(D, C), nn.Linear(D, C)
            self.used.bias.requires_grad_(False)

        def forward(self, x):
            return self.used(x)

    notes = check(Risk(task(model=Net), device="cpu")).notes
    assert any("1 of 4 parameters are frozen" in note for note in notes)
    assert any("2 of 3 parameter tensors receive no gradient" in note for note in notes)


def test_an_instance_is_forked_and_never_touched():
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()
    check(Risk(task(model=model), device="cpu"))
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def padded(rows, loss=F.cross_entropy):
    """A task whose loss runs over the samples that are not padding, scored by blocks of 4."""
    targets = labels(96)
    targets[rows] = -100
    return task(
        loss=loss,
        metric="loss",
        weight=lambda batch: (batch[1] != -100).sum(),
        held_out=(inputs(96), targets),
        test=(inputs(60), labels(60)),
    )


def test_a_held_out_block_of_padding_alone_is_refused_unless_its_loss_is_a_number():
    def of_nothing_zero(output, target):
        total = F.cross_entropy(output, target, reduction="sum")
        return total / (target != -100).sum().clamp(min=1)

    check(Risk(padded(slice(41, 43)), device="cpu"))  # the rest of their block has a loss
    with pytest.raises(ValueError, match="is not finite on the selection part"):
        check(Risk(padded(slice(40, 44)), device="cpu"))
    check(Risk(padded(slice(40, 44), of_nothing_zero), device="cpu"))


def test_of_a_part_in_many_blocks_the_door_scores_the_first_a_middle_and_the_last_one():
    scored = []

    def metric(output, target):
        scored.append(len(target))
        return 0.5

    held_out = inputs(90), labels(90)  # 23 blocks, the last one short
    risk = Risk(task(metric=metric, held_out=held_out, test=held_out), device="cpu")
    check(risk)
    assert scored == 2 * [4, 4, 2]
    whole = risk.score(risk.model(0), "selection")
    assert scored[6:] == 22 * [4] + [2]
    assert len(whole.values) == 23


@pytest.mark.parametrize("block", [0, 11, 22])
def test_values_of_one_block_are_those_of_the_whole_part(block):
    held_out = inputs(90), labels(90)
    risk = Risk(task(metric="loss", weight=lambda b: len(b[1]), held_out=held_out), device="cpu")
    model, size = risk.model(0), risk.block_size("selection")
    alone = risk.score_block(model, "selection", block * size)
    assert torch.equal(alone, risk.score(model, "selection").values[block : block + 1])


@pytest.mark.parametrize("device", ["cuda:99", "tpu", 3.5])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match="device"):
        Risk(task(), device=device)
