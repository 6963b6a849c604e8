"""Saving passes over memory changes no number, writes over nothing that is read again."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.curvature import ggn, hessian
from thalweg.curvature.tangent import Tangent
from thalweg.models import CharTransformer

F64 = torch.float64
aten = torch.ops.aten


def names(graph) -> list[str]:
    return [str(n.target) for n in graph.graph.nodes if n.op == "call_function"]


def recorded(function, v, rest, thrift=True):
    return Tangent(lambda v, rest: (rest[0].sum(), function(v, rest)), v, rest, thrift)


def test_factors_that_do_not_move_are_multiplied_once_and_kept() -> None:
    g = torch.Generator().manual_seed(0)
    v, p, q = (torch.randn(4, 3, generator=g, dtype=F64) for _ in range(3))
    record = recorded(lambda v, rest: (v[0] * rest[0] * 2.0 * rest[1],), (v,), (p, q))
    assert names(record.lean).count("aten.mul.Tensor") == 1
    kept, _ = record.keep((p, q))
    assert any(torch.allclose(t, 2 * p * q) for t in kept)
    torch.testing.assert_close(record((v,), kept)[0], 2 * v * p * q)


def test_the_slope_of_gelu_is_computed_once() -> None:
    v, x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=F64)

    def product(v, rest):
        return (torch.func.jvp(F.gelu, (rest[0],), (v[0],))[1],)

    record = recorded(product, (v,), (x,))
    assert not any("gelu" in name for name in names(record.lean))
    kept, _ = record.keep((x,))
    torch.testing.assert_close(record((v,), kept)[0], product((v,), (x,))[0])


def test_sums_of_matrix_products_are_one_pass() -> None:
    g = torch.Generator().manual_seed(0)
    v, a, b = (torch.randn(4, 4, generator=g, dtype=F64) for _ in range(3))
    record = recorded(lambda v, rest: (v[0] @ rest[0] + rest[1] @ v[0],), (v,), (a, b))
    assert sorted(names(record.lean)) == ["aten.addmm_.default", "aten.mm.default"]
    kept, _ = record.keep((a, b))
    torch.testing.assert_close(record((v,), kept)[0], v @ a + b @ v)


STEPS = ("add", "sub", "mul", "square root", "view", "transpose", "old", "twice", "sum")


@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=9), st.integers(0, 5))
@settings(deadline=None, max_examples=15)
def test_nothing_that_is_read_again_is_written_over(steps, seed) -> None:
    g = torch.Generator().manual_seed(seed)
    v, p, q = (torch.rand(4, 4, generator=g, dtype=F64) + 0.5 for _ in range(3))

    def function(v, rest):
        """Linear in v, with views, sums and tensors that are used late and often."""
        now, seen = v[0] * rest[0], [v[0]]
        for step in steps:
            seen.append(now)
            if step == "add":
                now = now + seen[0] * rest[1]
            elif step == "sub":
                now = now - seen[len(seen) // 2]
            elif step == "mul":
                now = now * rest[1]
            elif step == "square root":
                now = now / rest[0].sqrt()
            elif step == "view":
                now = now.reshape(2, 8) * 3
                now = now.view(4, 4)
            elif step == "transpose":
                now = now.t() @ rest[1] + now
            elif step == "old":
                now = seen[0] + now
            elif step == "twice":
                now = now + now
            else:
                now = now - now.sum(1, keepdim=True)
        return (now, *seen[1:])

    record = recorded(function, (v,), (p, q))
    plain = recorded(function, (v,), (p, q), thrift=False)
    kept, same = record.keep((p, q))[0], plain.keep((p, q))[0]
    before = [t.clone() for t in kept]
    w = v.clone()
    first = [t.clone() for t in record((w,), kept)]
    again = record((w,), kept)
    for a, b, c, d in zip(first, again, plain((v,), same), function((v,), (p, q)), strict=True):
        torch.testing.assert_close(a, d, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(c, d, rtol=1e-11, atol=1e-11)
        assert torch.equal(a, b)
    assert torch.equal(w, v)
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))


@pytest.mark.parametrize("operator", [hessian, ggn])
def test_products_of_a_transformer_are_those_of_backward_graphs(operator) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CharTransformer(7, context=5, width=8, heads=2, layers=1).double()
    x, y = torch.randint(0, 7, (2, 6, 5), generator=torch.Generator().manual_seed(1))

    def loss(z, y):
        return F.cross_entropy(z.flatten(0, 1), y.flatten())

    v = torch.randn(sum(p.numel() for p in net.parameters()), 3, dtype=F64)
    split = operator(net, loss, (x, y), engine="split")
    wanted = operator(net, loss, (x, y), engine="graph") @ v
    torch.testing.assert_close(split @ v, wanted, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(split @ v[:, 0], wanted[:, 0], rtol=1e-9, atol=1e-11)
    record = next(iter(split._engine.records.values()))
    assert record.lean is not record.linear
    assert any(name.endswith("_.default") for name in names(record.lean))


def test_a_record_that_saving_breaks_is_made_again_as_it_was(monkeypatch) -> None:
    def wrong(graph, moves) -> None:
        for node in list(graph.nodes):
            if node.target is aten.mm.default:
                node.args = (node.args[0], node.args[0])

    monkeypatch.setattr("thalweg.curvature.tangent.overwrite", wrong)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    op = hessian(net, F.mse_loss, (x, x), engine="split")
    v = torch.randn(op.shape[0], generator=torch.Generator().manual_seed(1), dtype=F64)
    wanted = hessian(net, F.mse_loss, (x, x), engine="graph") @ v
    torch.testing.assert_close(op @ v, wanted, rtol=1e-9, atol=1e-12)
    record = next(iter(op._engine.records.values()))
    assert record.lean is record.linear


def test_blocks_of_a_recurrent_net_print_no_warnings_of_torch(capfd) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.end = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x):
            return self.end(self.cell(x)[0][:, -1])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Last().double()
    x = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    y = torch.tensor([0, 1, 1, 0])
    op = hessian(net, F.cross_entropy, (x, y), engine="split")
    v = torch.randn(op.shape[0], 8, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = op @ v
    wanted = hessian(net, F.cross_entropy, (x, y), engine="graph") @ v
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert "batching rule" not in capfd.readouterr().err
