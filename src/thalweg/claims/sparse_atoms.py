"""What learned atoms look like: parts of digits, and oriented localised filters. Quantified."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records import Picture
from thalweg.records_claims import Chart


@claim(
    name="gabor-atoms",
    title="Atoms of natural patches are Gabor-like",
    decks=("D0",),
    section="sparse#s1",
    says=(
        "Sparse coding of natural patches learns oriented, localised filters like those of the "
        "first visual area: Gabor functions fit them."
    ),
    targets=(
        Target("share of atoms of which a Gabor function explains over 70 %", 0.6, 0.0, "at least",
               source="[ours], of the spec"),
        Target("median variance that a Gabor function explains", 0.7, 0.0, "at least",
               source="[ours], of the spec"),
        Target("the same share for random patterns as smooth", 0.3, 0.0, "at most",
               source="[ours], control"),
        Target("share of atoms with at least half a cycle across", relation="reported"),
    ),
    seconds=30,
)  # fmt: skip
def gabor_atoms(setting: Setting) -> Outcome:
    """144 atoms of 10x10 patches, mean removed, variance 1, weight 0.5; the best of 72 starts."""
    from thalweg.sparse import learn_dictionary
    from thalweg.sparse.patches import Preprocessing, sample_patches
    from thalweg.sparse.reading import builtin

    prepare = Preprocessing((10, 10), True, "unit")
    raw = sample_patches(builtin("photographs").images, 10, 50_000, seed=setting.seed)
    X = prepare.apply(raw)[0]
    setting.progress("learning 144 atoms")
    learned = learn_dictionary(X, 144, 0.05, passes=5.0, seed=setting.seed)
    atoms = torch.from_numpy(learned.D.T.copy())
    setting.progress("fitting Gabor functions")
    explained, cycles, fits = fit_gabors(atoms, 10)
    control, _, _ = fit_gabors(alike(atoms, setting.seed), 10)
    order = explained.argsort(descending=True)
    places = np.linspace(0, 1, len(atoms))
    return Outcome(
        {
            "share of atoms of which a Gabor function explains over 70 %": share(explained),
            "median variance that a Gabor function explains": float(explained.median()),
            "the same share for random patterns as smooth": share(control),
            "share of atoms with at least half a cycle across": float(
                (cycles >= 0.5).double().mean()
            ),
        },
        charts=(
            Chart(
                "Variance of an atom that its best Gabor function explains",
                "share of atoms",
                "explained",
                (
                    curve("learned atoms", places, explained.sort(descending=True).values.tolist()),
                    curve(
                        "random patterns with their spectrum",
                        places,
                        control.sort(descending=True).values.tolist(),
                    ),
                ),
            ),
        ),
        pictures=(
            _mosaic("Atoms, best fitted first", atoms[order], 10),
            _mosaic("Their Gabor functions", fits[order], 10),
        ),
        reduced="scikit-learn's two photographs in place of a set of natural images",
    )


def share(explained: Tensor) -> float:
    """How many of them are above 70 %."""
    return float((explained > 0.7).double().mean())


def alike(atoms: Tensor, seed: int) -> Tensor:
    """Random patterns with the covariance of the atoms: as smooth, but not localised."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(len(atoms), len(atoms), generator=g, dtype=atoms.dtype)
    return torch.nn.functional.normalize(mix @ atoms, dim=1)


def fit_gabors(atoms: Tensor, side: int, steps: int = 150) -> tuple[Tensor, Tensor, Tensor]:
    """The best Gabor function of each atom, by Adam from the best four of 72 starts.

    Amplitude and phase are solved for; centre, orientation, frequency and two widths are descended
    on. The widths stay between 0.7 pixels and the patch's side.

    Args:
        atoms: ``(m, side²)``, rows of norm 1.
        side: Of a patch, in pixels.
        steps: Of Adam.

    Returns:
        Explained share ``(m,)``, cycles under the envelope ``(m,)`` (frequency times four widths
        along it), and the fits ``(m, side²)``.
    """
    m = len(atoms)
    at = torch.arange(side, dtype=atoms.dtype) - (side - 1) / 2
    y, x = (v.flatten() for v in torch.meshgrid(at, at, indexing="ij"))
    weight = atoms.square() / atoms.square().sum(1, keepdim=True)
    angles = torch.arange(6) * torch.pi / 6
    grid = torch.cartesian_prod(
        angles.to(atoms.dtype),
        torch.tensor([0.08, 0.15, 0.25, 0.35], dtype=atoms.dtype),
        torch.tensor([1.2, 2.0, 3.5], dtype=atoms.dtype),
    )
    centre = torch.stack([weight @ x, weight @ y], 1)
    starts = torch.cat(
        [centre[:, None].expand(m, len(grid), 2), grid[None].expand(m, -1, 3), grid[None, :, 2:]
         .expand(m, -1, 1)], 2,
    )  # fmt: skip
    with torch.no_grad():
        scores = _explained(starts, atoms, x, y, side)[0]
    best = scores.topk(4, dim=1).indices
    p = starts.gather(1, best[..., None].expand(-1, -1, 6)).clone().requires_grad_()
    adam = torch.optim.Adam([p], lr=0.05)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 0.05 * (1 - step / steps) + 0.002
        adam.zero_grad()
        (-_explained(p, atoms, x, y, side)[0].sum()).backward()
        adam.step()
    with torch.no_grad():
        scores, fits = _explained(p, atoms, x, y, side)
        found, which = scores.max(1)
        rows = torch.arange(m)
        frequency, width = p[rows, which, 3].abs(), _width(p[rows, which, 4], side)
        return found, 4 * frequency * width, fits[rows, which]


