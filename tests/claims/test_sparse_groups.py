"""Claims on group sparsity and topographic maps."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.claims import sparse_groups
from thalweg.sparse.topographic.strokes import strokes

VERDICTS = {
    "torus-map": "reduced",
    "group-sparsity": "confirmed",
    "shift-invariance": "reduced",
}


def test_every_claim_of_this_file_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(sparse_groups)) == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_the_claim_gives_its_verdict_with_figures(name, judged) -> None:
    claim = judged(name)
    assert claim.verdict == VERDICTS[name], claim.measures
    assert claim.charts


@pytest.mark.parametrize("name", VERDICTS)
def test_one_number_beyond_its_tolerance_is_not_reproduced(name, judged, verdict_with) -> None:
    claim = judged(name)
    for measure in claim.measures:
        if measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced", measure.name


def test_similarity_falls_with_distance_on_the_torus(judged) -> None:
    line = judged("torus-map").charts[0].curves[0]
    assert line.y[0] > line.y[1] > line.y[3] > line.y[-1] - 0.05


def test_strokes_run_along_the_orientation_and_marks_stand_on_corners() -> None:
    flat, none = np.zeros((3, 3)), np.zeros((3, 3), bool)
    level = strokes(flat, np.ones((3, 3)), flat, none)
    assert (level.width, level.height) == (51, 51)
    pixels = _pixels(level)
    assert pixels[8, 4:13].min() > 100  # a level stroke through the middle of a cell
    assert pixels[3, 3] == 0
    marked = none.copy()
    marked[0, 0] = True
    ring = _pixels(strokes(flat, np.ones((3, 3)), flat + 0.5, marked))
    cross = _pixels(strokes(flat, np.ones((3, 3)), flat - 0.5, marked))
    assert ring[17, 17] == 0  # between the first four units, hollow
    assert cross[17, 17] == 255


def _pixels(picture) -> np.ndarray:
    import base64

    flat = np.frombuffer(base64.b64decode(picture.pixels), np.uint8)
    return flat.reshape(picture.height, picture.width)
