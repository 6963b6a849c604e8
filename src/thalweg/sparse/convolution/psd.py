"""Filters and the encoder that predicts their code maps, learned together (convolutional PSD)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thalweg.records import Codes
from thalweg.sparse.convolution.encoder import CURVES, ConvEncoder
from thalweg.sparse.convolution.energy import ConvEnergy
from thalweg.sparse.convolution.inference import certify_images, encode_images
from thalweg.sparse.convolution.inputs import Images, read_images, read_weights
from thalweg.sparse.convolution.learning import Pieces, check_fit, read_stacks
from thalweg.sparse.convolution.online import FilterLearner
from thalweg.sparse.convolution.operator import Boundary, ConvDictionary
from thalweg.sparse.encoders.training import Plan, Training


class Inferred(NamedTuple):
    """Code maps of least joint energy, and how far they are from it."""

    z: Tensor  # (b, K, h, w)
    gap: Tensor  # duality gap over half the squared norm of the stacked problem (b,)
    iterations: int


class OneShot(NamedTuple):
    """What one pass of the encoder costs against the best codes, on the same images."""

    encoder: float  # mean energy ½‖Y − ΣW*Z‖² + l1‖Z‖₁ of the encoder's codes
    optimal: float  # of the best codes
    excess: float  # encoder / optimal − 1
    explained: float  # by the encoder's codes, of ‖Y‖²


class ConvPSD:
    r"""Predictive sparse decomposition of whole images.

    .. math:: E(Y, Z) = \tfrac12\Big\|Y - \sum_k W_k * Z_k\Big\|^2
              + \beta \sum_k \|Z_k - f_k(V_k \star Y)\|^2 + \alpha \sum_k \|Z_k\|_1

    Each step finds the code maps of a few pieces of images, gives every filter W a turn
    (`FilterLearner`, unit norms), and takes a gradient step of the middle term on the encoder.

    Args:
        count: Filters K.
        size: Pixels a side.
        channels: Of the images.
        l1: Weight α.
        beta: Weight β of the prediction, without a half; 0 is sparse coding with an encoder that
            only follows.
        encoder: ``sh``, ``tanh``, ``tanh-shrink`` or ``linear``, see `ConvEncoder`.
        boundary: As in `ConvDictionary`.
        tol: Relative duality gap of the inference.
        init: First filters ``(K, c, a, b)``; pieces of the first batch when None.
        seed: Decides first filters, pieces and their order.

    References:
        Kavukcuoglu et al., "Learning convolutional feature hierarchies for visual recognition",
        NIPS 2010.
    """

    def __init__(
        self,
        count: int,
        size: int,
        channels: int = 1,
        l1: float = 1.0,
        beta: float = 1.0,
        encoder: str = "sh",
        *,
        boundary: Boundary = "full",
        tol: float = 1e-2,
        init: Any = None,
        seed: int = 0,
    ) -> None:
        if not (beta >= 0 and math.isfinite(beta)):
            raise ValueError(f"beta must be 0 or more and finite, got {beta!r}")
        if encoder not in CURVES:
            raise ValueError(f"unknown curve {encoder!r}; choose one of {', '.join(CURVES)}")
        self.learner = FilterLearner(
            count, (channels, size, size), l1, boundary=boundary, tol=tol, init=init, seed=seed
        )
        self.l1, self.beta, self.seed = self.learner.l1, float(beta), seed
        self.curve, self.boundary, self.tol = encoder, boundary, self.learner.tol
        self.encoder: ConvEncoder | None = None
        if init is not None:
            self.encoder = ConvEncoder(self.W, l1, encoder, boundary)

    @property
    def W(self) -> Tensor:
        """The filters ``(K, c, a, b)``, norm 1, float64."""
        return self.learner.filters

    @torch.no_grad()
    def encode(self, images: Any) -> Any:
        """The encoder's code maps ``(b, K, h, w)``, one pass: the kind and dtype of the images."""
        given = self._match(read_images(images))
        return given.give(self._ready(given.data)(given.data).to(given.dtype))

    def energy(self, images: Any, Z: Tensor) -> Tensor:
        """The joint energy of code maps, per image ``(b,)``."""
        Y = self._match(read_images(images)).data
        with torch.no_grad():
            apart = (Z - self._ready(Y)(Y)).square().sum((1, 2, 3))
        return self._plain(Y).value(Y, Z) + self.beta * apart

    def infer(self, images: Any, max_iterations: int = 2000) -> Inferred:
        r"""The code maps of least joint energy, by FISTA with restart from the encoder's.

        The energy is that of plain sparse coding of :math:`(Y, \sqrt{2\beta}\,\bar Z)` over
        :math:`(D, \sqrt{2\beta}\,I)`, whose duality gap tells when to stop.
        """
        Y = self._match(read_images(images)).data
        with torch.no_grad():
            guess = self._ready(Y)(Y)
        energy, weight = self._plain(Y), 2 * self.beta
        step = 1 / (energy.dictionary.lipschitz() + weight)
        threshold = step * energy.l1[:, None, None]
        z = v = guess.clone()
        t = 1.0
        gap = self._gap(energy, Y, z, guess)
        done = 0
        while done < max_iterations and bool((gap > self.tol).any()):
            done += 1
            slope = energy.grad(Y, v) + weight * (v - guess)
            new = energy.shrink(v - step * slope, threshold)
            uphill = ((v - new) * (new - z)).sum((1, 2, 3), keepdim=True) > 0
            after = 0.5 * (1 + math.sqrt(1 + 4 * t * t))
            v = torch.where(uphill, new, new + (t - 1) / after * (new - z))
            z, t = new, after
            if done % 10 == 0:
                gap = self._gap(energy, Y, z, guess)
        return Inferred(z, self._gap(energy, Y, z, guess), done)

    def fit(
        self,
        images: Any,
        *,
        steps: int = 100,
        batch_size: int = 4,
        crop: int | None = 48,
        lr: float = 1e-2,
        follow: int = 5,
        every: int = 10,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Training:
        """Learn filters and encoder together.

        Args:
            images: As in `learn_filters`.
            steps: Batches to learn from.
            batch_size: Pieces a step.
            crop: Largest side of a piece; None takes whole images.
            lr: First rate of Adam on the encoder, relative to the size of its filters; falls along
                a half cosine.
            follow: Steps of the encoder on each batch; they cost little beside the codes.
            every: Steps between points of the curve.
            progress: Called as ``progress(step, steps, energy a pixel)`` every ``every`` steps.

        Returns:
            The curve of the joint energy a pixel, before each move.
        """
        Plan(steps, lr, batch_size, self.seed, every)  # checks them
        crop = None if self.boundary == "circular" else crop
        found = read_stacks(images)
        for image in found:
            self._match(image)
        check_fit(found, (self.W.shape[2], self.W.shape[3]), crop)
        pieces = Pieces(found, batch_size, crop, self.seed)
        adam: torch.optim.Adam | None = None
        marks, energies, total, since = [], [], 0.0, 0
        for step in range(steps):
            stacks = pieces[step]
            self.learner.begin(stacks)
            encoder = self._ready(stacks[0])
            adam = adam or torch.optim.Adam(_groups(encoder))
            codes = [self._codes(stack) for stack in stacks]
            pixels = sum(stack.numel() for stack in stacks)
            joint = sum(float(self.energy(y, z).sum()) for y, z in zip(stacks, codes, strict=True))
            total += joint / pixels
            self.learner.absorb(stacks, codes)
            share = 0.5 * (1 + math.cos(math.pi * step / steps))
            for _ in range(follow):
                _follow(encoder, adam, stacks, codes, lr * share)
            if (step + 1) % every == 0 or step + 1 == steps:
                marks.append(step + 1)
                energies.append(total / (step + 1 - since))
                total, since = 0.0, step + 1
                if progress:
                    progress(step + 1, steps, energies[-1])
        return Training(tuple(marks), tuple(energies))

    def one_shot(self, images: Any, tol: float = 1e-3) -> OneShot:
        """One pass of the encoder beside certified codes over the same filters."""
        Y = self._match(read_images(images)).data
        quick = self._judge(Y, self.encode(Y))
        best = encode_images(Y, self.W, self.l1, boundary=self.boundary, tol=tol)
        rest = Y - self._plain(Y).dictionary.decode(self.encode(Y))
        ours, least = float(quick.energy.mean()), float(best.energy.mean())
        explained = 1 - float(rest.square().sum() / Y.square().sum())
        return OneShot(ours, least, ours / least - 1, explained)

    def _match(self, given: Images) -> Images:
        channels = self.W.shape[1]
        if given.data.shape[1] != channels:
            raise ValueError(
                f"images have {given.data.shape[1]} channels and filters {channels}; they must "
                "agree"
            )
        return given

    def _judge(self, Y: Tensor, Z: Tensor) -> Codes:
        return certify_images(Y, self.W, Z, self.l1, boundary=self.boundary)

    def _codes(self, Y: Tensor) -> Tensor:
        if self.beta == 0:
            return encode_images(Y, self.W, self.l1, boundary=self.boundary, tol=self.tol).z
        return self.infer(Y).z

    def _ready(self, Y: Tensor) -> ConvEncoder:
        if self.encoder is None:
            if not bool(self.W.any()):
                raise ValueError("there are no filters yet; fit first, or give init")
            self.encoder = ConvEncoder(self.W, self.l1, self.curve, self.boundary)
        return self.encoder.to(Y.device)

    def _plain(self, Y: Tensor) -> ConvEnergy:
        W = self.W.to(Y.device)
        dictionary = ConvDictionary(W, (Y.shape[2], Y.shape[3]), self.boundary)
        return ConvEnergy(dictionary, read_weights(self.l1, len(W)).to(Y.device))

    def _gap(self, energy: ConvEnergy, Y: Tensor, z: Tensor, guess: Tensor) -> Tensor:
        """Relative duality gap of the stacked problem; as `ConvEnergy.certificate`."""
        axes, weight = (1, 2, 3), 2 * self.beta
        r, s = Y - energy.dictionary.decode(z), guess - z
        fit = r.square().sum(axes) + weight * s.square().sum(axes)
        product = (Y * r).sum(axes) + weight * (guess * s).sum(axes)
        peak = (energy.dictionary.correlate(r) + weight * s).abs().amax((2, 3)) / energy.l1
        best = torch.where(fit > 0, product / fit, 0.0).clamp(min=0.0)
        scale = torch.minimum(best, 1 / peak.amax(1).clamp_min(1e-300))
        value = 0.5 * fit + energy.penalty(z)
        gap = (value - scale * product + 0.5 * scale.square() * fit).clamp(min=0.0)
        half = 0.5 * (Y.square().sum(axes) + weight * guess.square().sum(axes))
        return torch.where(half > 0, gap / half, torch.where(gap > 0, torch.inf, 0.0))


def _groups(encoder: ConvEncoder) -> list[dict[str, Any]]:
    """Adam moves by about its rate: filters in their own size, what has a unit in that."""
    own = [p for name, p in encoder.named_parameters() if name != "V"]
    size = float(encoder.V.detach().square().mean().sqrt())
    return [{"params": [encoder.V], "own": size}, {"params": own, "own": 1.0}]


def _follow(
    encoder: ConvEncoder,
    adam: torch.optim.Adam,
    stacks: list[Tensor],
    codes: list[Tensor],
    lr: float,
) -> None:
    """One step of the encoder towards the codes; steep gradients are cut."""
    for group in adam.param_groups:
        group["lr"] = lr * group["own"]
    adam.zero_grad(set_to_none=True)
    norm = sum(float(z.square().sum()) for z in codes)
    for y, z in zip(stacks, codes, strict=True):
        ((encoder(y) - z).square().sum() / max(norm, 1e-300)).backward()
    torch.nn.utils.clip_grad_norm_(encoder.parameters(), 100.0)
    adam.step()
