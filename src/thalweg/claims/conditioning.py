"""Inputs and normalisation: what centring and whitening do to descent, what norms average over."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.conditioning.inputs import Centre, Standardizer, Whitener
from thalweg.conditioning.normalise import normalised
from thalweg.conditioning.spectra import effect, spectrum
from thalweg.data import synthetic
from thalweg.records_claims import Chart
from thalweg.steps.rates import best_rate, descend

AXES = torch.tensor([[2.0, 1.0], [-1.0, 2.0]], dtype=torch.float64) / 5**0.5  # columns


def _unit(seed: int) -> Tensor:
    """Inputs ``(100, 2)`` of mean 0 whose covariance has the unit's curvatures along ``AXES``."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(100, 2, generator=generator, dtype=torch.float64)
    root = AXES * torch.tensor(synthetic.CURVATURES, dtype=torch.float64).sqrt()
    return Whitener(eps=0.0).fit(drawn).transform(drawn) @ root.mT


@claim(
    name="whitening",
    title="Whitened inputs make the bowl round",
    decks=("D0", "D2", "D3"),
    section="conditioning#c1",
    says=(
        "The linear unit's condition number is 23.3 on raw inputs, 15.6 with every input scaled, "
        "and 1 after whitening, where descent arrives in one step."
    ),
    targets=(
        Target("condition number, raw", 23.3, 0.05, source="[C]"),
        Target("condition number, each input scaled", 15.6, 0.05, source="[C]"),
        Target("correlation that scaling leaves", 0.88, 0.005, source="[C]"),
        Target("condition number, whitened", 1.0, 1e-6, source="[D] [C]"),
        Target("distance to the best weights after one step at rate 1, whitened", 0.0, 1e-9,
               source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def whitening(setting: Setting) -> Outcome:
    """A hundred centred samples with curvatures 0.036 and 0.84 along (2, -1) and (1, 2) exactly."""
    x = _unit(setting.seed)
    y = torch.sign(x @ AXES[:, 1])
    scaled, white = Standardizer().fit(x), Whitener(eps=0.0).fit(x)
    after_scaling, after_whitening = effect(x, scaled), effect(x, white)
    inputs = {"raw": x, "scaled": scaled.transform(x), "whitened": white.transform(x)}
    paths = {}
    for name, rows in inputs.items():
        moment, b = (rows.mT @ rows / 100).numpy(), (rows.mT @ y / 100).numpy()
        ends = np.linalg.eigvalsh(moment)
        lr = 1.0 if name == "whitened" else best_rate(ends[0], ends[-1]).lr
        path = descend(moment, b, np.zeros(2), lr, 60)
        best = np.linalg.solve(moment, b)
        paths[name] = np.linalg.norm(path - best, axis=1) / np.linalg.norm(best)
    pair = inputs["scaled"]
    return Outcome(
        {
            "condition number, raw": after_scaling.before.condition,
            "condition number, each input scaled": after_scaling.after.condition,
            "correlation that scaling leaves": float((pair[:, 0] * pair[:, 1]).mean()),
            "condition number, whitened": after_whitening.after.condition,
            "distance to the best weights after one step at rate 1, whitened": paths["whitened"][1],
        },
        charts=(
            Chart(
                "Distance to the best weights, each at its best rate",
                "epoch",
                "distance over the first",
                tuple(
                    curve(name, range(61), np.maximum(path, 1e-16)) for name, path in paths.items()
                ),
                y_log=True,
            ),
        ),
    )


@claim(
    name="centred-inputs",
    title="A mean makes one curvature large",
    decks=("D0", "D2", "D3"),
    section="conditioning#c1",
    says=(
        "Moving the linear unit's inputs by (2, 2) turns its curvatures 0.036 and 0.84 into 0.110 "
        "and 8.77 and cuts the largest rate to 0.228."
    ),
    targets=(
        Target("smallest curvature, moved", 0.110, 0.001, source="[C]"),
        Target("largest curvature, moved", 8.77, 0.01, source="[C]"),
        Target("largest rate, moved", 0.228, 0.001, source="[C]"),
        Target("largest rate, centred again", 2.38, 0.005, source="[C]"),
    ),
    seconds=1,
)
def centred_inputs(setting: Setting) -> Outcome:
    """Centred samples with curvatures 0.036 and 0.84 along (2, -1) and (1, 2) exactly."""
    x = _unit(setting.seed)
    moved = spectrum(x + 2)
    again = spectrum(Centre().fit(x + 2).transform(x + 2))
    shifts = np.linspace(0, 4, 41)
    tops = [spectrum(x + float(a)).largest for a in shifts]
    return Outcome(
        {
            "smallest curvature, moved": moved.smallest,
            "largest curvature, moved": moved.largest,
            "largest rate, moved": moved.largest_rate,
            "largest rate, centred again": again.largest_rate,
        },
        charts=(
            Chart(
                "Largest curvature of inputs moved by (a, a)",
                "a",
                "curvature",
                (
                    curve("measured", shifts, tops),
                    curve("2 a², n a² in general", shifts, 2 * shifts**2),
                ),
            ),
        ),
    )


@claim(
    name="norm-axes",
    title="What each normalisation averages over",
    decks=("D0", "D2", "D4"),
    section="conditioning#c2",
    says=(
        "Batch norm averages over samples and places, layer norm over channels and places, "
        "instance norm over places, group norm over places and a group of channels."
    ),
    targets=(
        Target("largest difference of the table from torch's layers", 0.0, 1e-10, source="[C]"),
        Target("change of group norm when other samples change", 0.0, 0.0, source="[C]"),
        Target("change of batch norm when other samples change", 1e-3, 0.0, "at least",
               source="[C]"),
        Target("group norm of one group less layer norm", 0.0, 1e-12, source="[C]"),
        Target("group norm of single channels less instance norm", 0.0, 1e-12, source="[C]"),
        Target("weight times its gradient behind batch norm, per unit", 0.0, 1e-10,
               source="[C]"),
        Target("gradient at weights three times as large, times three", 1.0, 1e-6, source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slides let group norm average over 'N, C subset'; right is H, W and a subset of C, "
        "for each sample by itself. The variance line of another slide has σ_D for σ_B."
    ),
)  # fmt: skip
def norm_axes(setting: Setting) -> Outcome:
    """Random maps of 6 samples, 4 channels and 5x5 places in float64."""
    generator = torch.Generator().manual_seed(setting.seed)
    x = torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64) * 2 + 1
    other = torch.cat([x[:1], torch.randn(5, 4, 5, 5, generator=generator, dtype=torch.float64)])
    layers = {
        ("batch", None): nn.BatchNorm2d(4, dtype=torch.float64),
        ("layer", None): nn.LayerNorm([4, 5, 5], dtype=torch.float64),
        ("instance", None): nn.InstanceNorm2d(4),
        ("group", 2): nn.GroupNorm(2, 4, dtype=torch.float64),
    }
    off = max(
        float((layer(x) - normalised(x, kind, groups)).detach().abs().max())
        for (kind, groups), layer in layers.items()
    )

    def change(kind: str, groups: int | None = None) -> float:
        first = normalised(x, kind, groups)[0] - normalised(other, kind, groups)[0]
        return float(first.abs().max())

    changes = {
        "batch": change("batch"),
        "layer": change("layer"),
        "instance": change("instance"),
        "group": change("group", 2),
    }
    product, ratio = _behind_batch_norm(generator)
    return Outcome(
        {
            "largest difference of the table from torch's layers": off,
            "change of group norm when other samples change": changes["group"],
            "change of batch norm when other samples change": changes["batch"],
            "group norm of one group less layer norm": float(
                (normalised(x, "group", 1) - normalised(x, "layer")).abs().max()
            ),
            "group norm of single channels less instance norm": float(
                (normalised(x, "group", 4) - normalised(x, "instance")).abs().max()
            ),
            "weight times its gradient behind batch norm, per unit": product,
            "gradient at weights three times as large, times three": ratio,
        },
        charts=(
            Chart(
                "How far one sample's output moves when the others change",
                ", ".join(changes),
                "largest change",
                (curve("change", range(4), changes.values(), "bars"),),
            ),
        ),
    )


def _behind_batch_norm(generator: torch.Generator) -> tuple[float, float]:
    """Largest ⟨w, ∂L/∂w⟩ of a unit, and 3 |∂L/∂w| at 3w over that at w."""
    x = torch.randn(40, 7, generator=generator, dtype=torch.float64)
    y = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    w = torch.randn(5, 7, generator=generator, dtype=torch.float64)

    def gradient(at: Tensor) -> Tensor:
        at = at.clone().requires_grad_()
        out = normalised(x @ at.mT, "batch", eps=1e-12)
        return torch.autograd.grad(0.5 * (out - y).square().sum(1).mean(), at)[0]

    g = gradient(w)
    return float((w * g).sum(1).abs().max()), 3 * float(gradient(3 * w).norm() / g.norm())
