"""What thalweg's scikit-learn estimators share.

They keep scikit-learn's contract to the letter, orientation included: ``components_ (m, n)`` has
atoms as rows, the transpose of the dictionary ``D`` everywhere else in thalweg.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state  # pyrefly: ignore
from sklearn.utils.validation import check_is_fitted, validate_data  # pyrefly: ignore

from thalweg.records import Codes
from thalweg.sparse.inference import encode

FLOATS = (np.float64, np.float32)


class CodeEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What all three share: codes out, signals back, scikit-learn's tags."""

    components_: np.ndarray

    def _signals(self, X: Any, reset: bool) -> np.ndarray:
        return validate_data(self, X, reset=reset, dtype=FLOATS, order="C")

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Signals ``(b, n)`` that codes ``(b, m)`` stand for: ``codes @ components_``.

        Args:
            X: Codes ``(b, m)``.
        """
        check_is_fitted(self, "components_")
        codes = np.asarray(X)
        codes = codes if codes.dtype in FLOATS else codes.astype(np.float64)
        if codes.ndim != 2 or codes.shape[1] != len(self.components_):
            raise ValueError(
                f"codes must have shape (b, {len(self.components_)}), got {codes.shape}"
            )
        return codes @ self.components_.astype(codes.dtype, copy=False)

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # pyrefly: ignore
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class ExactEstimator(CodeEstimator):
    """Codes solved to a certificate, and the energy as a score."""

    l1: float
    penalty: str
    tol: float
    n_jobs: int | None

    def _encode(self, X: Any, refit: bool = False) -> Codes:
        check_is_fitted(self, "components_")
        X = self._signals(X, reset=False)
        D = np.ascontiguousarray(self.components_.T, dtype=X.dtype)
        tol = reachable(self.tol, X)
        threads = threads_of(self.n_jobs)
        how: dict[str, Any] = {"tol": tol, "threads": threads, "refit": refit}
        return encode(X, D, self.l1, penalty=self.penalty, **how)

    def transform(self, X: Any) -> np.ndarray:
        """Codes ``(b, m)``.

        Args:
            X: Signals ``(b, n)``.
        """
        return codes_of(self._encode(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean energy ``½‖x − zW‖² + l1 ‖z‖₁``: higher is better, 0 the best there is.

        Args:
            X: Signals ``(b, n)``.
            y: Ignored.
        """
        return -float(self._encode(X).energy.mean())


def codes_of(codes: Codes) -> np.ndarray:
    """The codes, with scikit-learn's warning where some did not converge."""
    if not codes.converged.all():
        warnings.warn(codes.status, ConvergenceWarning, stacklevel=3)
    return codes.z


def reachable(tol: float, X: np.ndarray) -> float:
    """The tolerance, or what float32 codes can reach where that is more."""
    return max(tol, 1e-5) if X.dtype == np.float32 else tol


def seed_of(random_state: Any) -> int:
    """A whole number from scikit-learn's ``random_state``."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def threads_of(n_jobs: int | None) -> int | None:
    """CPU threads from scikit-learn's ``n_jobs``: -1 is every core; None stays None."""
    return None if n_jobs is None else effective_n_jobs(n_jobs)
