"""Sparse coding as scikit-learn estimators: fit, transform, pipelines, grid search."""

from __future__ import annotations

from thalweg.sparse.estimators.coder import SparseCoder
from thalweg.sparse.estimators.convolutional import ConvDictionaryLearner
from thalweg.sparse.estimators.learner import DictionaryLearner
from thalweg.sparse.estimators.lista import ListaEncoder

__all__ = ["ConvDictionaryLearner", "DictionaryLearner", "ListaEncoder", "SparseCoder"]
