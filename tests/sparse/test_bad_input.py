import numpy as np
import pytest
import torch

from thalweg.sparse import L1, ElasticNet, Group, KSparse, encode

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 6))
D = RNG.standard_normal((6, 9))
D /= np.linalg.norm(D, axis=0)


def spoiled(array, value):
    array = array.copy()
    array[1, 2] = value
    return array


REFUSED = {
    "transposed D": (lambda: encode(X, D.T, 0.1), ValueError, r"\(6, atoms\).*columns.*transposed"),
    "D of another size": (lambda: encode(X, D[:4], 0.1), ValueError, r"\(6, atoms\).*\(4, 9\)"),
    "one signal": (lambda: encode(X[0], D, 0.1), ValueError, r"two axes.*X\[None, :\]"),
    "three axes": (lambda: encode(X[None], D, 0.1), ValueError, "two axes"),
    "D with one axis": (lambda: encode(X, D[0], 0.1), ValueError, "D must have two axes"),
    "no atoms": (lambda: encode(X, D[:, :0], 0.1), ValueError, "0 atoms"),
    "no inputs": (lambda: encode(X[:, :0], D[:0], 0.1), ValueError, "0 inputs"),
    "NaN in X": (lambda: encode(spoiled(X, np.nan), D, 0.1), ValueError, "X has NaN.*row 1"),
    "inf in X": (lambda: encode(spoiled(X, np.inf), D, 0.1), ValueError, "X has NaN or inf.*row 1"),
    "huge X": (lambda: encode(spoiled(X, 1e200), D, 0.1), ValueError, "overflow in row 1"),
    "NaN in D": (lambda: encode(X, spoiled(D, np.nan), 0.1), ValueError, "D has NaN.*row 1"),
    "NaN in torch": (
        lambda: encode(torch.tensor(spoiled(X, np.nan)), torch.tensor(D), 0.1),
        ValueError,
        "X has NaN",
    ),
    "complex X": (lambda: encode(X + 0j, D, 0.1), TypeError, "X has dtype complex128"),
    "complex torch": (
        lambda: encode(torch.tensor(X + 0j), torch.tensor(D), 0.1),
        TypeError,
        "complex128",
    ),
    "object X": (lambda: encode(X.astype(object), D, 0.1), TypeError, "dtype object"),
    "text": (lambda: encode(np.array([["a", "b"]]), D, 0.1), TypeError, "dtype"),
    "ragged list": (lambda: encode([[1.0], [1.0, 2.0]], D, 0.1), TypeError, "not an array"),
    "float16": (lambda: encode(X.astype(np.float16), D, 0.1), TypeError, "float16, too coarse"),
    "bfloat16": (
        lambda: encode(torch.tensor(X).bfloat16(), torch.tensor(D), 0.1),
        TypeError,
        "bfloat16, too coarse",
    ),
    "sparse torch": (
        lambda: encode(torch.tensor(X).to_sparse(), torch.tensor(D), 0.1),
        TypeError,
        "sparse.*to_dense",
    ),
    "numpy and torch": (lambda: encode(X, torch.tensor(D), 0.1), TypeError, "numpy.*torch.*same"),
    "another device": (
        lambda: encode(torch.tensor(X), torch.tensor(D, device="meta"), 0.1),
        (ValueError, NotImplementedError, RuntimeError),
        "meta",
    ),
    "l1 missing": (lambda: encode(X, D), ValueError, "l1.*missing"),
    "l1 zero": (lambda: encode(X, D, 0.0), ValueError, "positive.*got 0.0"),
    "l1 negative": (lambda: encode(X, D, -0.1), ValueError, "positive.*got -0.1"),
    "l1 NaN": (lambda: encode(X, D, float("nan")), ValueError, "positive.*nan"),
    "l1 of wrong length": (lambda: encode(X, D, np.ones(4)), ValueError, "4 entries.*9 atoms"),
    "l1 with a zero": (lambda: encode(X, D, np.arange(9.0)), ValueError, "positive"),
    "l1 matrix": (lambda: encode(X, D, np.ones((5, 9))), ValueError, "one weight per atom"),
    "l1 text": (lambda: encode(X, D, "0.1"), TypeError, "l1 must be a positive number"),
    "l1 twice": (lambda: encode(X, D, 0.1, L1(0.2)), ValueError, "own weight"),
    "unknown penalty": (lambda: encode(X, D, 0.1, "lasso"), ValueError, "unknown penalty 'lasso'"),
    "penalty of no kind": (lambda: encode(X, D, 0.1, 3), TypeError, "penalty must be"),
    "penalty with settings": (
        lambda: encode(X, D, 0.1, "elastic-net"),
        ValueError,
        r"penalty=ElasticNet\(",
    ),
    "pools of wrong length": (
        lambda: encode(X, D, penalty=Group(1.0, [0, 1])),
        ValueError,
        "2 entries.*9 atoms",
    ),
    "k above the atoms": (lambda: encode(X, D, penalty=KSparse(10)), ValueError, "only 9 atoms"),
    "unknown solver": (lambda: encode(X, D, 0.1, solver="lars"), ValueError, "unknown solver"),
    "tol zero": (lambda: encode(X, D, 0.1, tol=0.0), ValueError, "tol must be positive"),
    "tol text": (lambda: encode(X, D, 0.1, tol="a"), TypeError, "tol"),
    "start of wrong shape": (
        lambda: encode(X, D, 0.1, start=np.zeros((5, 8))),
        ValueError,
        r"start must have shape \(5, 9\)",
    ),
    "start of other kind": (
        lambda: encode(X, D, 0.1, start=torch.zeros(5, 9)),
        TypeError,
        "same kind",
    ),
    "unknown output": (lambda: encode(X, D, 0.1, output="sparse"), ValueError, "'csr'"),
    "chunk zero": (lambda: encode(X, D, 0.1, chunk=0), ValueError, "chunk must be at least 1"),
    "threads text": (lambda: encode(X, D, 0.1, threads="2"), TypeError, "threads"),
    "iterations float": (lambda: encode(X, D, 0.1, max_iterations=1.5), TypeError, "integer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_clear_line(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def readonly(array):
    array = array.copy()
    array.flags.writeable = False
    return array


SAME_ANSWER = {
    "fortran order": lambda: (np.asfortranarray(X), np.asfortranarray(D)),
    "read-only": lambda: (readonly(X), readonly(D)),
    "strided": lambda: (np.repeat(X, 2, 0)[::2], np.repeat(D, 2, 1)[:, ::2]),
    "reversed strides": lambda: (X[::-1][::-1], D[:, ::-1][:, ::-1]),
    "lists": lambda: (X.tolist(), D.tolist()),
    "big endian": lambda: (X.astype(">f8"), D.astype(">f8")),
}


@pytest.mark.parametrize("solver", ["working-set", "fista"])
@pytest.mark.parametrize("name", SAME_ANSWER)
def test_memory_layout_does_not_matter(name, solver):
    codes = encode(*SAME_ANSWER[name](), 0.1, solver=solver)
    np.testing.assert_allclose(codes.z, encode(X, D, 0.1, solver=solver).z, atol=1e-12)


def test_transposed_torch_views_are_read_rightly():
    codes = encode(torch.tensor(X.T.copy()).T, torch.tensor(D.T.copy()).T, 0.1)
    np.testing.assert_allclose(codes.z.numpy(), encode(X, D, 0.1).z, atol=1e-12)


def test_tensors_that_need_gradients_are_read_as_data():
    codes = encode(torch.tensor(X, requires_grad=True), torch.tensor(D, requires_grad=True), 0.1)
    assert not codes.z.requires_grad


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8, bool])
def test_integers_and_bools_are_read_as_float64(dtype):
    whole = (abs(X) * 3).astype(dtype)
    codes = encode(whole, D, 0.1)
    assert codes.z.dtype == np.float64
    np.testing.assert_array_equal(codes.z, encode(whole.astype(float), D, 0.1).z)


