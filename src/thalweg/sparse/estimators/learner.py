"""Dictionary learning as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from thalweg.sparse.estimators.base import ExactEstimator, seed_of, threads_of
from thalweg.sparse.learning import OnlineLearner, learn_dictionary


class DictionaryLearner(ExactEstimator):
    """Learn unit-norm atoms online; ``transform`` gives exact codes over them.

    >>> X = np.repeat(np.eye(3), 50, axis=0)
    >>> np.abs(DictionaryLearner(3, random_state=0).fit(X).components_).sum(0).round(6)
    array([1., 1., 1.])

    Args:
        n_components: Atoms; as many as features when None.
        l1: Weight of ``‖z‖₁`` against ``½‖x − zW‖²``.
        penalty: ``"l1"`` or ``"non-negative"`` codes.
        max_iter: Passes over the signals.
        batch_size: Signals between two moves of the atoms; None suits it to their number.
        forgetting: How fast old codes fade, see `thalweg.sparse.learning.OnlineLearner`.
        tol: Relative duality gap of the codes that ``transform`` gives.
        random_state: Seed of the order and of the first atoms.
        n_jobs: CPU threads; None takes what the process may use.

    Attributes:
        components_: Atoms as rows ``(m, n)``, norm 1.
        n_iter_: Batches learned from.
        n_features_in_: Length of a signal.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        l1: float = 0.1,
        penalty: str = "l1",
        max_iter: int = 10,
        batch_size: int | None = None,
        forgetting: float = 10.0,
        tol: float = 1e-6,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.l1 = l1
        self.penalty = penalty
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.forgetting = forgetting
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _atoms(self, X: np.ndarray) -> int:
        return X.shape[1] if self.n_components is None else self.n_components

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from all signals, ``max_iter`` times each.

        Args:
            X: Signals ``(N, n)``.
            y: Ignored.
        """
        X = self._signals(X, reset=True)
        learned = learn_dictionary(
            X,
            self._atoms(X),
            self.l1,
            penalty=self.penalty,
            passes=self.max_iter,
            batch_size=self.batch_size,
            forgetting=self.forgetting,
            seed=seed_of(self.random_state),
            threads=threads_of(self.n_jobs),
        )
        self.components_ = np.ascontiguousarray(learned.D.T)
        self.n_iter_ = learned.batches
        self._learner: OnlineLearner | None = None
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from one more batch; the first call starts from its signals.

        After ``fit``, learning goes on from the fitted atoms.

        Args:
            X: Signals ``(b, n)``.
            y: Ignored.
        """
        fitted = hasattr(self, "components_")
        X = self._signals(X, reset=not fitted)
        learner = getattr(self, "_learner", None)
        if learner is None:
            learner = OnlineLearner(
                X.shape[1],
                self._atoms(X),
                self.l1,
                penalty=self.penalty,
                forgetting=self.forgetting,
                init=self.components_.T if fitted else None,
                seed=seed_of(self.random_state),
                threads=threads_of(self.n_jobs),
            )
            self._learner = learner
        learner.update(torch.from_numpy(np.array(X, dtype=np.float64)))
        self.components_ = learner.atoms.numpy().astype(X.dtype)
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1
        return self
