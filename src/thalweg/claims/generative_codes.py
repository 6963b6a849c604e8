"""Narrow middles: a linear autoencoder is PCA, noise does not compress."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.models.autoencoder import LinearAutoencoder, largest_angle, pca_reference
from thalweg.records_claims import Chart, Curve


@claim(
    name="linear-autoencoder-pca",
    title="A linear autoencoder finds PCA's subspace",
    decks=("D1", "D3"),
    section="generative#v2",
    says="The best k linear units span the first k principal components; their loss is the tail.",
    targets=(
        Target("sine of the largest angle to PCA's subspace, digits, k = 8", 0.0, 1e-6),
        Target("loss over the tail of the singular values", 1.0, 1e-9, source="[D] [C]"),
        Target("unit and component need not agree: smallest cosine", 0.99, 0.0, "at most"),
        Target("angle after minibatch SGD", 0.0, 1e-2, source="[C]"),
        Target("sine of the angle with free weights, as many steps", relation="reported"),
    ),
    seconds=4,
)
def linear_autoencoder_pca(setting: Setting) -> Outcome:
    """Centred 8x8 digits, tied weights, L-BFGS in float64; Gaussian data by minibatch SGD."""
    from thalweg.data.bundled import digits

    images, _ = digits()
    x = torch.from_numpy(images).reshape(-1, 64) / 16
    x = x - x.mean(0)
    pca = pca_reference(x, 8)
    model, free = (_linear(64, 8, setting.seed, tied) for tied in (True, False))
    loss, _ = _by_lbfgs(model, x, 300), _by_lbfgs(free, x, 300)
    units = nn.functional.normalize(model.encoder.weight.detach(), dim=1)
    cosines = (units @ pca.basis).abs().max(1).values
    return Outcome(
        {
            "sine of the largest angle to PCA's subspace, digits, k = 8": largest_angle(
                model.encoder.weight.detach().mT, pca.basis
            ),
            "loss over the tail of the singular values": loss / pca.tail,
            "unit and component need not agree: smallest cosine": float(cosines.min()),
            "angle after minibatch SGD": _by_sgd(setting.seed),
            "sine of the angle with free weights, as many steps": largest_angle(
                _decoder(free), pca.basis
            ),
        },
        charts=(
            Chart(
                "Singular values of the digits",
                "component",
                "singular value",
                (
                    Curve(
                        "digits",
                        tuple(float(i) for i in range(1, 65)),
                        tuple(pca.singular.tolist()),
                        "bars",
                    ),
                ),
            ),
        ),
        notes=(
            "The solutions are the same. A free encoder has curvatures as small as the least "
            "singular value squared and takes thousands of steps to this angle; a tied one does "
            "not.",
        ),
    )


def _linear(n: int, k: int, seed: int, tied: bool = False) -> LinearAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LinearAutoencoder(n, k, tied, bias=False).double()


def _decoder(model: LinearAutoencoder) -> Tensor:
    assert model.decoder is not None  # not tied
    return model.decoder.weight.detach()


def _by_lbfgs(model: nn.Module, x: Tensor, iterations: int, power: float = 2.0) -> float:
    """Minimise the sum of ‖x - x′‖^power; the sum at the end."""
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=iterations,
        max_eval=2 * iterations,
        history_size=20,
        tolerance_grad=1e-10,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        square = (model(x) - x).square().sum(1)
        loss = square.mean() if power == 2 else (square + 1e-12).pow(power / 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyrefly: ignore
    return float(closure().detach()) * len(x)


def _by_sgd(seed: int) -> float:
    """The angle that minibatch SGD reaches on ten axes with deviations 3, 2, 1 and seven of 0.3."""
    g = torch.Generator().manual_seed(seed)
    scale = torch.tensor([3.0, 2.0, 1.0] + [0.3] * 7, dtype=torch.float64)
    x = scale * torch.randn(500, 10, generator=g, dtype=torch.float64)
    x = x - x.mean(0)
    model, basis = _linear(10, 3, seed), pca_reference(x, 3).basis
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    steps = 1500
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        batch = x[torch.randint(500, (50,), generator=g)]
        optimizer.zero_grad()
        ((model(batch) - batch).square().sum() / 100).backward()
        optimizer.step()
    return largest_angle(_decoder(model), basis)


@claim(
    name="reconstruction-exponent",
    title="The reconstruction error is squared",
    decks=("D3",),
    section="generative#v2",
    says="Least squared error makes a linear autoencoder PCA.",
    targets=(
        Target("angle to PCA, squared norm", 0.0, 1e-6, source="[C]"),
        Target("angle to PCA, norm to the power 1/2", 1e-2, 0.0, "at least", source="[C]"),
    ),
    correction="D3 prints the norm with exponent 1/2; the loss that PCA minimises is its square.",
    seconds=2,
)
def reconstruction_exponent(setting: Setting) -> Outcome:
    """Two hundred skewed points in six dimensions, two units, L-BFGS."""
    g = torch.Generator().manual_seed(setting.seed)
    x = torch.randn(200, 6, generator=g, dtype=torch.float64) ** 3
    x = (x - x.mean(0)) * torch.tensor([3.0, 2, 1, 1, 0.5, 0.5], dtype=torch.float64)
    basis = pca_reference(x, 2).basis
    angles = []
    for power in (2.0, 0.5):
        model = _linear(6, 2, setting.seed)
        _by_lbfgs(model, x, 500)  # both from the same solution of the square
        if power != 2:
            _by_lbfgs(model, x, 300, power)
        angles.append(largest_angle(_decoder(model), basis))
    return Outcome(
        {
            "angle to PCA, squared norm": angles[0],
            "angle to PCA, norm to the power 1/2": angles[1],
        }
    )


@claim(
    name="incompressible",
    title="Structure compresses, noise does not",
    decks=("D1",),
    section="generative#v2",
    says="With 50 units for 100 random inputs half of the variance is lost; correlated inputs fit.",
    targets=(
        Target("share of the variance lost, independent inputs", 0.5, 0.005, source="[C]"),
        Target("share lost, natural patches", 0.05, 0.0, "at most", source="[D]"),
    ),
    seconds=2,
)
def incompressible(setting: Setting) -> Outcome:
    """The least loss of 50 linear units (Eckart-Young): exact isotropic noise, 10x10 patches."""
    from thalweg.sparse.patches import sample_patches
    from thalweg.sparse.reading import builtin

    g = torch.Generator().manual_seed(setting.seed)
    noise = torch.randn(20_000, 100, generator=g, dtype=torch.float64)
    noise = torch.linalg.qr(noise - noise.mean(0))[0]  # sample covariance exactly a multiple of I
    patches = torch.from_numpy(
        sample_patches(builtin("photographs").images, 10, 5000, setting.seed)
    ).double()
    patches = patches - patches.mean(0)
    curves, lost = [], []
    for name, x in (("independent inputs", noise), ("natural patches", patches)):
        power = torch.linalg.svdvals(x).square()
        tail = 1 - power.cumsum(0) / power.sum()
        lost.append(float(tail[49]))
        curves.append(Curve(name, tuple(float(k) for k in range(1, 101)), tuple(tail.tolist())))
    return Outcome(
        {
            "share of the variance lost, independent inputs": lost[0],
            "share lost, natural patches": lost[1],
        },
        charts=(
            Chart(
                "What k linear units leave out", "units k", "share of the variance", tuple(curves)
            ),
        ),
    )
