r"""How likely is a sample under a decoder? Variational autoencoders and their bounds."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LIKELIHOODS = ("bernoulli", "gaussian")
DRAWS = 8  # common, antithetic noise that stands for the expectation in evaluation mode


class VAE(nn.Module):
    r"""Encoder :math:`q(z|x) = \mathcal N(\mu(x), \sigma^2(x))`, prior :math:`\mathcal N(0, I)`.

    .. math:: \text{ELBO}(x) = E_q[\log p(x|z)] - \beta\,\text{KL}(q\,\|\,\mathcal N(0, I)), \qquad
        \text{KL} = -\tfrac12\sum(1 + \log\sigma^2 - \mu^2 - \sigma^2)

    Sums run over pixels and latents, means over the batch. In training mode noise is drawn anew;
    in evaluation mode eight fixed antithetic draws are shared by all samples, so that one loss has
    one value.

    Args:
        encoder: x ``(b, n)`` to ``(b, 2 latent)``: μ, then log σ² (clamped to [-10, 10]).
        decoder: z ``(…, latent)`` to logits (Bernoulli) or means (Gaussian) ``(…, n)``.
        latent: Number of latents.
        likelihood: ``bernoulli`` (x in [0, 1]) or ``gaussian`` with one learnt variance.
        beta: Weight of the KL; 1 gives a bound.

    Raises:
        ValueError: Another likelihood, or fewer than one latent.

    References:
        Kingma, Welling, "Auto-encoding variational Bayes", 2014.
    """

    common: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        likelihood: str = "bernoulli",
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        if likelihood not in LIKELIHOODS or latent < 1:
            raise ValueError(
                f"likelihood {likelihood!r}, {latent} latents; known: {', '.join(LIKELIHOODS)}; "
                "at least 1."
            )
        self.encoder, self.decoder, self.latent = encoder, decoder, latent
        self.likelihood, self.beta = likelihood, beta
        self.log_variance = nn.Parameter(torch.zeros(())) if likelihood == "gaussian" else None
        half = torch.randn(DRAWS // 2, 1, latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("common", torch.cat([half, -half]), persistent=False)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q, each ``(b, latent)``."""
        mean, log_variance = self.encoder(x).split(self.latent, dim=-1)
        return mean, log_variance.clamp(-10, 10)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Log p(x|z), summed over pixels: ``(s, b)`` for z ``(s, b, latent)``."""
        out = self.decoder(z)
        if self.log_variance is None:
            loss = F.binary_cross_entropy_with_logits(out, x.expand_as(out), reduction="none")
            return -loss.sum(-1)
        scaled = (x - out).square() * torch.exp(-self.log_variance)
        return -0.5 * (scaled + self.log_variance + math.log(2 * math.pi)).sum(-1)

    def elbo(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The bound for each sample ``(b,)``.

        Args:
            x: ``(b, n)``.
            noise: Standard normal ``(s, b or 1, latent)``; None: one fresh draw in training, the
                common ones in evaluation.
        """
        mean, log_variance = self.posterior(x)
        if noise is None:
            noise = torch.randn_like(mean)[None] if self.training else self.common.to(mean.dtype)
        z = mean + (0.5 * log_variance).exp() * noise
        return self.log_likelihood(x, z).mean(0) - self.beta * gaussian_kl(mean, log_variance)

    def iwae(self, x: Tensor, noise: Tensor) -> Tensor:
        r"""The importance-weighted bound, between the ELBO and log p(x), ``(b,)``.

        :math:`\log\frac1s\sum_i p(x|z_i)\,p(z_i)/q(z_i|x)`.

        Args:
            x: ``(b, n)``.
            noise: Standard normal ``(s, b, latent)``; more draws, tighter.
        """
        mean, log_variance = self.posterior(x)
        z = mean + (0.5 * log_variance).exp() * noise
        prior = -0.5 * z.square().sum(-1)
        q = -0.5 * (noise.square() + log_variance).sum(-1)
        weights = self.log_likelihood(x, z) + prior - q  # both leave (latent/2) log 2π out
        return weights.logsumexp(0) - math.log(len(noise))

    def forward(self, x: Tensor) -> Tensor:
        """The bound for each sample ``(b,)``: higher is better."""
        return self.elbo(x)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from the standard normal, summed over the last axis.

    >>> gaussian_kl(torch.tensor([2.0]), torch.zeros(1)).item()
    2.0
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1)


def linear_elbo(model: VAE, x: Tensor) -> Tensor:
    r"""The bound in closed form where the decoder is linear and the likelihood Gaussian, ``(b,)``.

    :math:`E_q\|x-Wz-b\|^2 = \|x-W\mu-b\|^2 + \sum_j\sigma_j^2\|W_j\|^2`.

    Raises:
        ValueError: Another decoder or likelihood.
    """
    decoder = model.decoder
    if not isinstance(decoder, nn.Linear) or model.log_variance is None:
        raise ValueError("the closed form needs a linear decoder and a Gaussian likelihood.")
    mean, log_variance = model.posterior(x)
    spread = (log_variance.exp() * decoder.weight.square().sum(0)).sum(-1)
    square = (x - decoder(mean)).square().sum(-1) + spread
    constant = x.shape[-1] * (model.log_variance + math.log(2 * math.pi))
    expected = -0.5 * (square * torch.exp(-model.log_variance) + constant)
    return expected - model.beta * gaussian_kl(mean, log_variance)


def negative_elbo(model: VAE, batch: Tensor) -> Tensor:
    """What training minimises: minus the mean bound of a batch ``(b, n)``."""
    return -model(batch).mean()
