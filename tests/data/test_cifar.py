"""CIFAR-10: the binary version and npz are read, the pickled version never."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.cifar import read_binary, read_cifar10, read_npz

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
Y = np.array([0, 9, 3, 4, 5, 6])


def record_bytes(x, y):
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(x, y, strict=True))


def npz_bytes(**changes):
    rows = X.transpose(0, 2, 3, 1)
    arrays = {"x_train": rows, "y_train": Y, "x_test": rows[:2], "y_test": Y[:2]} | changes
    stream = io.BytesIO()
    np.savez_compressed(
        stream, **{key: value for key, value in arrays.items() if value is not None}
    )
    return stream.getvalue()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("cifar") / "cifar.npz"


def test_binary_version_is_read_in_order_of_its_batches(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(record_bytes(X[:4], Y[:4]))
    (folder / "data_batch_2.bin").write_bytes(record_bytes(X[4:], Y[4:]))
    (folder / "test_batch.bin").write_bytes(record_bytes(X[:1], Y[:1]))
    found = read_cifar10(tmp_path)
    np.testing.assert_array_equal(found.x_train, X)
    np.testing.assert_array_equal(found.y_train, Y)
    np.testing.assert_array_equal(found.x_test, X[:1])


@pytest.mark.parametrize("shape", ["rows", "planes", "column labels"])
def test_npz_is_read_in_either_layout(tmp_path, shape):
    changes = {"planes": {"x_train": X}, "column labels": {"y_train": Y[:, None].astype(np.uint8)}}
    (tmp_path / "my-cifar.npz").write_bytes(npz_bytes(**changes.get(shape, {})))
    found = read_cifar10(tmp_path)
    np.testing.assert_array_equal(found.x_train, X)
    np.testing.assert_array_equal(found.y_train, Y)


def test_pickled_version_is_refused_with_the_reason(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"\x80\x02}")
    with pytest.raises(ValueError, match="unpickling can run any code"):
        read_cifar10(tmp_path)


def test_npz_that_hides_a_pickle_is_refused(path):
    path.write_bytes(npz_bytes(y_train=np.array([object()] * 6, dtype=object)))
    with pytest.raises(ValueError, match="pickle"):
        read_npz(path)


def test_file_that_is_one_array_or_nothing_is_refused(path):
    stream = io.BytesIO()
    np.save(stream, X)
    for body in (stream.getvalue(), b"", b"not an archive"):
        path.write_bytes(body)
        with pytest.raises(ValueError, match="cannot be read as npz"):
            read_npz(path)


def test_empty_folder_names_what_was_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"test_batch.bin.*cifar\*.npz"):
        read_cifar10(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_cifar10(tmp_path / "absent")


@given(st.integers(0, 2 * 3073 - 1).filter(lambda length: length != 3073))
def test_truncated_binary_is_refused(path, length):
    path.write_bytes(record_bytes(X[:2], Y[:2])[:length])
    with pytest.raises(ValueError, match="no CIFAR-10 batch"):
        read_binary(path)


def test_cifar100_and_wrong_labels_are_recognised(path):
    path.write_bytes(b"\0" * 3074)
    with pytest.raises(ValueError, match="CIFAR-100"):
        read_binary(path)
    path.write_bytes(record_bytes(X, Y + 5))
    with pytest.raises(ValueError, match="labels from 5 to 14"):
        read_binary(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, "lacks y_test"),
        ({"x_train": X.astype(float)}, "x_train is float64"),
        ({"x_test": X[:2, :1]}, "x_test is uint8 of shape"),
        ({"y_train": Y[:3]}, "y_train is int64 of shape"),
        ({"y_train": Y.astype(float)}, "y_train is float64"),
        ({"y_train": Y - 1}, "labels from -1"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "y_train"),
    ],
)
def test_npz_of_another_shape_is_refused(path, changes, words):
    path.write_bytes(npz_bytes(**changes))
    with pytest.raises(ValueError, match=words):
        read_npz(path)


NPZ = npz_bytes()


@given(st.data())
def test_damaged_npz_is_refused_or_read_whole(path, data):
    body = bytearray(NPZ)
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(0, len(body) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            # half of the changes hit the directory at the end, where the names and sizes are
            low = data.draw(st.sampled_from([0, len(body) - 300]))
            body[data.draw(st.integers(low, len(body) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(body)
    try:
        found = read_npz(path)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        return
    np.testing.assert_array_equal(found.x_train, X)
    np.testing.assert_array_equal(found.y_test, Y[:2])
