"""Files of filters: what was saved comes back, and what is wrong is refused with a reason."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from thalweg.sparse.convolution import Filters
from thalweg.sparse.convolution.preparation import Preparation
from thalweg.sparse.convolution.storage import is_filters
from thalweg.sparse.storage import Dictionary


@pytest.fixture
def filters():
    W = np.random.default_rng(0).standard_normal((4, 2, 3, 5))
    return Filters(
        W, 0.25, "circular", True, Preparation("whiten", 3.0, 0.3), 99, 7, 1, (5, 7), (2.0, 1.5),
        (0.1, 0.2, 0.3, 0.0),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_saved_comes_back(filters, dtype, tmp_path):
    saved = dataclasses.replace(filters, W=filters.W.astype(dtype))
    loaded = Filters.load(saved.save(tmp_path / "f.safetensors"))
    assert loaded.W.dtype == dtype
    assert np.array_equal(loaded.W, saved.W)
    for field in dataclasses.fields(Filters):
        if field.name != "W":
            assert getattr(loaded, field.name) == getattr(saved, field.name)
    assert np.array_equal(loaded.components_, saved.W.reshape(4, 30))
    assert is_filters(tmp_path / "f.safetensors")


def test_torch_filters_and_views_are_saved_in_the_right_order(tmp_path):
    W = torch.arange(24.0).reshape(3, 4, 2, 1).permute(1, 3, 0, 2)
    loaded = Filters.load(Filters(W).save(tmp_path / "f"))
    assert np.array_equal(loaded.W, W.numpy())
    assert loaded.l1 is None


def test_a_plain_dictionary_or_no_file_is_not_taken_for_filters(tmp_path):
    path = Dictionary(np.eye(3)).save(tmp_path / "d")
    assert not is_filters(path)
    assert not is_filters(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is not a thalweg\.filters/1 file"):
        Filters.load(path)
    with pytest.raises(FileNotFoundError, match="no file of filters"):
        Filters.load(tmp_path / "none")
    (tmp_path / "noise").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="not a readable file of filters"):
        Filters.load(tmp_path / "noise")


def meddle(path, W=None, **changes):
    """Write the file anew with other metadata or other filters."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        meta = json.loads(file.metadata()["thalweg"]) | changes
    save_file({"W": load_file(path)["W"] if W is None else W}, path, {"thalweg": json.dumps(meta)})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W": np.ones((4, 2, 3, 5))}, "is damaged"),
        ({"boundary": "same"}, "does not hold finite filters and a boundary"),
        ({"l1": "much"}, "unreadable settings"),
        ({"curve": 3}, "unreadable settings"),
        ({"preparation": {"kind": "magic"}}, "unreadable settings"),
        ({"preparation": {"size": 3}}, "unreadable settings"),
        ({"use": ["x"]}, "unreadable settings"),
    ],
)
def test_damage_and_nonsense_are_refused(filters, tmp_path, changes, message):
    path = meddle(filters.save(tmp_path / "f"), **changes)
    with pytest.raises(ValueError, match=message):
        Filters.load(path)


def test_filters_that_are_no_filters_are_not_saved(tmp_path):
    for W in (np.ones((3, 3)), np.full((1, 1, 2, 2), np.nan)):
        with pytest.raises(ValueError, match="cannot save"):
            Filters(W).save(tmp_path / "f")
    assert not (tmp_path / "f").exists()
