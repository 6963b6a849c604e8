"""Which engine answers products: recorded at once where many are announced; compiled if true."""

from __future__ import annotations

import shutil

import pytest
import torch

from thalweg.curvature import choose, hessian
from thalweg.linalg import ScaledOperator, eigenvalues, spectral_density

F64 = torch.float64


@pytest.fixture
def records(monkeypatch):
    """How often something was recorded."""
    made = []

    class Counted(choose.SplitEngine):
        def __init__(self, *args, **options) -> None:
            made.append(args)
            super().__init__(*args, **options)

    monkeypatch.setattr(choose, "SplitEngine", Counted)
    return made


def test_products_announced_are_recorded_for_before_the_first(make_net, records, monkeypatch):
    net = make_net("mlp")
    exact = hessian(net.model, net.loss, net.data, engine="graph")
    v = torch.randn(exact.shape[0], generator=torch.Generator().manual_seed(0), dtype=F64)
    for recording, times in ((0.0, 1), (1e6, 0)):
        monkeypatch.setattr(choose, "TRACE", recording)
        records.clear()
        op = hessian(net.model, net.loss, net.data)
        op.expect(10)
        assert torch.allclose(op @ v, exact @ v, rtol=1e-9, atol=1e-12)
        assert len(records) == times
        op @ v  # tried once, not again
        assert len(records) == times


@pytest.mark.parametrize(
    "ask",
    [
        lambda op: eigenvalues(op, 3),
        lambda op: spectral_density(op, probes=2, steps=5),
        lambda op: eigenvalues(ScaledOperator(op, torch.ones(op.shape[0], dtype=F64))),
    ],
)
def test_whoever_needs_many_products_says_so(make_net, records, monkeypatch, ask):
    net = make_net("mlp")
    monkeypatch.setattr(choose, "TRACE", 0.0)
    monkeypatch.setattr(choose, "PATIENCE", 1e6)  # nothing but the announcement makes one
    ask(hessian(net.model, net.loss, net.data))
    assert len(records) == 1


def test_nothing_announced_nothing_recorded(make_net, records, monkeypatch):
    net = make_net("mlp")
    monkeypatch.setattr(choose, "TRACE", 0.0)
    monkeypatch.setattr(choose, "PATIENCE", 1e6)
    op = hessian(net.model, net.loss, net.data)
    for _ in range(3):
        op @ torch.ones(op.shape[0], dtype=F64)
    assert not records
    assert op.engine == "graph"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++)")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
def test_compiled_products_equal_brute_force(make_net, dense, dense_hessian):
    net = make_net("mlp")
    op = hessian(net.model, net.loss, net.data, engine="compiled")
    found = torch.stack([op @ v for v in torch.eye(op.shape[0], dtype=F64)])
    assert op.engine == "compiled"
    exact = dense_hessian(net)
    assert float((found - exact).abs().max()) <= 1e-8 * max(1.0, float(exact.abs().max()))


def broken(graph, **_):
    raise RuntimeError("no compiler here")


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        (lambda graph, **_: lambda *v: tuple(1.3 * t for t in graph(*v)), "products are 0.3 off"),
        (broken, "RuntimeError: no compiler here"),
    ],
)
def test_a_compiler_that_lies_or_fails_is_not_used(make_net, monkeypatch, compiler, why):
    net = make_net("lenet")
    exact = hessian(net.model, net.loss, net.data, engine="split")
    v = torch.randn(exact.shape[0], generator=torch.Generator().manual_seed(0), dtype=F64)
    monkeypatch.setattr(torch, "compile", compiler)
    op = hessian(net.model, net.loss, net.data, engine="compiled")
    with pytest.warns(UserWarning, match=why):
        found = op @ v
    assert torch.equal(found, exact @ v)
    assert op.engine == "split"
    assert why in op.notes[-1]
