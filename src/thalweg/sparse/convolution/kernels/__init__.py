"""Compiled loops for convolutional codes on a CPU, filters last: ``(height, width, filters)``."""

from __future__ import annotations
