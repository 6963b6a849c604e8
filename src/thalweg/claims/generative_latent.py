"""Latent variables: bounds that are reached, and an autoencoder read as an energy."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.models.latent_energy import LatentEnergyModel, mean_free_energy
from thalweg.models.vae import VAE, gaussian_kl, linear_elbo


@claim(
    name="vae-linear",
    title="A linear VAE's bound is the likelihood",
    decks=("D0",),
    section="generative#v4",
    says=(
        "The evidence bound lies below the importance-weighted one and that below the likelihood; "
        "for a linear decoder it reaches the likelihood of probabilistic PCA."
    ),
    targets=(
        Target("bound at the optimum less the log likelihood", 0.0, 1e-3, source="[C]"),
        Target("the same less probabilistic PCA's maximum", 0.0, 1e-3, source="[P]"),
        Target("KL against torch.distributions", 0.0, 1e-12, source="[C]"),
        Target("bounds out of order before training", 0.0, source="[P]"),
    ),
    seconds=4,
)
def vae_linear(setting: Setting) -> Outcome:
    """400 points in six dimensions, two latents, float64, the exact bound by L-BFGS."""
    g = torch.Generator().manual_seed(setting.seed)
    mix = torch.randn(2, 6, generator=g, dtype=torch.float64)
    x = torch.randn(400, 2, generator=g, dtype=torch.float64) @ mix
    x = x + 0.5 * torch.randn(400, 6, generator=g, dtype=torch.float64) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        model = VAE(nn.Linear(6, 4), nn.Linear(2, 6), 2, "gaussian").double()
    order = _out_of_order(model, x, g)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=600,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -linear_elbo(model, x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyrefly: ignore
    with torch.no_grad():
        bound = float(linear_elbo(model, x).mean())
        exact = float(_likelihood(model, x).mean())
        mean, log_variance = model.posterior(x)
        q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        kl = torch.distributions.kl_divergence(q, p).sum(-1) - gaussian_kl(mean, log_variance)
    return Outcome(
        {
            "bound at the optimum less the log likelihood": bound - exact,
            "the same less probabilistic PCA's maximum": bound - _ppca(x, 2),
            "KL against torch.distributions": float(kl.abs().max()),
            "bounds out of order before training": order,
        }
    )


def _likelihood(model: VAE, x: Tensor) -> Tensor:
    """Log p(x) of the linear decoder: N(b, W Wᵀ + σ² I)."""
    decoder = model.decoder
    assert isinstance(decoder, nn.Linear)
    assert model.log_variance is not None
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    covariance = decoder.weight @ decoder.weight.mT + model.log_variance.exp() * eye
    return torch.distributions.MultivariateNormal(decoder.bias, covariance).log_prob(x)


def _ppca(x: Tensor, k: int) -> float:
    """The highest mean log likelihood of k latents, in closed form (Tipping and Bishop 1999)."""
    n, d = x.shape
    values = torch.linalg.svdvals(x - x.mean(0)).square() / n
    noise = values[k:].mean()
    logs = values[:k].log().sum() + (d - k) * noise.log()
    return -0.5 * float(d * math.log(2 * math.pi) + logs + d)


@torch.no_grad()
def _out_of_order(model: VAE, x: Tensor, g: torch.Generator) -> int:
    """How many of three neighbouring means are not in order: ELBO, 5 draws, 50 draws, log p."""
    some = x[:20].repeat(500, 1)
    means = [float(linear_elbo(model, x[:20]).mean())]
    for draws in (5, 50):
        noise = torch.randn(draws, len(some), 2, generator=g, dtype=x.dtype)
        means.append(float(model.iwae(some, noise).mean()))
    means.append(float(_likelihood(model, x[:20]).mean()))
    return sum(b <= a for a, b in itertools.pairwise(means))


@claim(
    name="autoencoder-energy",
    title="An autoencoder is an energy with a latent variable",
    decks=("D0",),
    section="generative#v5",
    says=(
        "E(y, z) = C(y, Dec(z)) + D(z, Enc(y)) + λR(z), F(y) = min over z: inference lowers the "
        "energy below that of the encoder's guess."
    ),
    targets=(
        Target("slope of the smooth energy at inferred codes, largest excess", 0.0, 1e-6),
        Target("samples whose energy inference does not lower", 0.0, source="[C]"),
        Target("free energy's slope by a weight, over differences", 1.0, 1e-5, source="[C]"),
    ),
    seconds=2,
)
def autoencoder_energy(setting: Setting) -> Outcome:
    """Fifty random signals of ten numbers, eight codes, α = 0.5, λ = 0.3, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        model = LatentEnergyModel(
            nn.Linear(10, 8), nn.Linear(8, 10), 0.5, l1=0.3, steps=400, lr=0.2
        ).double()
        y = torch.randn(50, 10, dtype=torch.float64)
    z, guess = model.infer(y), model.encoder(y).detach()
    slope = torch.func.grad(
        lambda c: 0.5 * (y - model.decoder(c)).square().sum() + 0.25 * (c - guess).square().sum()
    )(z).detach()
    excess = torch.where(z == 0, (slope.abs() - 0.3).clamp(min=0), (slope + 0.3 * z.sign()).abs())
    lowered = model.energy(y, guess) - model.energy(y, z)
    weight = model.decoder.weight
    assert isinstance(weight, Tensor)
    (exact,) = torch.autograd.grad(mean_free_energy(model, y), weight)
    moved = []
    for h in (1e-5, -2e-5):  # up, then to the other side
        with torch.no_grad():
            weight[1, 2] += h
            moved.append(float(mean_free_energy(model, y)))
    return Outcome(
        {
            "slope of the smooth energy at inferred codes, largest excess": float(excess.max()),
            "samples whose energy inference does not lower": int((lowered <= 0).sum()),
            "free energy's slope by a weight, over differences": float(exact[1, 2])
            / ((moved[0] - moved[1]) / 2e-5),
        }
    )
