"""What does one product with the Hessian or the Gauss-Newton matrix cost, in gradients?

    OMP_NUM_THREADS=1 python benchmarks/surface_products.py [lenet transformer resnet] [--rounds 7]

CPU seconds of this process on one thread, every method at its own best chunk size, all methods and
the gradient interleaved; a figure is the median of paired ratios to the gradient. Set-up (tracing,
kept graphs) stands apart, in gradients as well. Blocks are 8 vectors at once, the figure is for one
of them. Every method's product is compared with that of plain double backward: ``off`` is the
difference relative to its norm. curvlinops is 2e-3 off on the transformer because it differentiates
``jacrev``, whose batched backward pass of layer norm has a wrong forward-mode derivative (torch
2.13): the rows of the layer norms' weights are wrong, its matrix is not symmetric.
``benchmarks/surface_truth.py`` shows it beside a dense float64 Hessian; ours is 6e-16 off that.

Peers, where they are installed: curvlinops, hessian-eigenthings; PyHessian's product of one batch
is the row "graph kept". Peers run under the attention kernel that can be differentiated twice;
without it they fail.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from race_plain import keep, load
from surface_problems import (
    Batches,
    Case,
    Times,
    best,
    case,
    cpu,
    curvlinops,
    eigenthings,
    forward_over_reverse,
    ggn_func,
    gradient,
    graph_kept,
    interleaved,
    loss,
    plain_attention,
    ratio,
    twice_backward,
)

from thalweg.curvature import ggn, hessian

BLOCK = 8


def ours(operator: Callable[..., Any], engine: str) -> Callable[[Case, Batches], Times]:
    """Our operator at one chunk size."""

    def make(case: Case, batches: Batches) -> Times:
        op = operator(case.model, loss, case.data, chunk=len(batches[0][0]), engine=engine)
        return lambda v: op @ v

    return make


METHODS: dict[str, dict[str, Callable[[Case, Batches], Times]]] = {
    "hessian": {
        "double backward": twice_backward,
        "graph kept": graph_kept,
        "torch.func": forward_over_reverse,
        "curvlinops": curvlinops("HessianLinearOperator"),
        "hessian-eigenthings": eigenthings("HessianOperator"),
        "thalweg graph": ours(hessian, "graph"),
        "thalweg split": ours(hessian, "split"),
        "thalweg compiled": ours(hessian, "compiled"),
    },
    "ggn": {
        "torch.func": ggn_func,
        "curvlinops": curvlinops("GGNLinearOperator"),
        "hessian-eigenthings": eigenthings("GGNOperator"),
        "thalweg graph": ours(ggn, "graph"),
        "thalweg split": ours(ggn, "split"),
        "thalweg compiled": ours(ggn, "compiled"),
    },
}
BLOCKS = ("curvlinops", "thalweg split")  # those that multiply several vectors together


def measure(
    name: str, kind: str, rounds: int, samples: int | None, compiled: bool
) -> dict[str, Any]:
    problem = case(name, samples)
    g = torch.Generator().manual_seed(1)
    many = torch.randn(problem.p, BLOCK, generator=g)
    v = many[:, 0].contiguous()
    plain = best(problem, lambda c, b: lambda: gradient(c, b))
    unit = median(cpu(plain.work) for _ in range(5))
    works: dict[str, Callable[[], Any]] = {"gradient": plain.work}
    rows: dict[str, dict[str, Any]] = {"gradient": {"chunk": plain.size}}
    exact = None
    for method, make in METHODS[kind].items():
        if method == "thalweg compiled" and not compiled:
            continue
        key = method
        made: dict[int, Times] = {}

        def single(c: Case, b: Batches, make: Any = make, made: Any = made) -> Any:
            times = made[len(b[0][0])] = plain_attention(lambda: make(c, b))()
            return plain_attention(lambda: times(v))

        def block(c: Case, b: Batches, made: Any = made) -> Any:
            times = made[len(b[0][0])]
            return plain_attention(lambda: times(many))

        try:
            chosen = best(problem, single)
        except ImportError as error:
            print(f"{name} {kind:8} {key:32} left out: {error}")
            continue
        works[key] = chosen.work
        found = chosen.work().detach().reshape(-1)
        exact = found if exact is None else exact
        off = float((found - exact).norm() / exact.norm())
        rows[key] = {"chunk": chosen.size, "off": off, "set-up": chosen.set_up / unit}
        if method in BLOCKS:
            wide = best(problem, block)
            works[f"{key}, blocks of {BLOCK}"] = wide.work
            rows[f"{key}, blocks of {BLOCK}"] = {"chunk": wide.size, "off": off}
    times = interleaved(works, rounds)
    for key, row in rows.items():
        share = BLOCK if key.endswith(f"blocks of {BLOCK}") else 1
        each = [t / share for t in times[key]]
        row |= {"seconds": median(each), "gradients": ratio(each, times["gradient"])}
        text = f"{name} {kind:8} {key:32} {row['gradients']:6.2f} gradients, chunk {row['chunk']}"
        if "set-up" in row:
            text += f", set-up {row['set-up']:.1f}"
        print(text + (f", off {row['off']:.1e}" if "off" in row else ""), flush=True)
    return {"parameters": problem.p, "samples": len(problem.data[0]), "rounds": rounds,
            "load": load(), "rows": rows}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["lenet", "transformer", "resnet"])
    parser.add_argument("--kind", choices=tuple(METHODS), nargs="*", default=list(METHODS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, help="only the first so many")
    parser.add_argument(
        "--compiled", action="store_true", help="ours through torch.compile as well: minutes more"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        for kind in given.kind:
            found = measure(name, kind, given.rounds, given.samples, given.compiled)
            keep("surface_products", **{f"{name} {kind}": found})


if __name__ == "__main__":
    main()
