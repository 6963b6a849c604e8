"""Whose Hessian products are right? All methods beside a dense float64 Hessian of a small network.

    OMP_NUM_THREADS=1 python benchmarks/surface_truth.py

The transformer of ``surface_products.py`` at 1,112 weights, same layers, float64: the dense Hessian
by double backward, itself checked by differences of the gradient. Rows that differ by more than
rounding are named. Last, ``jvp`` of ``grad`` and ``jvp`` of ``jacrev`` of one layer norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from surface_problems import (
    Case,
    Times,
    curvlinops,
    eigenthings,
    forward_over_reverse,
    graph_kept,
    loss,
    plain_attention,
    twice_backward,
)
from torch import Tensor
from torch.func import functional_call, grad, jacrev, jvp

from thalweg.curvature import hessian
from thalweg.models import CharTransformer

ROUNDING = 1e-12


def small() -> Case:
    """The transformer, narrow."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CharTransformer(11, context=6, width=8, heads=2, layers=1).double().eval()
    x, y = torch.randint(0, 11, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    return Case("small transformer", model, (x, y), (5,))


def dense(case: Case) -> tuple[Tensor, float]:
    """The Hessian, and how far differences of the gradient are from one product with it."""
    named = dict(case.model.named_parameters())
    w = torch.cat([p.detach().reshape(-1) for p in named.values()])

    def f(w: Tensor) -> Tensor:
        parts = w.split([p.numel() for p in named.values()])
        theta = {n: t.view_as(p) for (n, p), t in zip(named.items(), parts, strict=True)}
        return loss(functional_call(case.model, theta, (case.data[0],)), case.data[1])

    def gradient(w: Tensor) -> Tensor:
        at = w.clone().requires_grad_()
        return torch.autograd.grad(f(at), at)[0]

    h: Any = torch.autograd.functional.hessian(f, w)
    v = torch.randn(len(w), generator=torch.Generator().manual_seed(1), dtype=w.dtype)
    step = 1e-5
    differences = (gradient(w + step * v) - gradient(w - step * v)) / (2 * step)
    return h, float((differences - h @ v).norm() / (h @ v).norm())


def ours(engine: str) -> Callable[[Case, Any], Times]:
    """Our operator."""

    def make(case: Case, batches: Any) -> Times:
        op = hessian(case.model, loss, case.data, engine=engine)
        return lambda v: op @ v

    return make


def layer_norm() -> dict[str, float]:
    """The weight's row of one layer norm's Hessian, by two compositions of torch.func."""
    g = torch.Generator().manual_seed(0)
    x, w, a, v, u = (torch.randn(s, generator=g, dtype=torch.float64)
                     for s in ((6, 4), (4,), (4, 4), (4,), (4, 4)))  # fmt: skip

    def f(w: Tensor, a: Tensor) -> Tensor:
        return F.layer_norm(x @ a, (4,), w).tanh().square().sum()

    at = [t.clone().requires_grad_() for t in (w, a)]
    first = torch.autograd.grad(f(*at), at, create_graph=True)
    exact = torch.autograd.grad(first, at, (v, u))[0]
    found = {}
    for name, derivative in (("jvp of grad", grad), ("jvp of jacrev", jacrev)):
        row = jvp(derivative(f, (0, 1)), (w, a), (v, u))[1][0]  # pyrefly: ignore
        found[name] = float((row - exact).norm() / exact.norm())
    return found


def main() -> None:
    torch.set_num_threads(1)
    case = small()
    h, gap = plain_attention(lambda: dense(case))()
    print(f"{case.name}, {case.p} weights; differences of the gradient: off {gap:.1e}")
    v = torch.randn(case.p, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    methods: dict[str, Callable[[Case, Any], Times]] = {
        "double backward": twice_backward,
        "graph kept": graph_kept,
        "torch.func": forward_over_reverse,
        "curvlinops": curvlinops("HessianLinearOperator"),
        "hessian-eigenthings": eigenthings("HessianOperator"),
        "thalweg graph": ours("graph"),
        "thalweg split": ours("split"),
    }
    for name, make in methods.items():

        def product(make: Any = make) -> Tensor:
            return make(case, case.batches(5))(v).detach().reshape(-1).double()

        try:
            off = plain_attention(product)() - h @ v
        except (ImportError, RuntimeError) as error:
            print(f"{name:20} left out: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
            continue
        size = float((h @ v).norm())
        parts = off.split([p.numel() for p in case.weights])
        names = [n for n, _ in case.model.named_parameters()]
        wrong = [n for n, t in zip(names, parts, strict=True) if float(t.norm()) > ROUNDING * size]
        print(f"{name:20} off {float(off.norm()) / size:.1e}  {', '.join(wrong)}")
    for name, off in layer_norm().items():
        print(f"layer norm, {name:14} weight's row off {off:.1e}")


if __name__ == "__main__":
    main()
