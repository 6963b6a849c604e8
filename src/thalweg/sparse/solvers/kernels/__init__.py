"""Compiled loops for codes on a CPU. They release the GIL: solvers run them in plain threads.

Compiled code is cached beside each file and checked against that file alone: after editing a file
that others here call, delete the caches (``*.nbi``, ``*.nbc``).
"""

from __future__ import annotations

from typing import Any

from numba import njit

# Reassociation lets sums use vector registers; NaN never enters (inputs are checked at the door).
_FAST = {"reassoc", "contract", "nsz", "arcp", "nnan"}

# prange is not used: its pools abort when two Python threads or a forked child call them.
compiled: Any = njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)

# For small functions that take an active set: passing its arrays costs more than their work.
inlined: Any = njit(nogil=True, inline="always", error_model="numpy", fastmath=_FAST)
