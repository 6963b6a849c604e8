"""Filters that slide over whole images beside atoms of patches: who learns more kinds?"""

from __future__ import annotations

import numpy as np

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records import Picture
from thalweg.records_claims import Chart
from thalweg.sparse import learn_dictionary
from thalweg.sparse.convolution import learn_filters
from thalweg.sparse.convolution.diversity import (
    distinct_orientations,
    mean_likeness,
    nearest_likeness,
)
from thalweg.sparse.convolution.preparation import Preparation
from thalweg.sparse.patches import sample_patches
from thalweg.sparse.reading import builtin
from thalweg.sparse.summary import picture, tiles

SIDE, L1 = 9, 1.0  # pixels of a filter; weight, on images of mean square 1
QUICK, MORE = (1, 2, 4, 8, 16), (32, 64)  # filters, as in the deck
STEPS, CROP, PATCHES = 60, 48, 20_000
WAYS = ("whole images", "patches")


def convolutional(images: list[np.ndarray], count: int, seed: int) -> np.ndarray:
    """Filters ``(K, 1, 9, 9)`` that slide over pieces of the images."""
    return learn_filters(images, count, SIDE, L1, steps=STEPS, crop=CROP, seed=seed).W


def patchwise(images: list[np.ndarray], count: int, seed: int) -> np.ndarray:
    """Atoms ``(K, 1, 9, 9)`` of patches of the same images, at the same weight."""
    X = sample_patches(images, SIDE, PATCHES, seed)
    return learn_dictionary(X, count, L1, passes=5, seed=seed).D.T.reshape(-1, 1, SIDE, SIDE)


@claim(
    name="convolutional-filters",
    title="Sliding filters differ where atoms of patches repeat each other",
    decks=("D0",),
    section="sparse#s10",
    says=(
        "Trained on whole images, filters become diverse; trained on patches, many are shifted "
        "copies of each other."
    ),
    targets=(
        Target("likeness over shifts, whole images less patches", 0.0, relation="at most"),
        Target("orientations, whole images less patches", 0.0, relation="at least"),
        Target("mean likeness over shifts, whole images", relation="reported"),
        Target("mean likeness over shifts, patches", relation="reported"),
        Target("likeness to the nearest filter, whole images", relation="reported"),
        Target("likeness to the nearest filter, patches", relation="reported"),
        Target("orientations of 12, whole images", relation="reported"),
        Target("orientations of 12, patches", relation="reported"),
    ),
    seconds=15,
    full_seconds=120,
)
def convolutional_filters(setting: Setting) -> Outcome:
    """K = 1 to 16 filters (64 in full) of two whitened, contrast-normalised photographs."""
    images = [Preparation("both").apply(image) for image in builtin("photographs").images]
    counts = (*QUICK, *MORE) if setting.full else QUICK
    found: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    for count in counts:
        setting.progress(f"{count} filters")
        for way, learn in zip(WAYS, (convolutional, patchwise), strict=True):
            found[way].append(learn(images, count, setting.seed))
    alike = {way: [mean_likeness(W) for W in found[way]] for way in WAYS}
    turns = {way: [distinct_orientations(W) for W in found[way]] for way in WAYS}
    whole, patches = WAYS
    return Outcome(
        {
            "likeness over shifts, whole images less patches": alike[whole][-1]
            - alike[patches][-1],
            "orientations, whole images less patches": turns[whole][-1] - turns[patches][-1],
            **{f"mean likeness over shifts, {way}": alike[way][-1] for way in WAYS},
            **{
                f"likeness to the nearest filter, {way}": nearest_likeness(found[way][-1])
                for way in WAYS
            },
            **{f"orientations of 12, {way}": turns[way][-1] for way in WAYS},
        },
        charts=(
            Chart(
                "How alike are two filters?",
                "filters",
                "largest |product| over shifts, mean of pairs",
                tuple(curve(way, counts[1:], alike[way][1:], "both") for way in WAYS),
                x_log=True,
                caption="1: a shifted copy. A single filter has no pair.",
            ),
            Chart(
                "How many orientations?",
                "filters",
                "sectors of 15 degrees with a clear filter",
                tuple(curve(way, counts, turns[way], "both") for way in WAYS),
                x_log=True,
            ),
        ),
        pictures=tuple(_sheet(way, found[way][-1]) for way in WAYS),
        notes=(
            f"Both ways: the same images and weight; numbers are of {counts[-1]} filters.",
            "The verdict rests on the mean over all pairs, in which few copies weigh little; the "
            "likeness to the nearest filter looks for copies alone.",
        ),
        reduced="" if setting.full else "up to 16 filters, for 64",
    )


def _sheet(way: str, W: np.ndarray) -> Picture:
    rows = W.reshape(len(W), -1)
    rows = rows / np.abs(rows).max(1, keepdims=True)
    title = f"{len(W)} filters learned from {way}"
    return picture(title, tiles(rows, (SIDE, SIDE), border=-1.0), -1, 1)
