"""Solvers for codes; the table of names is ``thalweg.sparse.SOLVERS``."""
