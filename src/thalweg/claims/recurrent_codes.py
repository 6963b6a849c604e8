"""The discriminative recurrent sparse autoencoder: its two kinds of units, and its error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.data import digits, read_labelled_idx
from thalweg.records import Picture
from thalweg.records_claims import Chart
from thalweg.sparse.autoencoders import DrSAE, Roles
from thalweg.sparse.summary import picture, tiles

STEPS = 11  # of the recurrence
NORM = 6.0  # of an image: how much reconstruction weighs against the classes
SLIP = (
    "D0 puts rows of W_d and columns of W_e in the unit sphere; bounded are columns of the decoder "
    "and rows of the encoder."
)
GROUPS = (
    Target("correlation of alignment with the classifier's weight", 0.0, relation="at most"),
    Target("classifier's weight, categorical units over parts", 1.0, relation="at least"),
    Target(
        "share of the last activity after 3 steps, categorical over parts",
        1.0,
        relation="at most",
    ),
)


class Seen(NamedTuple):
    """A trained network on what it has not seen."""

    error: float  # percent
    roles: Roles  # of the units that are ever active
    build: np.ndarray  # (2, STEPS) mean activity of parts and categorical units by step, last = 1
    active: float  # mean share of units
    columns: np.ndarray  # decoder columns (units, n), parts first


def examine(model: DrSAE, X: Tensor, y: Tensor) -> Seen:
    """Error, roles of live units, and how activity builds up over the steps."""
    with torch.no_grad():
        every = torch.stack([z.mean(0) for z in model.steps(X)])  # (T, m)
        z = model.encode(X)
        error = 100 * float((model.logits(z).argmax(1) != y).double().mean())
    alive = (z > 0).double().mean(0) > 1e-3
    from thalweg.sparse.autoencoders.roles import roles as roles_of

    D, E, C = (weight.detach() for weight in model.bounded())
    found = roles_of(D[:, alive], E[alive], C[:, alive])
    every = every[:, alive]
    build = np.stack(
        [every[:, group].sum(1).numpy() for group in (~found.categorical, found.categorical)]
    )
    order = torch.argsort(found.alignment, descending=True)
    return Seen(
        error,
        found,
        build / build[:, -1:],
        float((z > 0).double().mean()),
        D[:, alive][:, order].T.numpy(),
    )


def group_values(seen: Seen) -> dict[str, float]:
    """What the targets of the two groups ask."""
    roles = seen.roles
    pair = torch.stack([roles.alignment, roles.classifier]).double()
    heavy = roles.classifier[roles.categorical].mean() / roles.classifier[~roles.categorical].mean()
    return {
        GROUPS[0].name: float(torch.corrcoef(pair)[0, 1]),
        GROUPS[1].name: float(heavy),
        GROUPS[2].name: float(seen.build[1, 2] / seen.build[0, 2]),
    }


def charts(seen: Seen) -> tuple[Chart, ...]:
    """The cloud of units, and activity by step."""
    roles = seen.roles
    groups = (("parts", ~roles.categorical), ("categorical units", roles.categorical))
    steps = range(1, seen.build.shape[1] + 1)
    return (
        Chart(
            "Two kinds of units",
            "cosine of decoder column and encoder row",
            "weight in the classifier",
            tuple(
                curve(name, roles.alignment[of].numpy(), roles.classifier[of].numpy(), "points")
                for name, of in groups
            ),
            caption="Norm of the classifier's column, less what all classes share. The groups are "
            "parted where the variance of the cosine within both is least.",
        ),
        Chart(
            "Categorical units build up",
            "step of the recurrence",
            "mean activity, last step = 1",
            tuple(
                curve(name, steps, row, "both")
                for (name, _), row in zip(groups, seen.build, strict=True)
            ),
        ),
    )


def columns(seen: Seen, side: int) -> Picture:
    """Decoder columns as tiles, parts first."""
    shown = seen.columns / np.abs(seen.columns).max(1, keepdims=True).clip(1e-12)
    title = "Decoder columns of live units, from parts to prototypes"
    return picture(title, tiles(shown, (side, side), border=-1.0), -1, 1)


def scaled(X: np.ndarray) -> Tensor:
    """Images in rows, each scaled to the same norm, float32."""
    X = X.reshape(len(X), -1).astype(np.float32)
    return torch.from_numpy(NORM * X / np.linalg.norm(X, axis=1, keepdims=True))


@claim(
    name="drsae-digits",
    title="Parts and categorical units",
    decks=("D0",),
    section="sparse#s8",
    says=(
        "Units of a discriminative recurrent sparse autoencoder split in two groups: parts, driven "
        "by the input, and categorical units, which build up over steps and feed the classifier."
    ),
    targets=(
        *GROUPS,
        Target("share of active units", relation="reported"),
        Target("error on 397 unseen digits", relation="reported", unit="%"),
    ),
    seconds=15,
    correction=SLIP,
)
def drsae_digits(setting: Setting) -> Outcome:
    """8 x 8 digits, 100 units, 11 steps."""
    images, labels = digits()
    order = np.random.default_rng(setting.seed).permutation(len(images))
    X, y = scaled(images[order]), torch.from_numpy(labels[order])
    model = DrSAE(64, 100, STEPS, 10, l1=0.1, seed=setting.seed)
    model.fit(X[:1400], y[:1400], pretrain=500, steps=2500, lr=2e-3, seed=setting.seed)
    seen = examine(model, X[1400:], y[1400:])
    return Outcome(
        {
            **group_values(seen),
            "share of active units": seen.active,
            "error on 397 unseen digits": seen.error,
        },
        charts=charts(seen),
        pictures=(columns(seen, 8),),
    )


@claim(
    name="drsae-mnist",
    title="1.08 % on MNIST with 400 units",
    decks=("D0",),
    section="sparse#s8",
    says="A discriminative recurrent sparse autoencoder of 400 units errs on 1.08 % of MNIST.",
    targets=(
        Target("test error", 1.08, 0.3, relation="at most", unit="%", source="[U]"),
        *GROUPS,
        Target("share of active units", relation="reported"),
    ),
    seconds=300,
    needs=("mnist",),
    correction=SLIP,
)
def drsae_mnist(setting: Setting) -> Outcome:
    """One epoch without labels, then about 12 with them; nothing is augmented."""
    folder = setting.folder("mnist")

    def read(part: str) -> tuple[Tensor, Tensor]:
        X, y = read_labelled_idx(
            folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz", 10
        )
        return scaled(X), torch.from_numpy(np.asarray(y, np.int64))

    X, y = read("train")
    model = DrSAE(784, 400, STEPS, 10, l1=0.06, seed=setting.seed)
    model.fit(
        X,
        y,
        pretrain=500,
        steps=5500,
        lr=1e-3,
        seed=setting.seed,
        every=500,
        progress=lambda step, steps, loss: setting.progress(f"{step} of {steps}: {loss:.3f}"),
    )
    seen = examine(model, *read("t10k"))
    return Outcome(
        {
            "test error": seen.error,
            **group_values(seen),
            "share of active units": seen.active,
        },
        charts=charts(seen),
        pictures=(columns(seen, 28),),
    )
