"""Laws of built-in tasks: they load, repeat, run, decompose, and keep their parts apart."""

from __future__ import annotations

import os
import struct
from functools import cache

import numpy as np
import pytest
import torch

from thalweg.task import TASKS, load_task

NEEDS_DATA = ("mnist", "mnist-small-lenet", "fashion-mnist", "cifar10")
TEXT = ("char-lm", "char-lstm")
UNSCALED = (
    "linear-unit",
    "quadratic",
    "vae",
    "gan-gaussian",
    "gan-ring",
)  # moments are the problem
BUNDLED = [name for name in TASKS.names() if name not in NEEDS_DATA]


def cases():
    """Bundled tasks, the others on small files made here, and on the user's own if there are."""
    return [*BUNDLED, *(f"{name} (made here)" for name in NEEDS_DATA), *NEEDS_DATA]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with small files in the formats of MNIST, Fashion-MNIST and CIFAR-10."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for folder in ("mnist", "fashion-mnist", "cifar-10-batches-bin"):
        (root / folder).mkdir()
    for folder in ("mnist", "fashion-mnist"):
        for part, n in (("train", 120), ("t10k", 40)):
            x = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
            y = (np.arange(n) % 10).astype(np.uint8)
            images = struct.pack(">4I", 2051, n, 28, 28) + x.tobytes()
            (root / folder / f"{part}-images-idx3-ubyte").write_bytes(images)
            labels = struct.pack(">2I", 2049, n) + y.tobytes()
            (root / folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    for name, n in (("data_batch_1", 120), ("test_batch", 40)):
        records = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(n) % 10
        (root / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    return root


@cache
def loaded(name, folder):
    return load_task(name, data=folder)


@pytest.fixture
def load(made):
    """Load a case's task afresh, or share one; skip if the user's files are needed but absent."""

    def loader(case, fresh=False):
        name, _, here = case.partition(" (")
        folder = str(made) if here else None
        if name in NEEDS_DATA and not here:
            if not os.environ.get("THALWEG_DATA"):
                pytest.skip("THALWEG_DATA is not set: no folder with the user's own files")
            try:
                return load_task(name) if fresh else loaded(name, None)
            except ValueError as error:
                pytest.skip(f"THALWEG_DATA has no {name}: {error}")
        return load_task(name, data=folder) if fresh else loaded(name, folder)

    return loader


def model_of(task, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return task.model()


def parts(task):
    """Training, held-out and test part, each as a tuple of tensors of one length."""
    return [
        (part,) if isinstance(part, torch.Tensor) else part
        for part in (task.train, task.held_out, task.test)
    ]


def tensors(task):
    return [t for part in parts(task) for t in part]


def loss_of(task, model, tensors):
    """The loss of a batch of tensors, whatever form the task has."""
    if task.forward == "batch":
        return task.loss(model, tensors if len(tensors) > 1 else tensors[0])
    return task.loss(model(tensors[0]), tensors[1])


@pytest.mark.parametrize("case", cases())
def test_builtin_task_loads_the_same_bits_twice(case, load):
    first, second = load(case), load(case, fresh=True)
    assert first is not second
    for a, b in zip(tensors(first), tensors(second), strict=True):
        assert torch.equal(a, b)
    assert first.recipe == second.recipe
    states = [model_of(task).state_dict() for task in (first, second)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


@pytest.mark.parametrize("case", cases())
def test_builtin_task_is_well_formed(case, load):
    task = load(case)
    assert task.name == case.partition(" (")[0]
    assert task.metric in ("accuracy", "loss") or callable(task.metric)
    for part in parts(task):
        assert len({len(t) for t in part}) == 1
        for t in part:
            assert len(t) > 0
            assert t.dtype in (torch.float32, torch.int64)
            assert torch.isfinite(t).all()


@pytest.mark.parametrize("case", cases())
def test_builtin_model_runs_forward_and_backward_to_finite_gradients(case, load):
    task = load(case)
    model = model_of(task)
    loss = loss_of(task, model, tuple(t[:16] for t in parts(task)[0]))
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name


@pytest.mark.parametrize("case", cases())
def test_builtin_whole_mean_is_the_weighted_mean_of_its_chunks(case, load):
    task = load(case)
    model = model_of(task).double().eval()
    batch = [t[-300:].double() if t.is_floating_point() else t[-300:] for t in parts(task)[0]]
    sizes = [1, 7, 50, len(batch[0]) - 58]
    weight = task.weight or (lambda batch: len(batch[0]))
    with torch.no_grad():
        chunks = list(zip(*(t.split(sizes) for t in batch), strict=True))
        weights = torch.tensor([float(weight(chunk)) for chunk in chunks]).double()
        means = torch.stack([loss_of(task, model, chunk) for chunk in chunks])
        whole = loss_of(task, model, batch)
    torch.testing.assert_close((weights * means).sum() / weights.sum(), whole, atol=1e-10, rtol=0)


def test_char_lm_chunks_would_differ_without_its_weight(load):
    task = load("char-lm")
    padded = (task.train[1] == -100).any(1)
    assert 0.01 < padded.double().mean() < 0.2
    assert 0 < task.weight(task.train) < task.train[1].numel()


@pytest.mark.parametrize("case", [c for c in cases() if c.split(" ")[0] not in TEXT])
def test_builtin_parts_do_not_share_samples(case, load):
    task = load(case)
    seen: set[bytes] = set()
    for part in parts(task):
        samples = part if task.forward == "batch" else part[:1]  # single floats repeat by chance
        mine = {b"".join(t.numpy().tobytes() for t in row) for row in zip(*samples, strict=True)}
        assert not (mine & seen)
        seen |= mine


@pytest.mark.parametrize("name", [n for n in BUNDLED if n not in (*TEXT, *UNSCALED)])
def test_inputs_are_scaled_by_the_training_part_alone(name, load):
    x, held = (part[0].double() for part in parts(load(name))[:2])
    axes = (0,) if name in ("diabetes", "breast-cancer", "wine") else tuple(range(x.ndim))
    assert x.mean(axes).abs().max() < 1e-6
    assert (x.std(axes, correction=0) - 1).abs().max() < 1e-6
    assert held.mean(axes).abs().max() > 1e-4  # its own mean was not subtracted


def test_table_scaling_equals_scikit_learns(load):
    from sklearn.preprocessing import StandardScaler

    from thalweg.data import split, wine

    x, y = wine()
    train, held, _ = split(len(y), (0.6, 0.2, 0.2), 0, labels=y)
    scaler = StandardScaler().fit(x[train])
    task = load("wine")
    for part, index in ((task.train, train), (task.held_out, held)):
        np.testing.assert_allclose(part[0].numpy(), scaler.transform(x[index]), atol=1e-5)
        np.testing.assert_array_equal(part[1].numpy(), y[index])


def test_digits_are_the_bundled_images_enlarged(load):
    from thalweg.data import digits, split

    images, labels = digits()
    train = split(len(labels), (0.6, 0.2, 0.2), 0, labels=labels)[0]
    x, y = load("digits").train
    assert x.shape == (1078, 1, 32, 32)
    np.testing.assert_array_equal(y.numpy(), labels[train])
    flat = load("digits-mlp").train[0].double()
    for mine, raw in ((x.double().mean((1, 2, 3)), images), (flat.mean(1), images)):
        raw_means = torch.from_numpy(raw[train].mean((1, 2)))
        assert torch.corrcoef(torch.stack([mine, raw_means]))[0, 1] > 0.99
    # pixels of 8x8 come back where bilinear interpolation keeps them: means over 2x2 centres
    centre = x.double()[:, 0, 1::4, 1::4] + x.double()[:, 0, 2::4, 2::4]
    small = flat.reshape(-1, 8, 8)
    assert torch.corrcoef(torch.stack([centre.flatten(), small.flatten()]))[0, 1] > 0.99


def test_linear_unit_task_has_the_printed_curvatures(load):
    x = load("linear-unit").train[0].double()
    eigenvalues = torch.linalg.eigvalsh(x.T @ x / len(x))
    torch.testing.assert_close(eigenvalues, torch.tensor([0.036, 0.84]).double(), atol=1e-6, rtol=0)


def test_quadratic_task_has_one_known_minimum_in_all_parts(load):
    task = load("quadratic")
    model = model_of(task)
    with torch.no_grad():
        model.w.zero_()
        losses = [float(task.loss(model(x), y)) for x, y in (task.train, task.held_out, task.test)]
    expected = 0.01 * np.logspace(-2, 0, 20).sum() / 2
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_char_lm_knows_only_the_training_characters_and_no_topic_is_in_two_parts(load):
    task = load("char-lm")
    vocabulary = task.model.args[0]
    assert int(task.train[0].max()) == vocabulary - 1
    for x, _ in (task.held_out, task.test):
        assert int(x.max()) < vocabulary
    windows = [{row.numpy().tobytes() for row in x} for x, _ in parts(task)]
    assert sum(map(len, windows)) == len(set.union(*windows))


@pytest.mark.parametrize("name", NEEDS_DATA)
def test_task_without_its_folder_names_the_files(name, monkeypatch, tmp_path):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    file = "data_batch_1.bin" if name == "cifar10" else "train-images-idx3-ubyte"
    for folder, words in ((None, "THALWEG_DATA"), (tmp_path, str(tmp_path))):
        with pytest.raises(ValueError, match=file) as caught:
            load_task(name, data=folder)
        assert words in str(caught.value)


def test_mnist_is_padded_and_split_five_to_one(load):
    task = load("mnist (made here)")
    x, y = task.train
    assert x.shape == (100, 1, 32, 32)
    assert torch.bincount(y).tolist() == [10] * 10
    assert len(task.held_out[1]) == 20
    rim = torch.cat([x[..., :2, :].flatten(), x[..., -2:].flatten()])
    assert (rim == x.min()).all()


def test_idx_images_of_another_size_are_refused(made, tmp_path):
    for file in (made / "mnist").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    small = struct.pack(">4I", 2051, 120, 8, 8) + bytes(120 * 64)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(small)
    with pytest.raises(ValueError, match="28 x 28"):
        load_task("mnist", data=tmp_path)


def test_fashion_task_refuses_the_digits_of_mnist():
    folder = os.path.join(os.environ.get("THALWEG_DATA", ""), "mnist")
    if not os.path.isdir(folder):
        pytest.skip("THALWEG_DATA with mnist/ is not set")
    with pytest.raises(ValueError, match="MNIST's digits"):
        load_task("fashion-mnist", data=folder)
