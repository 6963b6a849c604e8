"""The built-in tasks on text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from thalweg.data.splits import split
from thalweg.data.text import Vocabulary, distinct, python_topics, windows
from thalweg.models.char_lstm import CharLSTM
from thalweg.models.losses import token_count, token_cross_entropy
from thalweg.models.tasks.arrays import SHARES, Pair
from thalweg.models.transformer import CharTransformer
from thalweg.task import Recipe, Task

CONTEXT = 64
LONGEST = 4000  # characters taken of each topic, so that none dominates and an epoch stays short


def char_lm() -> Task:
    """Predict the next character of Python's own help topics (``pydoc_data.topics``).

    Whole topics train or are held out; topics that repeat others are left out. The text, hence
    every number, depends on the Python version. The mean runs over characters: the last window of
    a topic is padded.
    """
    return _next_character(
        "char-lm",
        lambda vocabulary: partial(CharTransformer, vocabulary, CONTEXT),
        Recipe(optimizer="adamw", lr=4e-3, weight_decay=0.01, batch_size=16, epochs=10),
    )


def char_lstm() -> Task:
    """The same text and the same windows for an LSTM of 64 cells."""
    return _next_character(
        "char-lstm",
        lambda vocabulary: partial(CharLSTM, vocabulary),
        Recipe(optimizer="adam", lr=5e-3, batch_size=16, epochs=10),
    )


def _next_character(
    name: str, model: Callable[[int], Callable[[], nn.Module]], recipe: Recipe
) -> Task:
    topics = distinct(topic[:LONGEST] for topic in python_topics())
    indices = split(len(topics), SHARES, seed=0)
    vocabulary = Vocabulary.of(topics[i] for i in indices[0])
    train, held_out, test = (
        _windows([vocabulary.encode(topics[i]) for i in part]) for part in indices
    )
    return Task(
        name=name,
        model=model(len(vocabulary)),
        loss=token_cross_entropy,
        weight=token_count,
        train=train,
        held_out=held_out,
        test=test,
        metric="loss",
        recipe=recipe,
    )


def _windows(texts: list[np.ndarray]) -> Pair:
    x, y = zip(*(windows(codes, CONTEXT) for codes in texts), strict=True)
    return torch.from_numpy(np.concatenate(x)), torch.from_numpy(np.concatenate(y))
