import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.sparse import ElasticNet, encode

N, M, B = 16, 24, 21


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    D = rng.standard_normal((N, M))
    return rng.standard_normal((B, N)), D / np.linalg.norm(D, axis=0)


def test_importing_the_package_stays_light():
    code = "import sys, thalweg.sparse as s; s.SOLVERS.names(); print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numba", "sklearn", "numpy"} & set(out.stdout.split())


@pytest.mark.parametrize("solver", ["working-set", "fista"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kind_and_dtype_follow_the_input(data, dtype, solver):
    X, D = (a.astype(dtype) for a in data)
    here = encode(X, D, 0.2, solver=solver)
    there = encode(torch.tensor(X), torch.tensor(D), 0.2, solver=solver)
    assert here.z.dtype == np.dtype(dtype)
    assert there.z.dtype == getattr(torch, dtype)
    for field in ("z", "energy", "gap", "iterations", "converged"):
        assert isinstance(getattr(here, field), np.ndarray)
        assert isinstance(getattr(there, field), torch.Tensor)
    assert here.z.shape == (B, M)
    assert here.energy.shape == here.gap.shape == here.converged.shape == (B,)
    np.testing.assert_array_equal(here.z, there.z.numpy())
    assert here.converged.all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_tensors_stay_there_and_agree(data):
    X, D = (torch.tensor(a, device="cuda") for a in data)
    codes = encode(X, D, 0.2)
    assert codes.z.is_cuda
    assert codes.gap.is_cuda
    np.testing.assert_allclose(codes.energy.cpu(), encode(*data, 0.2).energy, rtol=1e-6)


@pytest.mark.parametrize("solver", ["working-set", "fista"])
def test_chunks_and_threads_do_not_change_the_answer(data, solver):
    whole = encode(*data, 0.2, solver=solver)
    for chunk, threads in ((1, 1), (5, 1), (7, 2), (100, 3)):
        parts = encode(*data, 0.2, solver=solver, chunk=chunk, threads=threads)
        np.testing.assert_allclose(parts.energy, whole.energy, rtol=1e-6)
        assert parts.converged.all()


def test_threads_split_a_large_batch_without_changing_a_bit():
    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((300, N)), rng.standard_normal((N, M))
    np.testing.assert_array_equal(encode(X, D, 0.5, threads=1).z, encode(X, D, 0.5, threads=3).z)


def test_python_threads_may_call_at_once(data):
    found = {}

    def work(i):
        found[i] = encode(*data, 0.2, threads=2).z

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(1, 4):
        np.testing.assert_array_equal(found[i], found[0])


def test_csr_equals_dense_and_holds_no_zeros(data):
    dense = encode(*data, 0.4)
    rows = encode(*data, 0.4, output="csr", chunk=4)
    assert scipy.sparse.issparse(rows.z)
    assert rows.z.format == "csr"
    assert rows.z.nnz == (dense.z != 0).sum()
    np.testing.assert_allclose(rows.z.toarray(), dense.z, atol=1e-14)
    X, D = (torch.tensor(a) for a in data)
    tensor = encode(X, D, 0.4, output="csr").z
    assert tensor.layout == torch.sparse_csr
    np.testing.assert_allclose(tensor.to_dense().numpy(), dense.z, atol=1e-14)


def test_progress_counts_up_to_the_number_of_samples(data):
    seen = []
    encode(*data, 0.2, chunk=8, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, B), (16, B), (B, B)]


def test_inputs_are_not_written_to(data):
    X, D = (a.copy() for a in data)
    start = np.ones((B, M))
    for solver in ("working-set", "fista", "ista", "coordinate-descent"):
        encode(X, D, 0.2, solver=solver, start=start, max_iterations=5)
    np.testing.assert_array_equal(X, data[0])
    np.testing.assert_array_equal(D, data[1])
    assert (start == 1).all()


def test_answers_repeat_bit_for_bit(data):
    np.testing.assert_array_equal(encode(*data, 0.2).z, encode(*data, 0.2).z)


seeds = st.integers(0, 2**20)


def random_problem(seed, n=8, m=12):
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n, m))
    return rng.standard_normal((3, n)), D / np.linalg.norm(D, axis=0), rng


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(1e-3, 1e3), st.sampled_from(["working-set", "fista"]))
def test_scaling_signals_and_weight_scales_the_energy_by_the_square(seed, c, solver):
    X, D, _ = random_problem(seed)
    one = encode(X, D, 0.3, solver=solver, tol=1e-9)
    many = encode(c * X, D, 0.3 * c, solver=solver, tol=1e-9)
    np.testing.assert_allclose(many.energy, c * c * one.energy, rtol=1e-8)


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(["l1", "non-negative", "elastic-net"]))
def test_permuting_atoms_permutes_codes(seed, penalty):
    X, D, rng = random_problem(seed)
    how = (None, ElasticNet(0.2, 0.3)) if penalty == "elastic-net" else (0.2, penalty)
    order = rng.permutation(D.shape[1])
    one, other = encode(X, D, *how, tol=1e-10), encode(X, D[:, order], *how, tol=1e-10)
    np.testing.assert_allclose(other.energy, one.energy, rtol=1e-9)
    np.testing.assert_allclose(other.z, one.z[:, order], atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_flipping_atoms_or_signals_flips_codes(seed):
    X, D, rng = random_problem(seed)
    flips = rng.choice([-1.0, 1.0], D.shape[1])
    one = encode(X, D, 0.2, tol=1e-10)
    np.testing.assert_allclose(encode(X, D * flips, 0.2, tol=1e-10).z, one.z * flips, atol=1e-4)
    np.testing.assert_allclose(encode(-X, D, 0.2, tol=1e-10).z, -one.z, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12), st.integers(1, 20), st.floats(1e-4, 2.0), st.booleans())
def test_any_shape_and_weight_is_certified(seed, n, m, l1, sided):
    rng = np.random.default_rng(seed)
    X, D = rng.standard_normal((4, n)), rng.standard_normal((n, m))
    D[:, rng.integers(m)] = D[:, 0]  # duplicates now and then
    codes = encode(X, D, l1, "non-negative" if sided else None)
    assert codes.converged.all(), codes.status