@pytest.mark.parametrize("solver", ["working-set", "fista", "ista", "coordinate-descent"])
@pytest.mark.parametrize("output", ["dense", "csr"])
def test_an_empty_batch_gives_empty_codes(solver, output):
    codes = encode(X[:0], D, 0.1, solver=solver, output=output)
    assert codes.z.shape == (0, 9)
    assert codes.energy.shape == codes.gap.shape == codes.converged.shape == (0,)


def test_an_empty_batch_gives_empty_codes_for_every_penalty():
    for penalty in (KSparse(2), Group(0.1, [0, 0, 0, 1, 1, 1, 2, 2, 2]), ElasticNet(0.1, 0.1)):
        assert encode(X[:0], D, penalty=penalty).z.shape == (0, 9)


@pytest.mark.parametrize("solver", ["working-set", "fista", "ista", "coordinate-descent"])
def test_zero_and_constant_signals(solver):
    signals = np.stack([np.zeros(6), np.ones(6), -1e-30 * np.ones(6)])
    codes = encode(signals, D, 0.1, solver=solver)
    assert codes.converged.all()
    assert not codes.z[[0, 2]].any()
    assert codes.gap[0] == 0.0
    warm = encode(signals, D, 0.1, solver=solver, start=np.ones((3, 9)))
    assert not warm.z[0].any()


@pytest.mark.parametrize("solver", ["working-set", "fista", "coordinate-descent"])
def test_zero_and_duplicate_atoms(solver):
    odd = np.concatenate([D, D[:, :3], -D[:, 3:5], np.zeros((6, 2))], 1)
    codes = encode(X, odd, 0.1, solver=solver, tol=1e-8)
    assert codes.converged.all()
    assert not codes.z[:, -2:].any()
    np.testing.assert_allclose(codes.energy, encode(X, D, 0.1, tol=1e-8).energy, rtol=1e-7)


def test_a_dictionary_of_zeros_gives_zero_codes():
    for solver in ("working-set", "fista", "ista", "coordinate-descent"):
        codes = encode(X, np.zeros((6, 3)), 0.1, solver=solver)
        assert codes.converged.all()
        assert not codes.z.any()


def test_duplicate_atoms_in_matching_pursuit():
    codes = encode(X, np.concatenate([D, D, np.zeros((6, 1))], 1), 4, "k-sparse")
    np.testing.assert_allclose(codes.energy, encode(X, D, 4, "k-sparse").energy, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e12])
def test_signals_and_atoms_of_any_scale(scale):
    one = encode(X, D, 0.1)
    np.testing.assert_allclose(encode(scale * X, D, 0.1 * scale).z, scale * one.z, rtol=1e-6)
    np.testing.assert_allclose(encode(X, scale * D, 0.1 * scale).z, one.z / scale, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_cuda_mixed_is_refused():
    with pytest.raises(ValueError, match=r"X is on cpu but D is on cuda"):
        encode(torch.tensor(X), torch.tensor(D, device="cuda"), 0.1)
    with pytest.raises(ValueError, match=r"working-set.*cuda"):
        encode(torch.tensor(X).cuda(), torch.tensor(D).cuda(), 0.1, solver="working-set")
