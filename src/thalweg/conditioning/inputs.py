"""How are inputs made comparable? Centred, scaled or whitened by training data alone."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from thalweg.conditioning.conditioner import Conditioner, varies
from thalweg.conditioning.moments import Moments


class Centre(Conditioner):
    """Subtract the mean of each variable.

    >>> Centre().fit(torch.tensor([[1.0], [3.0]])).transform(torch.tensor([[5.0]]))
    tensor([[3.]])

    Args:
        per: What a variable is: ``auto``, ``feature``, ``channel`` or ``last``
            (:func:`thalweg.conditioning.layout.resolve_layout`).
    """

    def __init__(self, per: str = "auto") -> None:
        super().__init__(per)

    def solve(self, m: Moments) -> Tensor:
        """Ones: nothing is scaled."""
        return torch.ones_like(m.mean)

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"per": self.per}


class Standardizer(Conditioner):
    r"""Mean 0 and variance 1: :math:`\hat x_i = (x_i-\mu_i)/\sigma_i`, σ² over n (biased).

    Variables that are constant in the training data are only centred: nothing says what their
    scale is, and dividing by a tiny number would make noise of the test data huge.

    >>> s = Standardizer().fit(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    >>> s.transform(torch.tensor([[4.0, 7.5]]))
    tensor([[2.0000, 0.5000]])

    Args:
        per: What a variable is; as :class:`Centre`.
        eps: Deviations below it are taken as ``eps``.

    References:
        LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, section 4.3.
    """

    def __init__(self, per: str = "auto", eps: float = 0.0) -> None:
        super().__init__(per)
        self.eps = _check_eps(eps)

    def solve(self, m: Moments) -> Tensor:
        """One over the deviations."""
        deviation = m.scatter.sqrt().clamp(min=self.eps)
        return 1 / torch.where(varies(m), deviation, 1.0)

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"per": self.per, "eps": self.eps}


class Whitener(Conditioner):
    r"""Uncorrelated variables of variance 1, from the covariance :math:`U\Lambda U^\top`.

    ``"pca"``: :math:`\hat x=(\Lambda+\epsilon)^{-1/2}U^\top(x-\mu)`, the principal axes, largest
    first; ``"zca"``: :math:`U(\Lambda+\epsilon)^{-1/2}U^\top(x-\mu)`, of all whitenings the one
    nearest to the original, so images stay images. Directions in which no training sample moves
    are mapped to 0 (``rank`` counts the others), whatever ``eps`` is.

    >>> x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    >>> w = Whitener(eps=0.0).fit(x)  # variances 4.5 and 0.5
    >>> [round(value, 6) for value in w.factor.diag().tolist()]
    [0.471405, 1.414214]

    Args:
        kind: ``"zca"`` or ``"pca"``.
        eps: Added to the variances; it limits how much small directions, mostly noise, grow. In the
            squared unit of the inputs. 0 whitens exactly.
        components: Of ``"pca"``: how many axes are kept; None for all.
        per: What a variable is; as :class:`Centre`, where images mix all their pixels.

    Raises:
        ValueError: Unknown kind, or a number out of range.

    References:
        Bell and Sejnowski, "The independent components of natural scenes are edge filters", 1997.
    """

    mixes = True

    def __init__(
        self,
        kind: str = "zca",
        eps: float = 1e-5,
        components: int | None = None,
        per: str = "auto",
    ) -> None:
        if kind not in ("zca", "pca"):
            raise ValueError(f"kind is {kind!r}; known: zca, pca.")
        if components is not None and (kind != "pca" or components < 1):
            raise ValueError(
                f"components is {components!r} with kind={kind!r}; only pca keeps fewer axes, and "
                "at least 1."
            )
        super().__init__(per)
        self.kind, self.eps, self.components = kind, _check_eps(eps), components

    @property
    def rank(self) -> int:
        """Directions in which the training data vary (and that are kept)."""
        return int(torch.linalg.matrix_rank(self.factor)) if self.fitted else 0

    def solve(self, m: Moments) -> Tensor:
        """The whitening matrix ``(k, d)``."""
        d, wanted = len(m.mean), self.components or len(m.mean)
        if wanted > d:
            raise ValueError(f"components is {wanted}, but there are only {d} variables.")
        if m.count <= wanted:
            raise ValueError(
                f"whitening {wanted} directions needs more than {wanted} samples, got {m.count}: "
                "with fewer every sample ends equally far from all others. Scale instead, or keep "
                "fewer axes with kind='pca', components=."
            )
        values, axes = torch.linalg.eigh(m.scatter)
        values, axes = values.flip(0), axes.flip(1)
        moves = values > values[0] * d * torch.finfo(torch.float64).eps
        _check_scales(m, int(moves.sum()))
        inverse = torch.where(moves, (torch.where(moves, values, 1.0) + self.eps).rsqrt(), 0.0)
        axes = axes * _signs(axes)
        half = inverse[:, None] * axes.mT
        return axes @ half if self.kind == "zca" else half[:wanted]

    def _check_shape(self, x: Tensor, per: str) -> None:
        if self.kind == "pca" and per == "feature" and x.ndim > 2:
            raise ValueError(
                f"inputs have shape {tuple(x.shape)}; principal axes of all pixels are no image. "
                "Use kind='zca', flatten the inputs, or per='channel'."
            )

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "kind": self.kind,
            "eps": self.eps,
            "components": self.components,
            "per": self.per,
        }


def zca(**settings: Any) -> Whitener:
    """A :class:`Whitener` of kind ``"zca"``."""
    return Whitener("zca", **settings)


def pca(**settings: Any) -> Whitener:
    """A :class:`Whitener` of kind ``"pca"``."""
    return Whitener("pca", **settings)


def _check_eps(eps: float) -> float:
    if isinstance(eps, bool) or not isinstance(eps, int | float):
        raise TypeError(f"eps is {eps!r}; it must be a number >= 0.")
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps is {eps}; it must be finite and >= 0.")
    return float(eps)


def _check_scales(m: Moments, rank: int) -> None:
    """Refuse where a variable's whole variance drowns in the rounding of a larger one's."""
    kept = m.scatter[varies(m)][:, varies(m)]
    scale = kept.diag().rsqrt()
    correlation = torch.linalg.eigvalsh(scale[:, None] * kept * scale)
    if int((correlation > len(kept) * torch.finfo(torch.float64).eps * 10).sum()) > rank:
        deviation = kept.diag().sqrt()
        raise ValueError(
            f"the variables' deviations reach from {float(deviation.min()):.1e} to "
            f"{float(deviation.max()):.1e}; the small ones would be lost in rounding. "
            "Standardize first, then whiten."
        )


def _signs(axes: Tensor) -> Tensor:
    """Make each axis' largest entry positive: eigenvectors come with arbitrary signs."""
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return torch.where(largest < 0, -1.0, 1.0)
