"""idx files: every type, gzip or plain; damaged files are refused, never misread."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.files import locate
from thalweg.data.idx import read_idx, read_labelled_idx

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def packed(array):
    """The idx bytes of an array, written independently of the reader."""
    head = struct.pack(">BBBB", 0, 0, CODES[array.dtype.str[1:]], array.ndim)
    return (
        head
        + struct.pack(f">{array.ndim}i", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "file"


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", CODES)
def test_every_type_comes_back_exactly(kind, squeeze, path):
    array = (np.arange(24).reshape(2, 3, 4) * 5 - 20).astype(kind)
    path.write_bytes(squeeze(packed(array)))
    found = read_idx(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


WHOLE = packed(np.arange(60, dtype="u1").reshape(3, 4, 5))


@given(st.integers(0, len(WHOLE) - 1), st.booleans())
def test_truncated_file_is_refused(path, length, squeeze):
    cut = WHOLE[:length]
    path.write_bytes(gzip.compress(cut) if squeeze else cut)
    with pytest.raises(ValueError, match="idx"):
        read_idx(path)


@given(st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_refused(path, extra):
    path.write_bytes(WHOLE + extra)
    with pytest.raises(ValueError, match="goes on after its end"):
        read_idx(path)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_header_is_refused_or_read_as_it_says(path, changes):
    body = bytearray(WHOLE)
    for position, value in changes:
        body[position] = value
    path.write_bytes(body)
    try:
        found = read_idx(path)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        return
    head = 4 + 4 * body[3]
    assert found.shape == struct.unpack(f">{body[3]}I", body[4:head])
    assert found.nbytes == math.prod(found.shape) * found.itemsize == len(body) - head


@given(st.data())
def test_damaged_gzip_is_refused(path, data):
    body = bytearray(gzip.compress(WHOLE, mtime=0))
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(2, len(body) - 1))]
    else:  # behind the ten header bytes, whose fields (time, name) carry no content
        body[data.draw(st.integers(10, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(body)
    try:
        found = read_idx(path)
    except ValueError:
        return
    np.testing.assert_array_equal(found, np.arange(60).reshape(3, 4, 5))  # a spare bit


def test_missing_file_and_folder_are_named(path):
    for place in (path.parent / "absent", path.parent):
        with pytest.raises(ValueError, match=place.name):
            read_idx(place)


def labelled(folder, images, labels):
    (folder / "x").write_bytes(packed(images))
    (folder / "y").write_bytes(packed(labels))
    return read_labelled_idx(folder / "x", folder / "y", 10)


IMAGES, LABELS = np.zeros((3, 4, 5), "u1"), np.array([0, 9, 1], "u1")


def test_labelled_images_fit_together(tmp_path):
    x, y = labelled(tmp_path, IMAGES, LABELS)
    assert x.shape == (3, 4, 5)
    assert y.dtype == np.int64
    assert y.tolist() == [0, 9, 1]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES, LABELS[:2], "3 images but"),
        (IMAGES[:0], LABELS[:0], "0 images"),
        (IMAGES, LABELS + np.uint8(1), "label 10"),
        (IMAGES.astype("f4"), LABELS, "float32"),
        (LABELS, LABELS, "1 axes"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(tmp_path, images, labels, words):
    with pytest.raises(ValueError, match=words):
        labelled(tmp_path, images, labels)


def test_locate_prefers_the_first_complete_folder_and_finds_old_spellings(tmp_path):
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / names[0]).touch()
    for name in ("train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte"):
        (tmp_path / "b" / name).touch()
    found = locate(tmp_path, names, ("a", "b"))
    assert [path.name for path in found.values()] == [
        "train-images.idx3-ubyte.gz",
        "train-labels-idx1-ubyte",
    ]
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte") as caught:
        locate(tmp_path, names, ("a", "."))
    assert str(tmp_path / "a") in str(caught.value)