def _width(raw: Tensor, side: int) -> Tensor:
    return raw.abs().clamp(0.7, side)


def _explained(p: Tensor, atoms: Tensor, x: Tensor, y: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Shares ``(m, k)`` and fits ``(m, k, side²)`` for parameters ``(m, k, 6)``."""
    cx, cy, angle, frequency, along, across = (v[..., None] for v in p.unbind(-1))
    u = (x - cx) * angle.cos() + (y - cy) * angle.sin()
    v = (y - cy) * angle.cos() - (x - cx) * angle.sin()
    envelope = torch.exp(
        -0.5 * (u / _width(along, side)).square() - 0.5 * (v / _width(across, side)).square()
    )
    phase = 2 * torch.pi * frequency * u
    c, s = envelope * phase.cos(), envelope * phase.sin()
    a = atoms[:, None]
    cc, ss, cs = c.square().sum(-1), s.square().sum(-1), (c * s).sum(-1)
    ca, sa = (c * a).sum(-1), (s * a).sum(-1)
    cc, ss = cc + 1e-9, ss + 1e-9
    determinant = cc * ss - cs.square()
    first, second = (ss * ca - cs * sa) / determinant, (cc * sa - cs * ca) / determinant
    fit = first[..., None] * c + second[..., None] * s
    return 1 - (a - fit).square().sum(-1) / a.square().sum(-1), fit


@claim(
    name="digit-parts",
    title="Atoms of digits are parts of digits",
    decks=("D0",),
    section="sparse#s1",
    says="Sparse coding of whole handwritten digits learns strokes; a digit is a sum of a few.",
    targets=(
        Target("median area of an atom over that of a digit", 0.5, 0.0, "at most",
               source="[ours]"),
        Target("median largest cosine of an atom with a digit", 0.8, 0.0, "at most",
               source="[ours]"),
        Target("mean atoms in a digit", 3.0, 0.0, "at least", source="[ours]"),
        Target("share of atoms used in a digit", 0.2, 0.0, "at most", source="[ours]"),
        Target("variance explained", 0.8, 0.0, "at least", source="[ours]"),
        Target("the area for cluster means", 0.5, 0.0, "at least", source="[ours], control"),
    ),
    seconds=60,
    needs=("mnist",),
)  # fmt: skip
def digit_parts(setting: Setting) -> Outcome:
    """MNIST's 60,000 digits at norm 1, 2,000 held out; 196 atoms; judged at a weight of 0.05."""
    from sklearn.cluster import MiniBatchKMeans

    from thalweg.data.idx import read_idx
    from thalweg.sparse import encode, learn_dictionary

    folder = setting.folder("mnist")
    images = read_idx(next(folder.glob("train-images*"))).reshape(-1, 784)
    X = images[np.random.default_rng(setting.seed).permutation(len(images))] / 255.0
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    X, held_out = X[2_000:], X[:2_000]
    some = X[:20_000]
    learned = {}
    for weight in (0.05, 0.1):
        setting.progress(f"learning 196 atoms at a weight of {weight:g}")
        learned[weight] = learn_dictionary(X, 196, weight, passes=5.0, seed=setting.seed).D.T
    atoms = learned[0.05]
    z = np.asarray(encode(held_out, atoms.T, 0.05).z)
    setting.progress("clusters to compare with")
    clusters = MiniBatchKMeans(196, random_state=setting.seed, n_init=1, batch_size=2048).fit(some)
    means, used = clusters.cluster_centers_, (z != 0).sum(1)
    digit, order = np.median(area(some)), np.argsort(-(z != 0).mean(0))
    left = np.square(held_out - z @ atoms).sum() / np.square(held_out).sum()
    even = np.linspace(0, 1, 196)
    shown = {"atoms, weight 0.05": atoms, "atoms, weight 0.1": learned[0.1]}
    shown |= {"cluster means": means, "digits": some}
    return Outcome(
        {
            "median area of an atom over that of a digit": np.median(area(atoms)) / digit,
            "median largest cosine of an atom with a digit": np.median((atoms @ some.T).max(1)),
            "mean atoms in a digit": used.mean(),
            "share of atoms used in a digit": used.mean() / len(atoms),
            "variance explained": 1 - left,
            "the area for cluster means": np.median(area(means)) / digit,
        },
        charts=(
            Chart(
                "Area of atoms, cluster means and digits",
                "share of them",
                "pixels",
                tuple(curve(k, even, np.quantile(area(v), even)) for k, v in shown.items()),
                caption="Area: (Σ v²)² / Σ v⁴, the pixels over which a pattern is spread.",
            ),
        ),
        pictures=(_mosaic("Atoms, most used first", torch.from_numpy(atoms[order].copy()), 28),),
        notes=(
            "The lecture names neither weight nor size. At a weight of 0.1 atoms spread over "
            f"{np.median(area(learned[0.1])) / digit:.2f} of a digit's area: the dearer an atom, "
            "the more of a digit it is.",
        ),
    )


def area(rows: np.ndarray) -> np.ndarray:
    """Over how many pixels a pattern is spread: ``(Σ v²)² / Σ v⁴`` per row.

    >>> area(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
    array([2., 1.])
    """
    squares = np.square(rows)
    return np.square(squares.sum(1)) / np.square(squares).sum(1)


def _mosaic(title: str, rows: Tensor, side: int) -> Picture:
    from thalweg.sparse.summary import picture, tiles

    values = rows.numpy()
    scaled = 0.5 + 0.5 * values / np.abs(values).max(1, keepdims=True)
    return picture(title, tiles(scaled, (side, side), 1.0))
