"""Convolutional dictionary learning as a scikit-learn transformer."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from thalweg.records import Codes
from thalweg.sparse.convolution.inference import encode_images
from thalweg.sparse.convolution.learning import learn_filters
from thalweg.sparse.convolution.online import FilterLearner
from thalweg.sparse.convolution.operator import ConvDictionary
from thalweg.sparse.estimators.base import (
    FLOATS,
    CodeEstimator,
    codes_of,
    reachable,
    seed_of,
    threads_of,
)


class ConvDictionaryLearner(CodeEstimator):
    r"""Learn unit-norm filters whose few shifted copies add up to each image.

    .. math:: E(Y, Z) = \tfrac12\Big\|Y - \sum_k W_k * Z_k\Big\|^2 + \alpha \sum_k \|Z_k\|_1

    scikit-learn wants rows: an image is a row of ``channels · height · width`` numbers and
    ``image_shape`` says how to fold it. Arrays ``(b, height, width)`` and ``(b, channels, height,
    width)`` are taken as well, they say it themselves. Codes are rows too, ``code_shape_`` folds
    them. All images have one size here; `thalweg.sparse.convolution.encode_images` codes images
    of any size over ``filters_``.

    >>> images = np.random.default_rng(0).standard_normal((3, 9, 9))
    >>> learner = ConvDictionaryLearner(2, (3, 4), max_iter=5, random_state=0).fit(images)
    >>> learner.filters_.shape, learner.code_shape_, learner.transform(images).shape
    ((2, 1, 3, 4), (2, 7, 6), (3, 84))

    Args:
        n_filters: Filters K.
        filter_shape: Their height and width in pixels.
        l1: Weight of the absolute values against half the squared error.
        image_shape: ``(height, width)`` or ``(channels, height, width)`` of a row of ``X``. None
            takes the shape of ``X`` where it has one, and a row for a picture one pixel high: a
            signal in time.
        boundary: ``"full"`` (atoms lie inside the image) or ``"circular"`` (it is a torus).
        non_negative: Allow no negative codes.
        max_iter: Batches to learn from.
        batch_size: Pieces of images a batch.
        crop: Largest side of a piece; None takes whole images.
        forgetting: How fast old codes fade, see `thalweg.sparse.convolution.learn_filters`.
        tol: Relative duality gap of the codes that ``transform`` gives.
        random_state: Seed of the order, the pieces and the first filters.
        n_jobs: CPU threads; None takes what the process may use.

    Attributes:
        filters_: ``(K, channels, a, b)``, norm 1.
        components_: The same as rows ``(K, channels · a · b)``.
        image_shape_: Channels, height and width of an image.
        code_shape_: Filters, height and width of a code.
        n_iter_: Batches learned from.
        n_features_in_: Numbers in a row.
    """

    def __init__(
        self,
        n_filters: int = 32,
        filter_shape: tuple[int, int] = (8, 8),
        *,
        l1: float = 1.0,
        image_shape: tuple[int, ...] | None = None,
        boundary: str = "full",
        non_negative: bool = False,
        max_iter: int = 200,
        batch_size: int = 4,
        crop: int | None = 64,
        forgetting: float = 10.0,
        tol: float = 1e-4,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_filters = n_filters
        self.filter_shape = filter_shape
        self.l1 = l1
        self.image_shape = image_shape
        self.boundary = boundary
        self.non_negative = non_negative
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.crop = crop
        self.forgetting = forgetting
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from pieces of all images, ``max_iter`` batches.

        Args:
            X: Images as rows ``(b, n)``, or ``(b, height, width)``, ``(b, channels, height,
                width)``.
            y: Ignored.
        """
        images = self._images(X, reset=True)
        learned = learn_filters(
            images,
            self.n_filters,
            self.filter_shape,
            self.l1,
            boundary=self.boundary,  # pyrefly: ignore
            non_negative=self.non_negative,
            steps=self.max_iter,
            batch_size=self.batch_size,
            crop=self.crop,
            forgetting=self.forgetting,
            seed=seed_of(self.random_state),
            threads=threads_of(self.n_jobs),
        )
        self._set(learned.W)
        self.n_iter_ = learned.steps
        self._learner: FilterLearner | None = None
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from one more batch, whole images; the first call starts from pieces of its images.

        After ``fit``, learning goes on from the fitted filters.

        Args:
            X: Images as in `fit`.
            y: Ignored.
        """
        fitted = hasattr(self, "components_")
        images = self._images(X, reset=not fitted)
        learner = getattr(self, "_learner", None)
        if learner is None:
            learner = FilterLearner(
                self.n_filters,
                (images.shape[1], *self.filter_shape),
                self.l1,
                boundary=self.boundary,  # pyrefly: ignore
                non_negative=self.non_negative,
                forgetting=self.forgetting,
                init=self.filters_.astype(np.float64) if fitted else None,
                seed=seed_of(self.random_state),
                threads=threads_of(self.n_jobs),
            )
            self._learner = learner
        learner.update([torch.from_numpy(np.array(images, dtype=np.float64))])
        self._set(learner.filters.numpy().astype(images.dtype))
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Codes as rows ``(b, Khw)``; ``codes.reshape(b, *code_shape_)`` gives the maps.

        Args:
            X: Images as in `fit`.
        """
        z = codes_of(self._encode(X))
        return z.reshape(len(z), -1)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Images as rows ``(b, n)`` that codes stand for.

        Args:
            X: Codes as rows ``(b, Khw)``, or maps ``(b, K, h, w)``.
        """
        check_is_fitted(self, "components_")
        codes = np.asarray(X)
        codes = codes if codes.dtype in FLOATS else codes.astype(np.float64)
        if codes.shape[1:] not in ((math.prod(self.code_shape_),), self.code_shape_):
            raise ValueError(
                f"codes must have shape (b, {math.prod(self.code_shape_)}) or "
                f"{('b', *self.code_shape_)}, got {codes.shape}"
            )
        maps = torch.from_numpy(codes.reshape(-1, *self.code_shape_).copy())
        images = self._dictionary(maps.dtype).decode(maps)
        return images.reshape(len(codes), -1).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean energy of an image: higher is better, 0 the best there is.

        Args:
            X: Images as in `fit`.
            y: Ignored.
        """
        return -float(self._encode(X).energy.mean())

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.code_shape_)

    def _encode(self, X: Any) -> Codes:
        check_is_fitted(self, "components_")
        images = self._images(X, reset=False)
        return encode_images(
            images,
            self.filters_.astype(images.dtype, copy=False),
            self.l1,
            boundary=self.boundary,  # pyrefly: ignore
            non_negative=self.non_negative,
            tol=reachable(self.tol, images),
            threads=threads_of(self.n_jobs),
        )

    def _images(self, X: Any, reset: bool) -> np.ndarray:
        """Checked images ``(b, c, H, W)``; ``reset`` learns their shape."""
        own = None
        X = X if hasattr(X, "shape") else np.asarray(X)
        if len(X.shape) in (3, 4):
            X = np.asarray(X)
            own = (*(() if X.ndim == 4 else (1,)), *X.shape[1:])
            X = X.reshape(len(X), math.prod(own))
        rows = self._signals(X, reset=reset)
        if reset:
            self.image_shape_ = self._shape(own, rows.shape[1])
        elif own not in (None, self.image_shape_):
            raise ValueError(f"images must have shape {self.image_shape_} each, got {own}")
        return rows.reshape(len(rows), *self.image_shape_)

    def _shape(self, own: tuple[int, ...] | None, features: int) -> tuple[int, int, int]:
        if self.image_shape is None:
            shape = own or (1, 1, features)
        else:
            shape = tuple(int(side) for side in self.image_shape)
            shape = (1, *shape) if len(shape) == 2 else shape
            if len(shape) != 3 or math.prod(shape) != features or own not in (None, shape):
                raise ValueError(
                    f"image_shape is {self.image_shape}, but an image of X has "
                    f"{features if own is None else own} values; they must agree"
                )
        if len(self.filter_shape) != 2:
            raise ValueError(f"filter_shape must be (height, width), got {self.filter_shape!r}")
        if any(f > s for f, s in zip(self.filter_shape, shape[1:], strict=True)):
            raise ValueError(
                f"filters of {self.filter_shape} pixels do not fit into images of {shape[1:]} "
                f"(n_features = {features}); choose a smaller filter_shape, or give image_shape"
            )
        return shape  # pyrefly: ignore

    def _set(self, filters: np.ndarray) -> None:
        self.filters_ = np.ascontiguousarray(filters)
        self.components_ = self.filters_.reshape(len(filters), -1)
        self.code_shape_ = self._dictionary(torch.float64).code_shape

    def _dictionary(self, dtype: torch.dtype) -> ConvDictionary:
        W = torch.from_numpy(self.filters_).to(dtype)
        return ConvDictionary(W, self.image_shape_[1:], self.boundary)  # pyrefly: ignore
