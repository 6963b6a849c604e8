"""A convolutional dictionary as a matrix that nobody forms: its atoms are shifted filters."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad

from thalweg.linalg.operator import LinearOperator
from thalweg.linalg.power import power_iteration

Boundary = Literal["full", "circular"]
BOUNDARIES = ("full", "circular")


class ConvDictionary(LinearOperator):
    r"""The map from code maps to an image, :math:`Z \mapsto \sum_k W_k * Z_k`.

    ``boundary="full"``: the full convolution. Every atom lies wholly inside the image, codes are
    ``(K, H - a + 1, W - b + 1)``; pixels near the border are covered by fewer atoms.
    ``"circular"``: the image is a torus, codes are ``(K, H, W)``.

    >>> D = ConvDictionary(torch.ones(1, 1, 2, 2, dtype=torch.float64), (3, 3))
    >>> D.shape
    (9, 4)
    >>> (D @ torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)).reshape(3, 3).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]

    Args:
        filters: ``(K, c, a, b)``: K filters of a x b pixels and c channels.
        size: Height and width of an image.
        boundary: ``"full"`` or ``"circular"``.
    """

    def __init__(self, filters: Tensor, size: tuple[int, int], boundary: Boundary = "full") -> None:
        if filters.ndim != 4:
            raise ValueError(f"filters must be (K, channels, a, b), got {tuple(filters.shape)}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
        a, b = filters.shape[2:]
        if size[0] < a or size[1] < b:
            raise ValueError(
                f"filters of {a} x {b} pixels do not fit into an image of {size[0]} x {size[1]}; "
                "use smaller filters or larger images"
            )
        self.filters, self.size = filters, (int(size[0]), int(size[1]))
        self.boundary: Boundary = boundary

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return (self.filters.shape[1], *self.size)

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """Filters, height and width of a code."""
        K, _, a, b = self.filters.shape
        h, w = self.size
        return (K, h, w) if self.boundary == "circular" else (K, h - a + 1, w - b + 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels (all channels) and coefficients."""
        (c, H, W), (K, h, w) = self.image_shape, self.code_shape
        return c * H * W, K * h * w

    @property
    def dtype(self) -> torch.dtype:
        """That of the filters."""
        return self.filters.dtype

    @property
    def device(self) -> torch.device:
        """That of the filters."""
        return self.filters.device

    def decode(self, Z: Tensor) -> Tensor:
        """Images ``(b, c, H, W)`` of codes ``(b, K, h, w)``."""
        Y = conv_transpose2d(Z, self.filters)
        return self._fold(Y) if self.boundary == "circular" else Y

    def correlate(self, Y: Tensor) -> Tensor:
        """The adjoint: products ``(b, K, h, w)`` of every atom with images ``(b, c, H, W)``."""
        if self.boundary == "circular":
            a, b = self.filters.shape[2:]
            Y = pad(Y, (0, b - 1, 0, a - 1), mode="circular")
        return conv2d(Y, self.filters)

    def _fold(self, Y: Tensor) -> Tensor:
        """What hangs over the far edges, added at the near ones."""
        H, W = self.size
        Y, over = Y[..., :H, :].clone(), Y[..., H:, :]
        Y[..., : over.shape[-2], :] += over
        Y, over = Y[..., :W].clone(), Y[..., W:]
        Y[..., : over.shape[-1]] += over
        return Y

    def apply(self, v: Tensor) -> Tensor:
        """The image, flat, of a flat code ``(Khw,)``, or of a block ``(Khw, k)``."""
        return _columns(self.decode, v, self.code_shape)

    @property
    def adjoint(self) -> LinearOperator:
        """Correlation with every atom."""
        return _Adjoint(self)

    def lipschitz(self, tol: float = 1e-3) -> float:
        r"""An upper bound on :math:`\lambda_{\max}(D^\top D)`.

        On a torus it is exact, :math:`\max_\omega \lambda_{\max}(\hat D_\omega \hat D_\omega^*)`
        by FFT. Full atoms are a part of those on the torus, so the same number bounds them; power
        iteration plus its residual may give a smaller one.
        """
        spectra = torch.fft.rfft2(self.filters.to(torch.float64), s=self.size)  # (K, c, H, W')
        spectra = spectra.permute(2, 3, 1, 0)
        gram = spectra @ spectra.mH
        bound = float(torch.linalg.eigvalsh(gram)[..., -1].max())
        if self.boundary == "circular":
            return bound
        exact = ConvDictionary(self.filters.to(torch.float64), self.size)
        found = power_iteration(_Normal(exact), tol=tol, max_products=100)
        # what the iteration found is certain only as a lower bound; 1 % covers a slow start
        return min(bound, 1.01 * (found.value + found.residual))


class _Adjoint(LinearOperator):
    """``Dᵀ``: correlates images with every atom."""

    def __init__(self, forward: ConvDictionary) -> None:
        self._forward = forward

    @property
    def shape(self) -> tuple[int, int]:
        return self._forward.shape[1], self._forward.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self._forward.dtype

    @property
    def device(self) -> torch.device:
        return self._forward.device

    def apply(self, v: Tensor) -> Tensor:
        return _columns(self._forward.correlate, v, self._forward.image_shape)

    @property
    def adjoint(self) -> ConvDictionary:
        return self._forward


class _Normal(LinearOperator):
    """``DᵀD`` without forming it."""

    def __init__(self, forward: ConvDictionary) -> None:
        self._forward = forward

    @property
    def shape(self) -> tuple[int, int]:
        return self._forward.shape[1], self._forward.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self._forward.dtype

    @property
    def device(self) -> torch.device:
        return self._forward.device

    def apply(self, v: Tensor) -> Tensor:
        return self._forward.adjoint.apply(self._forward.apply(v))

    @property
    def adjoint(self) -> LinearOperator:
        return self


def _columns(call, v: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Apply ``call (k, *shape) -> (k, …)`` to a vector or to the columns of a block."""
    block = v.reshape(len(v), -1).mT.reshape(-1, *shape)
    return call(block).flatten(1).mT.reshape(-1, *v.shape[1:])
