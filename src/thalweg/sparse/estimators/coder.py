"""Exact sparse codes as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from thalweg.sparse.estimators.base import ExactEstimator, codes_of
from thalweg.sparse.estimators.learner import DictionaryLearner
from thalweg.sparse.storage import Dictionary, check_orientation


class SparseCoder(ExactEstimator):
    """Exact sparse codes over a given dictionary, or over one learned at ``fit``.

    >>> SparseCoder(np.eye(2), l1=1.0).fit_transform([[3.0, -0.5]])
    array([[2., 0.]])

    Args:
        dictionary: Atoms as rows ``(m, n)`` (scikit-learn's orientation), used as they are; or a
            `thalweg.sparse.storage.Dictionary`, which knows its orientation. None learns unit-norm
            atoms at ``fit`` with `DictionaryLearner`'s defaults.
        l1: Weight of ``‖z‖₁`` against ``½‖x − zW‖²``.
        penalty: ``"l1"`` or ``"non-negative"``.
        tol: Relative duality gap every code is solved to (not below 1e-5 for float32 signals).
        n_components: Atoms to learn when ``dictionary`` is None; as many as features by default.
        random_state: Seed of that learning.
        n_jobs: CPU threads; None takes what the process may use.
        refit: `transform` gives the least-squares code on the support of each exact code, which
            undoes the shrinkage; the score stays that of the exact one.

    Attributes:
        components_: Atoms as rows ``(m, n)``.
        n_features_in_: Length of a signal.
    """

    def __init__(
        self,
        dictionary: Any = None,
        *,
        l1: float = 0.1,
        penalty: str = "l1",
        tol: float = 1e-6,
        n_components: int | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        refit: bool = False,
    ) -> None:
        self.dictionary = dictionary
        self.l1 = l1
        self.penalty = penalty
        self.tol = tol
        self.n_components = n_components
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.refit = refit

    def transform(self, X: Any) -> np.ndarray:
        """Codes ``(b, m)``, refitted on their support where ``refit`` says so.

        Args:
            X: Signals ``(b, n)``.
        """
        return codes_of(self._encode(X, self.refit))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the dictionary against ``X``, or learn one from it.

        Args:
            X: Signals ``(N, n)``.
            y: Ignored.
        """
        X = self._signals(X, reset=True)
        if self.dictionary is None:
            learner = DictionaryLearner(
                self.n_components,
                l1=self.l1,
                penalty=self.penalty,
                random_state=self.random_state,
                n_jobs=self.n_jobs,
            )
            self.components_ = learner.fit(X).components_
        else:
            self.components_ = given(self.dictionary, X)
        return self


def given(dictionary: Any, X: np.ndarray) -> np.ndarray:
    """A dictionary in scikit-learn's orientation, checked against the signals."""
    if isinstance(dictionary, Dictionary):
        dictionary = np.asarray(dictionary.D).T
    components = np.array(dictionary, dtype=X.dtype, order="C")
    if components.ndim != 2 or components.shape[1] != X.shape[1]:
        hint = " (it looks transposed)" if components.shape[:1] == X.shape[1:] else ""
        raise ValueError(
            f"dictionary must have shape (atoms, {X.shape[1]}) with atoms as rows, got "
            f"{components.shape}{hint}"
        )
    check_orientation(components.T, "dictionary.T")
    return components
