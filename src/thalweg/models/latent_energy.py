r"""Can an autoencoder be read as an energy? Reconstruction, prediction and prior of one code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from thalweg.models.losses import no_spectrum


class LatentEnergyModel(nn.Module):
    r"""An energy of input and code, with the encoder's guess as one of its terms.

    .. math:: E(y, z) = \tfrac12\|y-\text{Dec}(z)\|^2 + \tfrac\alpha2\|z-\text{Enc}(y)\|^2
        + \lambda\|z\|_1

    Its free energy is :math:`F(y) = \min_z E(y, z)`, found by proximal gradient steps from
    Enc(y). With no steps z = Enc(y), and F is the autoencoder's own loss plus λ‖z‖₁. At a minimum
    over z the derivative by the weights is that of E at fixed z (envelope theorem), which is what
    training follows.

    Args:
        encoder: y ``(b, n)`` to a first guess ``(b, m)``.
        decoder: z ``(b, m)`` to y ``(b, n)``.
        prediction: α >= 0, how near codes stay to the encoder's guess.
        l1: λ >= 0.
        steps: Inference steps.
        lr: Of these steps; up to 1 / (α + largest curvature of the reconstruction) the energy falls
            at every step.

    Raises:
        ValueError: A negative weight, a rate that is not above 0, or a negative number of steps.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prediction: float = 1.0,
        l1: float = 0.0,
        steps: int = 10,
        lr: float = 0.1,
    ) -> None:
        super().__init__()
        if min(prediction, l1) < 0 or lr <= 0 or steps < 0:
            raise ValueError(
                f"prediction {prediction}, l1 {l1}, steps {steps}, lr {lr}; wanted >= 0, lr > 0."
            )
        self.encoder, self.decoder = encoder, decoder
        self.prediction, self.l1, self.steps, self.lr = prediction, l1, steps, lr

    def energy(self, y: Tensor, z: Tensor) -> Tensor:
        """E for each sample ``(b,)`` of y ``(b, n)`` and codes ``(b, m)``."""
        return self._smooth(y, z, self.encoder(y)) + self.l1 * z.abs().sum(-1)

    def _smooth(self, y: Tensor, z: Tensor, guess: Tensor) -> Tensor:
        reconstruction = 0.5 * (y - self.decoder(z)).square().sum(-1)
        return reconstruction + 0.5 * self.prediction * (z - guess).square().sum(-1)

    def infer(self, y: Tensor, steps: int | None = None, lr: float | None = None) -> Tensor:
        """Codes ``(b, m)`` after proximal gradient steps from the encoder's guess, detached.

        Args:
            y: ``(b, n)``.
            steps: Default: the model's.
            lr: Default: the model's.
        """
        rate = self.lr if lr is None else lr
        guess = self.encoder(y).detach()
        slope: Callable[[Tensor], Tensor] = torch.func.grad(
            lambda code: self._smooth(y, code, guess).sum()
        )
        z = guess
        for _ in range(self.steps if steps is None else steps):
            moved = z - rate * slope(z)
            z = moved.sign() * (moved.abs() - rate * self.l1).clamp(min=0)
        return z.detach()

    def forward(self, y: Tensor) -> Tensor:
        """Free energies ``(b,)``; without steps the encoder is trained through the decoder."""
        z = self.encoder(y) if self.steps == 0 else self.infer(y)
        return self.energy(y, z)


@no_spectrum(
    "its codes are inferred and then held, which is right for gradients and leaves out how codes "
    "follow the weights in second derivatives. Take the task autoencoder."
)
def mean_free_energy(model: LatentEnergyModel, batch: Tensor) -> Tensor:
    """What training minimises: the mean free energy of a batch ``(b, n)``."""
    return model(batch).mean()
