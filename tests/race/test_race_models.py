"""Any module that torch can differentiate races, and trains as it would in a plain loop."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler

import thalweg as tw
from thalweg.risk import Risk
from thalweg.risk.order import stream

N, TRAIN, BATCH, STEPS = 96, 48, 12, 8


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


X, Y = torch.randn(N, 6, generator=draw()), torch.arange(N) % 3
TOKENS = torch.randint(0, 11, (N, 5), generator=draw(1))


def parts(x, y=Y):
    cut = (lambda v, s: {k: t[s] for k, t in v.items()}) if isinstance(x, dict) else None
    cut = cut or (
        (lambda v, s: tuple(t[s] for t in v)) if isinstance(x, tuple) else lambda v, s: v[s]
    )
    first, second = slice(0, TRAIN), slice(TRAIN, N)
    return {"train": (cut(x, first), y[first]), "held_out": (cut(x, second), y[second])}


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(2, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, left, right):
        return self.head(torch.tanh(self.a(left) + self.b(right)))


class Tied(nn.Module):
    """The embedding's weights are the output's too."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        return self.out(torch.tanh(self.embed(tokens).cumsum(1)))


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.body.requires_grad_(False)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.layer(self.embed(tokens)).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.cell(x.reshape(len(x), 3, 2))[0][:, -1])


def mlp(*middle):
    return lambda: nn.Sequential(
        nn.Linear(6, 8), *copy.deepcopy(middle), nn.ReLU(), nn.Linear(8, 3)
    )


class Noisy(Dataset):
    """Augments: the same index gives another sample each time."""

    def __len__(self):
        return TRAIN

    def __getitem__(self, index):
        return X[index] + 0.1 * torch.randn(6), Y[index]


class Ragged(Dataset):
    """Sequences of unequal length, padded by the loader's collate."""

    def __init__(self, start, stop):
        self.rows = range(start, stop)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        k = self.rows[index]
        return TOKENS[k, : 1 + k % 5], Y[k]


def pad(rows):
    tokens = nn.utils.rnn.pad_sequence([row for row, _ in rows], batch_first=True, padding_value=0)
    return tokens, torch.stack([y for _, y in rows])


def ragged(start, stop, **how):
    return DataLoader(Ragged(start, stop), batch_size=BATCH, collate_fn=pad, **how)


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6, padding_idx=0), nn.Linear(6, 3)

    def forward(self, tokens):
        return self.head(self.embed(tokens).sum(1))


def by_batch(model, batch):
    return F.cross_entropy(model(batch["x"]), batch["y"])


def loader(x, y, **how):
    return DataLoader(TensorDataset(x, y), batch_size=BATCH, **how)


def weighted():
    return WeightedRandomSampler(torch.arange(TRAIN) + 1.0, TRAIN, generator=draw())


torch.manual_seed(0)
CASES = {
    "plain": lambda: {"model": mlp(), **parts(X)},
    "batch norm": lambda: {"model": mlp(nn.BatchNorm1d(8)), **parts(X)},
    "dropout": lambda: {"model": mlp(nn.Dropout(0.4)), **parts(X)},
    "layer norm": lambda: {"model": mlp(nn.LayerNorm(8)), **parts(X)},
    "several inputs": lambda: {"model": TwoInputs, **parts((X[:, :4], X[:, 4:]))},
    "inputs by name": lambda: {
        "model": TwoInputs, **parts({"right": X[:, 4:], "left": X[:, :4]})
    },
    "tied weights, a target a token": lambda: {
        "model": Tied, **parts(TOKENS, TOKENS.roll(-1, 1)),
        "loss": lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten()),
        "weight": lambda batch: batch[1].numel(),
    },
    "frozen body": lambda: {"model": Frozen, **parts(X)},
    "attention with dropout": lambda: {"model": Attention, **parts(TOKENS)},
    "LSTM": lambda: {"model": Recurrent, **parts(X)},
    "convolution": lambda: {
        "model": lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.Flatten(),
                                       nn.Linear(16, 3)), **parts(X),
    },
    "pretrained": lambda: {"model": mlp()(), **parts(X)},
    "loss of model and batch": lambda: {
        "model": mlp(), "loss": by_batch, "forward": "batch",
        "train": {"x": X[:TRAIN], "y": Y[:TRAIN]}, "held_out": {"x": X[TRAIN:], "y": Y[TRAIN:]},
    },
    "loader that shuffles": lambda: {
        "model": mlp(), **parts(X), "train": loader(X[:TRAIN], Y[:TRAIN], shuffle=True)
    },
    "loader that drops the rest": lambda: {
        "model": mlp(), **parts(X), "train": loader(X[:43], Y[:43], shuffle=True, drop_last=True)
    },
    "loader with a sampler": lambda: {
        "model": mlp(), **parts(X), "train": loader(X[:TRAIN], Y[:TRAIN], sampler=weighted())
    },
    "loader with collate": lambda: {
        "model": Bag, "train": ragged(0, TRAIN, shuffle=True), "held_out": ragged(TRAIN, N)
    },
    "augmenting data": lambda: {"model": mlp(), **parts(X), "train": Noisy()},
    "regression": lambda: {"model": lambda: nn.Linear(6, 1), "loss": F.mse_loss,
                           **parts(X, X[:, :1].sin())},
    "own metric": lambda: {
        "model": mlp(), **parts(X),
        "metric": lambda out, y: -float(F.multi_margin_loss(out, y)),
    },
}  # fmt: skip


def task(case):
    given = {"loss": F.cross_entropy, "recipe": tw.Recipe(batch_size=BATCH)} | CASES[case]()
    return tw.Task(case, **given)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_task_trains_as_in_a_plain_loop(case, run_race):
    """Held-out score after eight steps of Adam, float64, two seeds: equal to 1e-9."""
    raced = task(case)
    answer = run_race(
        raced, ("adam",), (0.003, 0.03), seeds=2, evaluations=STEPS, dtype="float64", cull=False
    )
    assert {e.status for e in answer.table} == {"finished"}
    risk = Risk(raced, dtype="float64")
    (entry,) = (e for e in answer.table if e.lr == 0.03)
    for result in entry.seeds:
        model, feed = risk.model(result.seed), risk.feed(result.seed, BATCH)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=0.03)
        with torch.random.fork_rng():
            for step in range(STEPS):
                torch.manual_seed(stream(result.seed, "step", step))
                optimizer.zero_grad()
                risk.loss(model, feed.batch(step)).backward()
                optimizer.step()
        wanted = risk.score(model, "selection")
        assert result.held_out == pytest.approx(wanted.mean, abs=1e-9)
        assert result.loss == pytest.approx(wanted.loss, rel=1e-9)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("case", ["dropout", "augmenting data", "loader with a sampler"])
def test_what_is_random_is_drawn_alike_every_time(case, run_race):
    one, two = (run_race(task(case), ("sgd",), seeds=2, evaluations=STEPS) for _ in range(2))
    assert one.to_dict()["table"] == two.to_dict()["table"]


def test_a_tied_weight_stays_one_weight():
    risk = Risk(task("tied weights, a target a token"))
    model = risk.model(0)
    assert model.out.weight is model.embed.weight
