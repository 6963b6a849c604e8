"""How is a photograph made ready for filters? Its slow changes of light and contrast go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from thalweg.records import Record

KINDS = ("none", "contrast", "whiten", "both")


@dataclass(frozen=True, slots=True)
class Preparation(Record):
    """What is done to each image before it is coded.

    Attributes:
        kind: ``"contrast"``: a Gaussian mean is taken off and the rest divided by the local
            deviation where that exceeds its mean; ``"whiten"``: frequencies f are multiplied by
            ``f exp(-(f / f₀)⁴)``; ``"both"``: whitened, then contrast normalised; ``"none"``. All
            but the last scale the result to a mean square of one.
        sigma: Width of the Gaussian in pixels.
        cutoff: f₀ in cycles a pixel.
    """

    kind: str = "contrast"
    sigma: float = 4.0
    cutoff: float = 0.4

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not (self.sigma > 0 and self.cutoff > 0):
            raise ValueError(f"sigma and cutoff must be positive, got {self.sigma}, {self.cutoff}")

    def apply(self, image: Any) -> np.ndarray:
        """The prepared image, float64; a flat one becomes zero."""
        values = np.asarray(image, dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(f"a grey image (height, width) is prepared, got shape {values.shape}")
        if self.kind == "none":
            return values
        changed = values if self.kind == "contrast" else self._whiten(values)
        changed = changed if self.kind == "whiten" else self._contrast(changed)
        # what rounding leaves of a flat image must not be blown up
        floor = 1e-10 * float(np.abs(values).max(initial=0.0))
        root = float(np.sqrt(np.square(changed).mean()))
        return changed / root if root > floor else np.zeros_like(values)

    def _contrast(self, values: np.ndarray) -> np.ndarray:
        rest = values - gaussian_filter(values, self.sigma, mode="reflect")
        local = np.sqrt(gaussian_filter(np.square(rest), self.sigma, mode="reflect"))
        floor = float(local.mean())
        if floor <= 1e-10 * float(np.abs(values).max(initial=0.0)):
            return np.zeros_like(values)
        return rest / np.maximum(local, floor)

    def _whiten(self, values: np.ndarray) -> np.ndarray:
        # mirrored at the edges, so that the jump from one side to the other makes no lines
        wide = np.pad(values, [(0, n) for n in values.shape], mode="symmetric")
        y, x = np.fft.fftfreq(wide.shape[0])[:, None], np.fft.rfftfreq(wide.shape[1])
        f = np.hypot(y, x)
        spectrum = np.fft.rfft2(wide) * f * np.exp(-((f / self.cutoff) ** 4))
        return np.fft.irfft2(spectrum, s=wide.shape)[: values.shape[0], : values.shape[1]]

    def words(self) -> str:
        """For people."""
        return {
            "none": "none",
            "contrast": f"local contrast normalised (sigma {self.sigma:g})",
            "whiten": f"whitened (cut-off {self.cutoff:g} cycles a pixel)",
            "both": f"whitened (cut-off {self.cutoff:g} cycles a pixel), local contrast normalised "
            f"(sigma {self.sigma:g})",
        }[self.kind]
