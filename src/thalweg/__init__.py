"""Minimise an energy: over weights (which optimiser, which learning rate, why does it stall?) and
over codes (sparse modelling)."""

__version__ = "0.1.0"
