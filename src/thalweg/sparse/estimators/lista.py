"""A trained LISTA network as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from thalweg.sparse.encoders.lista import LISTA
from thalweg.sparse.estimators.base import CodeEstimator, codes_of, reachable, seed_of
from thalweg.sparse.estimators.coder import SparseCoder
from thalweg.sparse.inference import certify


class ListaEncoder(CodeEstimator):
    """A trained LISTA network: approximate codes at the price of a few matrix products.

    Args:
        dictionary: Atoms as rows ``(m, n)``, or a `thalweg.sparse.storage.Dictionary`; None learns
            them at ``fit``.
        l1: Weight of ``‖z‖₁`` against ``½‖x − zW‖²``.
        depth: Steps of the network after the first threshold.
        S_form: ``dense``, ``sparse`` or ``lowrank``, see `thalweg.sparse.LISTA`.
        keep: Share of S kept for ``sparse``.
        rank: Rank for ``lowrank``.
        steps: Training steps.
        lr: Rate of the first step; it falls to zero along a half cosine.
        batch_size: Signals a step.
        tol: None gives the network's own codes. A number gives certified ones: those whose relative
            duality gap exceeds ``tol`` are solved exactly (not below 1e-5 for float32 signals).
        n_components: Atoms to learn when ``dictionary`` is None; as many as features by default.
        random_state: Seed of learning and training.
        n_jobs: CPU threads of exact solves; None takes what the process may use.

    Attributes:
        components_: Atoms as rows ``(m, n)``.
        encoder_: The `thalweg.sparse.LISTA` module.
        n_features_in_: Length of a signal.
    """

    def __init__(
        self,
        dictionary: Any = None,
        *,
        l1: float = 0.1,
        depth: int = 3,
        S_form: str = "dense",
        keep: float = 1.0,
        rank: int | None = None,
        steps: int = 5000,
        lr: float = 2e-3,
        batch_size: int = 256,
        tol: float | None = None,
        n_components: int | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.dictionary = dictionary
        self.l1 = l1
        self.depth = depth
        self.S_form = S_form
        self.keep = keep
        self.rank = rank
        self.steps = steps
        self.lr = lr
        self.batch_size = batch_size
        self.tol = tol
        self.n_components = n_components
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> Self:
        """Solve for the codes of ``X`` and train the network to predict them.

        Args:
            X: Signals ``(N, n)``.
            y: Ignored.
        """
        X = self._signals(X, reset=True)
        seed = seed_of(self.random_state)
        coder = SparseCoder(
            self.dictionary,
            l1=self.l1,
            n_components=self.n_components,
            random_state=seed,
            n_jobs=self.n_jobs,
        ).fit(X)
        self.components_ = coder.components_
        D = self.components_.T.astype(X.dtype)
        self.encoder_ = LISTA(D, self.l1, self.depth, self.S_form, self.keep, self.rank)
        self.training_ = self.encoder_.fit(
            X,
            coder.transform(X),
            steps=self.steps,
            lr=self.lr,
            batch_size=self.batch_size,
            seed=seed,
        )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Codes ``(b, m)``: the network's, or certified ones where ``tol`` is set.

        Args:
            X: Signals ``(b, n)``.
        """
        check_is_fitted(self, "encoder_")
        X = self._signals(X, reset=False)
        if self.tol is None:
            return self.encoder_.encode(X).astype(X.dtype, copy=False)
        codes = self.encoder_.certified(X, reachable(self.tol, X))
        return codes_of(codes).astype(X.dtype, copy=False)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean energy ``½‖x − zW‖² + l1 ‖z‖₁`` of the codes that `transform` gives.

        Args:
            X: Signals ``(b, n)``.
            y: Ignored.
        """
        codes = self.transform(X)
        X = self._signals(X, reset=False)
        D = np.ascontiguousarray(self.components_.T, dtype=X.dtype)
        return -float(certify(X, D, codes, self.l1).energy.mean())

    def gap(self, X: Any) -> np.ndarray:
        """Relative duality gap ``(b,)`` of the network's own codes.

        Args:
            X: Signals ``(b, n)``.
        """
        check_is_fitted(self, "encoder_")
        return self.encoder_.gap(self._signals(X, reset=False))
