"""Compiled loops for codes on a CPU. They release the GIL: solvers run them in plain threads."""

from __future__ import annotations

from typing import Any

from numba import njit

# Reassociation lets sums use vector registers; NaN never enters (inputs are checked at the door).
# prange is not used: its pools abort when two Python threads or a forked child call them.
compiled: Any = njit(
    nogil=True,
    cache=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "nsz", "arcp", "nnan"},
)
