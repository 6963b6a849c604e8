r"""How do two networks train each other? Losses of the generative adversarial game, and its theory.

The game :math:`\min_G\max_D V`, :math:`V = E_x\log D(x) + E_z\log(1-D(G(z)))`, is no plain loss:
each network descends on a loss of its own. :func:`simultaneous_loss` gives both gradients in one
pass, so that a race or ``train`` can take the pair as a task; ``thalweg.strategies.turns``
takes k discriminator steps for each of the generator. Discriminators give logits.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.models.losses import no_spectrum

LOSSES = ("nonsaturating", "minimax")


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Minus V: mean of :math:`-\log D(x) - \log(1-D(G(z)))`, from logits ``(b,)`` each."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: str = "nonsaturating") -> Tensor:
    r"""``nonsaturating``: mean of :math:`-\log D(G(z))`; ``minimax``: of :math:`\log(1-D(G(z)))`.

    Where D is sure (D(G) = 0.01) the minimax form's slope by the logit is 0.01, the other's 0.99.

    Raises:
        ValueError: Another kind.
    """
    if kind not in LOSSES:
        raise ValueError(f"kind is {kind!r}; known: {', '.join(LOSSES)}.")
    return F.softplus(-fake).mean() if kind == "nonsaturating" else -F.softplus(fake).mean()


class AdversarialPair(nn.Module):
    """A generator and a discriminator in one module.

    Args:
        generator: z ``(b, latent)`` to samples ``(b, n)``.
        discriminator: Samples to logits ``(b, 1)``.
        latent: Number of latents.
        loss: ``nonsaturating`` or ``minimax``.

    Attributes:
        turn: ``discriminator`` or ``generator`` while one of them trains alone; None for both.

    Raises:
        ValueError: Another loss.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: int,
        loss: str = "nonsaturating",
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; known: {', '.join(LOSSES)}.")
        self.generator, self.discriminator = generator, discriminator
        self.latent, self.loss = latent, loss
        self.turn: str | None = None

    def logits(self, x: Tensor) -> Tensor:
        """D's logits ``(b,)``."""
        return self.discriminator(x).squeeze(-1)

    def forward(self, z: Tensor) -> Tensor:
        """Samples ``(b, n)`` of noise ``(b, latent)``."""
        return self.generator(z)


@no_spectrum(
    "two networks play against each other; the sum of their losses is minimised by neither. Train "
    "it with --strategy adversarial, or race it."
)
def simultaneous_loss(model: AdversarialPair, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The sum of both losses, each reaching its own network's weights alone.

    Its gradient is that of simultaneous descent (k = 1, both step at once). Its value says nothing
    of progress, and its Hessian is not the game's Jacobian: judge by samples. Where ``model.turn``
    names one network, it is that network's loss alone.

    Args:
        model: The pair.
        batch: Data ``(b, n)`` and noise ``(b, latent)``; in training the noise is drawn anew.
    """
    x, z = batch
    if model.training:
        z = torch.randn_like(z)
    fake = model.generator(z)
    if model.turn == "generator":
        return _judged(model, fake)
    judge = discriminator_loss(model.logits(x), model.logits(fake.detach()))
    return judge if model.turn == "discriminator" else judge + _judged(model, fake)


def _judged(model: AdversarialPair, fake: Tensor) -> Tensor:
    """The generator's loss under a discriminator that gets no gradient."""
    held = {name: p.detach() for name, p in model.discriminator.named_parameters()}
    seen: Tensor = torch.func.functional_call(model.discriminator, held, (fake,))
    return generator_loss(seen.squeeze(-1), model.loss)


def minus_energy_distance(model: AdversarialPair, batch: tuple[Tensor, Tensor]) -> float:
    """Minus the energy distance between generated and real samples: 0 is a perfect fit.

    An unbiased estimate of :math:`2E|X-Y| - E|X-X'| - E|Y-Y'|`, so it may exceed 0 by chance.
    """
    x, z = batch
    fake = model.generator(z)

    def within(a: Tensor) -> Tensor:
        n = len(a)
        return torch.cdist(a, a).sum() / max(1, n * (n - 1))

    return -float(2 * torch.cdist(x, fake).mean() - within(x) - within(fake))


def ideal_discriminator(p_data: Tensor, p_model: Tensor) -> Tensor:
    r""":math:`D^* = p_{data}/(p_{data}+p_g)`, the best answer to a fixed generator."""
    return p_data / (p_data + p_model)


def game_value(p_data: Tensor, p_model: Tensor, d: Tensor) -> float:
    r"""V of a discriminator D on a finite set: :math:`\sum p_{data}\log D + p_g\log(1-D)`.

    At D* it is :math:`-\log 4 + 2\,\text{JSD}`; at equal distributions -log 4.

    >>> half = torch.tensor([0.5, 0.5])
    >>> round(game_value(half, half, ideal_discriminator(half, half)), 4)
    -1.3863
    """
    return float((torch.xlogy(p_data, d) + torch.xlogy(p_model, 1 - d)).sum())


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """The Jensen-Shannon divergence of two finite distributions, in nats (at most log 2)."""
    mean = (p + q) / 2
    parts = torch.xlogy(p, p) + torch.xlogy(q, q) - 2 * torch.xlogy(mean, mean)
    return float(parts.sum()) / 2


LOG4 = math.log(4.0)
