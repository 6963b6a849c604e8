"""Small models of every kind, tasks over them, and engines side by side with the looped one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.models.lenet import LeNetD1
from thalweg.models.losses import token_cross_entropy
from thalweg.models.mlp import MLP
from thalweg.models.transformer import CharTransformer
from thalweg.race.population.make import make
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk
from thalweg.task import Recipe, Task

CLASSES, BATCH = 4, 8
MEMORY = 2**30


class Functional(nn.Module):
    """A user's forward code: views, residuals, concatenation, functional ReLU and pooling."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.again = nn.Conv2d(3, 3, 3, padding="same", groups=3)
        self.norm = nn.GroupNorm(1, 3)
        self.out = nn.Linear(6 * 4, CLASSES)

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = F.max_pool2d(x + self.norm(self.again(x)), 2)
        x = torch.cat([x, x.mean(1, keepdim=True).expand_as(x)], 1)
        return self.out(x.view(x.size(0), -1))


class Tied(nn.Module):
    """One matrix in two layers, one layer called twice, one frozen, one never used."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.frozen, self.unused = nn.Linear(6, 6), nn.Linear(6, 2)
        self.frozen.requires_grad_(False)
        self.out = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = torch.tanh(self.first(self.frozen(x)))
        return self.out(torch.tanh(self.second(self.first(x))))


class Encoder(nn.Module):
    """torch's transformer layers with dropout, over samples first or last."""

    def __init__(self, batch_first=True, norm_first=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.2, batch_first=batch_first, norm_first=norm_first
        )
        self.batch_first = batch_first
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x):
        if self.batch_first:
            return self.out(self.body(x).mean(1))
        return self.out(self.body(x.transpose(0, 1)).mean(0))


class OwnAttention(nn.Module):
    """Attention with weights asked for, a mask and keys that are not the queries."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True, kdim=8, vdim=4)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x):
        mask = torch.triu(torch.ones(5, 5, dtype=torch.bool, device=x.device), 1)
        y, weights = self.attention(x, x.flip(1), x[..., :4], attn_mask=mask)
        return self.out(y.mean(1) + weights.sum((1, 2))[:, None])


class Words(nn.Module):
    """Embeddings with padding, tokens and places, a layer norm, batch norm over channels."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(11, 6, padding_idx=0), nn.Embedding(7, 6)
        self.norm, self.root = nn.LayerNorm(6), nn.RMSNorm(6)
        first = nn.Conv1d(6, 5, 3, stride=2, bias=False)
        self.conv = nn.Sequential(first, nn.BatchNorm1d(5), nn.GELU())
        self.out = nn.Linear(5, CLASSES)

    def forward(self, codes):
        x = self.token(codes) + self.place(torch.arange(codes.shape[1], device=codes.device))
        x = self.root(self.norm(x))
        return self.out(self.conv(x.transpose(1, 2)).mean(2))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4, momentum=None),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Dropout2d(0.3),
        nn.Flatten(),
        nn.Linear(6 * 4, CLASSES),
    )


def dropped():
    first = nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.4)
    second = nn.Linear(12, 9, bias=False), nn.BatchNorm1d(9), nn.SiLU(), nn.Dropout(0.2)
    return nn.Sequential(*first, *second, nn.Linear(9, CLASSES))


class OwnDropout(nn.Module):
    """Dropout called as a function."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 9), nn.Linear(9, CLASSES)

    def forward(self, x):
        return self.b(F.dropout(F.relu(self.a(x)), 0.3, self.training))


class Bare(nn.Module):
    """A parameter used outside any module with a rule."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, CLASSES))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * (x @ self.w)


