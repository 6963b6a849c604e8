"""Penalties on codes; the table of names is ``thalweg.sparse.PENALTIES``."""
