"""Slips of the slides about sparse codes: a missing half, a missing transpose, a sum outside."""

from __future__ import annotations

import numpy as np

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.claims.sparse import descend, problem, shrink
from thalweg.records_claims import Chart


@claim(
    name="half-in-the-energy",
    title="The sparse-coding energy and ISTA's threshold do not fit",
    decks=("D0",),
    section="sparse#s1",
    says=(
        "ISTA with the threshold a/L minimises ½‖y − wz‖² + a|z|; for the energy without ½ and the "
        "weight lambda, a is lambda/2."
    ),
    targets=(
        Target("excess with a = lambda/2", 0.0, 1e-10, source="[C]"),
        Target("excess as printed, with a = lambda", 1e-3, 0.0, "at least", source="[C]"),
        Target("codes of lambda = 0.2 and a = 0.1 differ by", 0.0, 1e-8, source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slide gives the energy ‖y − wz‖² + λ|z| and ISTA with the threshold α/L of the energy "
        "with ½; right is λ = 2α."
    ),
)
def half_in_the_energy(setting: Setting) -> Outcome:
    """The printed energy of ISTA's answers, beside its least value from the certified solver."""
    from thalweg.sparse import encode

    X, D = problem(setting.seed)
    lam = 0.2

    def printed(Z: np.ndarray) -> np.ndarray:
        return np.square(X - Z @ D.T).sum(1) + lam * np.abs(Z).sum(1)

    # the lasso of (√2 x, √2 D) has the energy without ½
    root = np.sqrt(2)
    best = np.asarray(encode(root * X, root * D, lam, tol=1e-14).z)
    least = printed(best).mean()
    weights = np.geomspace(0.02, 0.5, 25)
    ends = {a: printed(descend(X, D, a, 4000, True)[1]).mean() for a in (lam / 2, lam)}
    codes = np.asarray(encode(X, D, lam / 2, tol=1e-14).z)
    shown = [printed(np.asarray(encode(X, D, a).z)).mean() for a in weights]
    return Outcome(
        {
            "excess with a = lambda/2": ends[lam / 2] - least,
            "excess as printed, with a = lambda": ends[lam] - least,
            "codes of lambda = 0.2 and a = 0.1 differ by": np.abs(codes - best).max(),
        },
        charts=(
            Chart(
                "The printed energy with lambda = 0.2, at the codes for each a",
                "a in the threshold a/L",
                "‖y − wz‖² + 0.2 |z|",
                (
                    curve("codes for a", weights, shown),
                    curve("least", weights, np.full(25, least)),
                ),
                x_log=True,
                caption="The minimum is at a = 0.1, half of lambda.",
            ),
        ),
    )


@claim(
    name="transpose-in-ista",
    title="ISTA's input filter is a transpose",
    decks=("D0", "D1"),
    section="sparse#s2",
    says="ISTA is z ← h(u x + s z) with u = eta wᵀ, s = I − eta wᵀw and the threshold eta a.",
    targets=(
        Target("distance to the code with u = eta wᵀ", 0.0, 1e-8, source="[C]"),
        Target("distance to the code as printed, u = eta w", 0.1, 0.0, "at least", source="[C]"),
        Target("difference to the gradient form after 50 steps", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slide has u = ηw, which does not even fit unless the dictionary is square; right is "
        "u = ηwᵀ. Another mixes z_{k+1} with z(k) and h with h_θ: one notation."
    ),
)
def transpose_in_ista(setting: Setting) -> Outcome:
    """A square dictionary, the only kind on which the printed form can be run at all."""
    from thalweg.sparse import encode

    X, D = problem(setting.seed, n=20, m=20)
    D = D + np.eye(20)  # well enough conditioned that 3,000 steps end at rounding
    D /= np.linalg.norm(D, axis=0)
    a, L = 0.1, float(np.linalg.norm(D, 2) ** 2)
    exact = np.asarray(encode(X, D, a, tol=1e-14).z)
    S = np.eye(20) - D.T @ D / L
    right, printed, gradient = (np.zeros((len(X), 20)) for _ in range(3))
    far: dict[str, list[float]] = {"u = eta wᵀ": [], "u = eta w": []}
    agree = 0.0
    for k in range(20_000):
        right = shrink(X @ D / L + right @ S.T, a / L)
        printed = shrink(X @ D.T / L + printed @ S.T, a / L)
        if k < 50:
            gradient = shrink(gradient - (gradient @ D.T - X) @ D / L, a / L)
            agree = max(agree, float(np.abs(gradient - right).max()))
        for name, z in (("u = eta wᵀ", right), ("u = eta w", printed)):
            far[name].append(float(np.abs(z - exact).max()))
    k = np.arange(1, 20_001)
    some = np.unique(np.geomspace(1, 20_000, 200).astype(int)) - 1
    return Outcome(
        {
            "distance to the code with u = eta wᵀ": far["u = eta wᵀ"][-1],
            "distance to the code as printed, u = eta w": far["u = eta w"][-1],
            "difference to the gradient form after 50 steps": agree,
        },
        charts=(
            Chart(
                "Largest distance to the exact code",
                "iteration",
                "distance",
                tuple(curve(name, k[some], np.array(v)[some]) for name, v in far.items()),
                x_log=True,
                y_log=True,
            ),
        ),
    )


@claim(
    name="convolutional-energy",
    title="The convolutional energy sums inside the norm",
    decks=("D0",),
    section="sparse#s9",
    says=(
        "Convolutional sparse coding reconstructs an image by the sum of its maps: "
        "½‖Y − Σ_k W_k * Z_k‖² + a Σ_k |Z_k|."
    ),
    targets=(
        Target("data term at the codes that made the image", 0.0, 1e-20, source="[C]"),
        Target("data term as printed, over (K − 1)‖Y‖²", 1.0, 0.1, source="[C]"),
        Target("adjoint error of the decoder", 0.0, 1e-12, source="[C]"),
        Target("energy of one 8x8 patch minus the plain one", 0.0, 1e-12, source="[C]"),
    ),
    seconds=2,
    correction="The slide has Σ_k ‖Y − W_k * Z_k‖² in both energies; the sum belongs inside.",
)
def convolutional_energy(setting: Setting) -> Outcome:
    """Eight random kernels, sparse maps whose supports do not meet, images of 40 x 40."""
    import torch
    from torch.nn.functional import conv2d, conv_transpose2d

    g = torch.Generator().manual_seed(setting.seed)
    like = {"generator": g, "dtype": torch.float64}
    K, s = 8, 8
    W = torch.randn(K, 1, s, s, **like)  # pyrefly: ignore
    W /= W.flatten(1).norm(dim=1)[:, None, None, None]
    Z = torch.randn(1, K, 33, 33, **like)  # pyrefly: ignore
    Z *= torch.rand(Z.shape, generator=g) < 0.01
    Y = conv_transpose2d(Z, W)
    inside = float((Y - conv_transpose2d(Z, W)).square().sum())
    parts = [conv_transpose2d(Z[:, k : k + 1], W[k : k + 1]) for k in range(K)]
    printed = sum(float((Y - part).square().sum()) for part in parts)
    # Σ‖Y − Y_k‖² = (K − 2)‖Y‖² + Σ‖Y_k‖², about (K − 1)‖Y‖² where maps hardly overlap
    other = torch.randn(Y.shape, **like)  # pyrefly: ignore
    adjoint = float((conv_transpose2d(Z, W) * other).sum() - (Z * conv2d(other, W)).sum())
    patch, z = torch.randn(s * s, **like), torch.randn(K, **like)  # pyrefly: ignore
    D = W.flatten(1).mT
    plain = float(0.5 * (patch - D @ z).square().sum() + 0.1 * z.abs().sum())
    drawn = conv_transpose2d(z.view(1, K, 1, 1), W).flatten()
    convolved = float(0.5 * (patch - drawn).square().sum() + 0.1 * z.abs().sum())
    return Outcome(
        {
            "data term at the codes that made the image": inside,
            "data term as printed, over (K − 1)‖Y‖²": printed / ((K - 1) * float(Y.square().sum())),
            "adjoint error of the decoder": abs(adjoint),
            "energy of one 8x8 patch minus the plain one": abs(convolved - plain),
        },
        notes=(
            "As printed, every map would have to draw the whole image by itself: codes that draw "
            "it exactly pay almost (K − 1)‖Y‖².",
        ),
    )
