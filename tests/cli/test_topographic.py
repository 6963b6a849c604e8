"""``thalweg dictionary --topographic``: a map from images, its file, its page, its refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from thalweg.records_gap import TopographyReport
from thalweg.report.embed import unpack
from thalweg.sparse.topographic import TopographicMap


@pytest.fixture
def learn(thalweg, tmp_path):
    """Learn a small map of a built-in set: how it ended, and where its file is."""

    def run(*words):
        out = tmp_path / "map.safetensors"
        ended = thalweg("dictionary", "--out", str(out), *(str(word) for word in words))
        return ended, out

    return run


def test_a_map_is_learned_saved_and_shown(learn, tmp_path):
    page = tmp_path / "map.html"
    words = ("--topographic", "6x4", "--patch", 6, "--patches", 1500, "--passes", 4)
    ended, out = learn(*words, "--report", page, "--json")
    assert ended.code == 0, ended.err
    record = TopographyReport.from_dict(json.loads(ended.out))
    assert record.grid == (6, 4)
    assert record.pool.startswith("4 x 4 units, one every 2")
    assert record.neighbours > record.strangers
    assert "--topographic 6x4" in record.command
    found = TopographicMap.load(out)
    assert found.filters.shape == (6, 4, 6, 6)
    assert unpack(page.read_text("utf-8")) == [record]


def test_the_numbers_are_printed_in_words(learn):
    ended, out = learn("--topographic", "4x4", "--patch", 5, "--patches", 800, "--passes", 1)
    assert ended.code == 0, ended.err
    assert "Neighbours on the torus are alike" in ended.out
    assert str(out) in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--topographic", "16"), "rows x columns"),
        (("--topographic", "0x4"), "rows x columns"),
        (("--topographic", "4x4", "--atoms", 9), "--atoms has no meaning"),
        (("--topographic", "4x4", "--penalty", "non-negative"), "--penalty has no meaning"),
        (("--topographic", "4x4", "--builtin", "digits"), "needs images"),
        (("--topographic", "4x4", "--l1", -1), "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(learn, words, message):
    ended, out = learn(*words)
    assert ended.code == 2
    assert message in ended.err
    assert not out.exists()


def test_a_stack_of_grey_images_is_taken_for_images(learn, tmp_path):
    row, column = np.mgrid[:30, :40]
    stack = np.stack([np.sin(row / 2 + column / k) for k in (3.0, 5.0)])
    np.save(tmp_path / "x.npy", stack)
    ended, out = learn(
        tmp_path / "x.npy", "--topographic", "4x4", "--patch", 5, "--patches", 500, "--passes", 1
    )
    assert ended.code == 0, ended.err
    assert TopographicMap.load(out).patch == (5, 5)
