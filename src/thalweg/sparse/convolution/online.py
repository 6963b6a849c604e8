"""Online learning of filters: what a learner remembers of the images it has met."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.convolution.filters import centre, sweep
from thalweg.sparse.convolution.inference import encode_images
from thalweg.sparse.convolution.inputs import read_filters, read_weights
from thalweg.sparse.convolution.kernels.active import gather, list_active
from thalweg.sparse.convolution.kernels.statistics import remember_codes, remember_image
from thalweg.sparse.convolution.operator import Boundary, ConvDictionary
from thalweg.sparse.inputs import read_tol

YOUNG, EVERY = 25, 5  # steps in which a filter may be moved to its middle, and steps between


class FilterLearner:
    """Filters that improve with every batch of images.

    `update` codes a batch with the present filters, adds the correlations of the codes to
    statistics that are first multiplied by ``(1 - 1/t)^forgetting``, and gives every filter a turn
    (`thalweg.sparse.convolution.filters.sweep`). Filters that no image has used for ``dead_after``
    steps are replaced by the piece of an image with the largest residual. Now and then in its first
    25 steps a filter whose energy lies far off the middle is moved there with its statistics.

    Codes are computed where the images are; statistics and filters live on the CPU.

    Args:
        count: Filters K.
        shape: Channels, height and width of a filter.
        l1: Weight of the absolute values.
        boundary: See `ConvDictionary`.
        non_negative: Allow no negative codes.
        tol: Relative duality gap of the codes learned from.
        forgetting: How fast old codes fade.
        dead_after: Steps without use after which a filter is replaced.
        init: First filters ``(K, c, a, b)``; pieces of the first batch when None.
        seed: Of the first filters.
        threads: CPU threads for the codes.
    """

    def __init__(
        self,
        count: int,
        shape: tuple[int, int, int],
        l1: float,
        *,
        boundary: Boundary = "full",
        non_negative: bool = False,
        tol: float = 1e-2,
        forgetting: float = 10.0,
        dead_after: int = 20,
        init: Any = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        for name, number in (("filters", count), ("size", min(shape)), ("dead_after", dead_after)):
            if int(number) != number or number < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")
        if not forgetting >= 0:
            raise ValueError(f"forgetting must be 0 or more, got {forgetting!r}")
        self.l1 = float(read_weights(l1, 1)[0])
        self.boundary: Boundary = boundary
        self.non_negative, self.tol = bool(non_negative), read_tol(tol)
        self.forgetting, self.dead_after, self.seed = float(forgetting), int(dead_after), seed
        self.threads = threads
        K, (c, a, b) = int(count), shape
        self.filters = torch.zeros(K, c, a, b, dtype=torch.float64)
        self._ready = init is not None
        if init is not None:
            given = read_filters(init).cpu()
            if given.shape != self.filters.shape:
                raise ValueError(
                    f"init must have shape {tuple(self.filters.shape)}, got {tuple(given.shape)}"
                )
            self.filters = given / given.flatten(1).norm(dim=1)[:, None, None, None]
        self.A = torch.zeros(K, 2 * a - 1, 2 * b - 1, K, dtype=torch.float64)
        self.B = torch.zeros_like(self.filters)
        self.idle = torch.zeros(K, dtype=torch.int64)
        self.age = torch.zeros(K, dtype=torch.int64)  # steps since the filter was drawn
        self.amount = torch.zeros(K, dtype=torch.float64)
        self.steps = self.pixels = self.reseeded = 0

    def update(self, stacks: list[Tensor]) -> float:
        """Learn from stacks ``(b, c, H, W)``; their energy a pixel under the filters *before*.

        The caller promises finite float64 images.
        """
        self.begin(stacks)
        energy, codes = 0.0, []
        for stack in stacks:
            found = encode_images(
                stack,
                self.filters.to(stack.device),
                self.l1,
                boundary=self.boundary,
                non_negative=self.non_negative,
                tol=self.tol,
                threads=self.threads,
            )
            energy += float(found.energy.sum())
            codes.append(found.z)
        self.absorb(stacks, codes)
        return energy / sum(stack.numel() for stack in stacks)

    def begin(self, stacks: list[Tensor]) -> None:
        """Draw the first filters from these images, unless there are filters."""
        if not self._ready:
            self.filters = self._draw(stacks)
            self._ready = True

    def absorb(self, stacks: list[Tensor], codes: list[Tensor]) -> None:
        """Learn from images and codes ``(b, K, h, w)`` that were found for them."""
        self.steps += 1
        fade = (1 - 1 / self.steps) ** self.forgetting
        for kept in (self.A, self.B, self.amount):
            kept.mul_(fade)
        pixels = sum(stack.numel() for stack in stacks)  # channels counted
        self.idle += 1
        worst = []
        for stack, Z in zip(stacks, codes, strict=True):
            worst.append(self._worst(stack, Z))
            for image, z in zip(stack, Z, strict=True):
                self._remember(image.cpu().numpy(), z.cpu().permute(1, 2, 0).numpy(), pixels)
        self.pixels += pixels
        floor = 1e-9 * float(self.A[:, self.A.shape[1] // 2, self.A.shape[2] // 2].diagonal().max())
        sweep(self.filters, self.A, self.B, floor)
        self.age += 1
        centre(self.filters, self.A, self.B, (self.age <= YOUNG) & (self.age % EVERY == 0))
        self._reseed(torch.cat(worst))

    def _remember(self, image: np.ndarray, z: np.ndarray, pixels: int) -> None:
        h, w, K = z.shape
        z = np.ascontiguousarray(z)
        wide = np.full(K, np.inf)
        start, which = np.empty(h * w + 1, np.int64), np.empty(int((z != 0).sum()), np.int32)
        list_active(z, z, -wide, wide, 1.0, start, which)
        u = np.empty(len(which))
        gather(z, start, which, u)
        circular = self.boundary == "circular"
        remember_codes(start, which, u, h, w, circular, 1 / pixels, self.A.numpy())
        remember_image(start, which, u, w, 1 / pixels, image, self.B.numpy())
        used = np.zeros(K)
        np.add.at(used, which, np.abs(u))
        self.amount += torch.from_numpy(used) / pixels
        self.idle[torch.from_numpy(used > 0)] = 0

    def _worst(self, stack: Tensor, z: Tensor) -> Tensor:
        """The pieces of the residual with most energy, one of each image ``(b, c, a, b)``."""
        dictionary = ConvDictionary(
            self.filters.to(stack.device), (stack.shape[2], stack.shape[3]), self.boundary
        )
        rest = stack - dictionary.decode(z.to(stack.dtype))
        a, b = self.filters.shape[2:]
        power = torch.nn.functional.avg_pool2d(rest.square().sum(1, True), (a, b), 1)
        at = power.flatten(1).argmax(1).tolist()
        width = power.shape[3]
        found = [r[:, p // width :, p % width :][:, :a, :b] for r, p in zip(rest, at, strict=True)]
        return torch.stack(found).cpu()

    def _reseed(self, pieces: Tensor) -> None:
        norms = pieces.flatten(1).norm(dim=1)
        order = norms.argsort(descending=True)
        order = order[norms[order] > 0]
        dead = (self.idle >= self.dead_after).nonzero()[:, 0][: len(order)]
        order = order[: len(dead)]
        if not len(dead):
            return
        self.filters[dead] = pieces[order] / norms[order, None, None, None]
        self.A[dead] = 0
        self.A[..., dead] = 0
        self.B[dead] = 0
        self.idle[dead] = self.age[dead] = 0
        self.amount[dead] = 0
        self.reseeded += len(dead)

    def _draw(self, stacks: list[Tensor]) -> Tensor:
        """Pieces of the first images, and random ones where those are flat."""
        rng = np.random.default_rng([self.seed, 1])
        K, _, a, b = self.filters.shape
        images = [image.cpu() for stack in stacks for image in stack]
        W = torch.from_numpy(rng.standard_normal(tuple(self.filters.shape)))
        for k in range(K):
            image = images[int(rng.integers(len(images)))]
            y = int(rng.integers(image.shape[1] - a + 1))
            x = int(rng.integers(image.shape[2] - b + 1))
            piece = image[:, y : y + a, x : x + b]
            if float(piece.norm()) > 1e-8 * float(image.norm()):
                # a little noise parts twins, which would share their codes without end
                W[k] = piece / piece.norm() + 0.1 * W[k] / W[k].norm()
        return W / W.flatten(1).norm(dim=1)[:, None, None, None]

    def shares(self) -> tuple[float, ...]:
        """Mean absolute coefficient a pixel of each filter, recent steps counting most."""
        weight, kept = 0.0, 1.0
        for t in range(self.steps, 0, -1):
            weight += kept
            kept *= (1 - 1 / t) ** self.forgetting
        return tuple((self.amount / max(weight, 1.0)).tolist())

    def identity(self) -> dict[str, Any]:
        """What makes this learner another one than its neighbour: for checkpoints."""
        return {
            "l1": self.l1,
            "boundary": self.boundary,
            "non_negative": self.non_negative,
            "tol": self.tol,
            "forgetting": self.forgetting,
            "dead_after": self.dead_after,
            "shape": str(tuple(self.filters.shape)),
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that `restore` needs: tensors, and plain values."""
        names = ("filters", "A", "B", "idle", "age", "amount")
        tensors = {name: getattr(self, name).contiguous() for name in names}
        counts = {"steps": self.steps, "pixels": self.pixels, "reseeded": self.reseeded}
        return tensors, counts | {"ready": self._ready}

    def restore(self, tensors: dict[str, Tensor], counts: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, kept in tensors.items():
            if kept.shape != getattr(self, name).shape:
                raise ValueError(
                    f"the state holds {name} of shape {tuple(kept.shape)}, this learner "
                    f"{tuple(getattr(self, name).shape)}; it belongs to another learner"
                )
            setattr(self, name, kept.clone())
        self.steps, self.pixels = int(counts["steps"]), int(counts["pixels"])
        self.reseeded, self._ready = int(counts["reseeded"]), bool(counts["ready"])
