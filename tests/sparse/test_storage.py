"""Dictionary files: what was saved comes back, and what is wrong is refused with a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from thalweg.sparse.patches import Preprocessing
from thalweg.sparse.storage import Dictionary, check_orientation


@pytest.fixture
def dictionary():
    D = np.random.default_rng(0).standard_normal((9, 9))
    D /= np.linalg.norm(D, axis=0)
    return Dictionary(
        D, 0.2, Preprocessing((3, 3), True, "unit"), 1000, 4, 2, (500, 1000), (0.5, 0.25)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_saved_comes_back(dictionary, dtype, tmp_path):
    import dataclasses

    saved = dataclasses.replace(dictionary, D=dictionary.D.astype(dtype))
    loaded = Dictionary.load(saved.save(tmp_path / "d.safetensors"))
    assert loaded.D.dtype == dtype
    assert np.array_equal(loaded.D, saved.D)
    for name in (
        "l1",
        "preprocessing",
        "seen",
        "batches",
        "reseeded",
        "curve_seen",
        "curve_energy",
    ):
        assert getattr(loaded, name) == getattr(saved, name)
    assert np.array_equal(loaded.components_, saved.D.T)


def test_torch_dictionaries_and_views_are_saved_in_the_right_order(tmp_path):
    D = torch.eye(5, 3).T.contiguous().T
    assert np.array_equal(Dictionary.load(Dictionary(D).save(tmp_path / "d")).D, np.eye(5, 3))


def rewrite(path, **changes):
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        meta = json.loads(file.metadata()["thalweg"]) | changes
    save_file(load_file(path), path, {"thalweg": json.dumps(meta)})


def test_rows_are_turned_into_columns_by_the_stored_orientation(dictionary, tmp_path):
    import dataclasses

    path = dataclasses.replace(dictionary, D=dictionary.D.T).save(tmp_path / "d")
    rewrite(path, orientation="atoms-are-rows")
    assert np.array_equal(Dictionary.load(path).D, dictionary.D)


def test_a_square_transposed_dictionary_is_caught(dictionary, tmp_path):
    import dataclasses

    path = dataclasses.replace(dictionary, D=dictionary.D.T).save(tmp_path / "d")
    with pytest.raises(ValueError, match="looks transposed"):
        Dictionary.load(path)
    check_orientation(np.eye(4), "both norms are one: cannot be told, not refused")


def test_a_file_without_orientation_is_refused(dictionary, tmp_path):
    path = dictionary.save(tmp_path / "d")
    rewrite(path, orientation=None)
    with pytest.raises(ValueError, match="columns or rows"):
        Dictionary.load(path)


def test_one_flipped_bit_is_noticed(dictionary, tmp_path):
    path = dictionary.save(tmp_path / "d")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        Dictionary.load(path)


def test_foreign_and_broken_files_are_refused_in_one_line(tmp_path, dictionary):
    with pytest.raises(FileNotFoundError, match="thalweg dictionary"):
        Dictionary.load(tmp_path / "none")
    (tmp_path / "text").write_text("no tensors here")
    with pytest.raises(ValueError, match="not a readable dictionary file"):
        Dictionary.load(tmp_path / "text")
    save_file({"weights": np.zeros((2, 2))}, tmp_path / "foreign")
    with pytest.raises(ValueError, match=r"is not a thalweg\.dictionary/1 file"):
        Dictionary.load(tmp_path / "foreign")
    path = dictionary.save(tmp_path / "d")
    rewrite(path, n=4)
    with pytest.raises(ValueError, match="says n = 4"):
        Dictionary.load(path)


def test_a_failed_save_leaves_the_old_file_and_no_debris(dictionary, tmp_path, monkeypatch):
    path = dictionary.save(tmp_path / "d")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("thalweg.rundir.atomic._fsync", full)
    with pytest.raises(OSError, match="No space left"):
        dictionary.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