# No bias stands before a batch norm: its gradient is rounding alone, which Adam makes a step of.
# model, input shape (an int: codes below it), whether it draws random numbers
MODELS = {
    "mlp": (partial(MLP, (6, 12, CLASSES)), (6,), False),
    "batch-norm": (partial(MLP, (6, 12, 9, CLASSES), batch_norm=True), (6,), False),
    "dropout": (dropped, (6,), True),
    "own-dropout": (OwnDropout, (6,), True),
    "tied": (Tied, (6,), False),
    "lenet": (partial(LeNetD1, CLASSES, 0.5), (1, 32, 32), True),
    "conv-net": (conv_net, (1, 8, 8), True),
    "functional": (Functional, (1, 4, 4), False),
    "encoder": (Encoder, (5, 8), True),
    "encoder-seq": (partial(Encoder, False, True), (5, 8), True),
    "attention": (OwnAttention, (5, 8), True),
    "words": (Words, (7, 11), False),
    "char-lm": (partial(CharTransformer, 9, 6, 8, 2, 1), (6, 9), False),
    "bare": (Bare, (6,), False),
}


def data(name, n, seed):
    _, shape, _ = MODELS[name]
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=g)
    if name in ("words", "char-lm"):
        codes = torch.randint(shape[1], (n, shape[0] + 1), generator=g)
        return codes[:, :-1], codes[:, 1:] if name == "char-lm" else y
    return torch.randn(n, *shape, generator=g), y


def make_task(name, loss=None, model=None, **more):
    loss = loss or (token_cross_entropy if name == "char-lm" else F.cross_entropy)
    return Task(
        name,
        model or MODELS[name][0],
        loss,
        train=data(name, 37, 0),
        held_out=data(name, 30, 1),
        metric="loss" if name == "char-lm" else None,
        recipe=Recipe(batch_size=BATCH),
        **more,
    )


@pytest.fixture(scope="session")
def models():
    return MODELS


@pytest.fixture(scope="session")
def task_of():
    return make_task


def members_of(how, seeds=(0,), batch_size=BATCH, **settings):
    """Members of ``(optimizer, hyperparameters)`` pairs under every seed."""
    made = [
        Configuration(name, tuple(sorted(hyper.items())), batch_size, **settings)
        for name, hyper in how
    ]
    return [Member(c, seed) for seed in seeds for c in made]


MIXED = (
    ("sgd", {"lr": 0.05, "momentum": 0.9}),
    ("adam", {"lr": 3e-3}),
    ("sgd", {"lr": 0.02, "weight_decay": 0.01}),
    ("adam", {"lr": 1e-3, "betas": (0.8, 0.99)}),
)


@pytest.fixture(scope="session")
def mixed():
    return MIXED


@pytest.fixture(scope="session")
def members():
    return members_of


class Pair:
    """An engine and the looped one over the same members, in float64 unless told otherwise."""

    def __init__(self, name, task, members, total, stochastic, dtype=torch.float64, chunk=None):
        self.risk = Risk(task, "cpu", dtype)
        self.members, self.total, self.stochastic = members, total, stochastic
        self.name, self.chunk = name, chunk
        self.engine = self.fresh()
        self.looped = self.fresh("looped")

    def fresh(self, name=None):
        name = name or self.name
        chunk = None if name == "looped" else self.chunk
        return make(name, self.risk, self.members, self.total, self.stochastic, MEMORY, chunk)

    def advance(self, engine, step, only=None):
        only = range(len(self.members)) if only is None else only
        return {d.index: d for d in engine.advance(step, only, lambda n: None)}

    def weights(self, engine, index):
        model = engine.run(index).model if engine.name == "looped" else engine.module(index)
        return {key: t.clone() for key, t in model.state_dict().items()}

    def gap(self, indices=None):
        """Largest difference of weights and buffers between the two engines."""
        indices = range(len(self.members)) if indices is None else indices
        worst = 0.0
        for i in indices:
            ours, theirs = self.weights(self.engine, i), self.weights(self.looped, i)
            assert ours.keys() == theirs.keys()
            for key in ours:
                worst = max(worst, float((ours[key].double() - theirs[key].double()).abs().max()))
        return worst


@pytest.fixture(scope="session")
def pair():
    return Pair


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
