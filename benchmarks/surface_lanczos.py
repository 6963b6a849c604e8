"""How long until λmax, the top ten and a density are known, beside what others do?

    OMP_NUM_THREADS=1 python benchmarks/surface_lanczos.py [lenet transformer] [--rounds 3]

CPU seconds of this process on one thread, interleaved, every operator at its own best chunk size,
trained weights (a few passes of Adam, so that the top stands out). Ours contains everything: the
choice of chunk size and engine, set-up, checks of the loss; ``without set-up`` is a second call on
the same operator. Others get their fastest product that is kept between calls (the graph of the
gradient) or, in the row of its name, their own:

- power iteration as PyHessian does it, on the kept graph, until two values differ by 1e-3;
- ARPACK (``scipy.sparse.linalg.eigsh``) on the kept graph and on curvlinops' operator;
- hessian-eigenthings' Lanczos and spectral density on its own operator.

Errors are against our values at tolerance 1e-6, which lie within their residuals of eigenvalues for
certain.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from race_plain import keep, load
from scipy.sparse.linalg import LinearOperator as Scipy
from scipy.sparse.linalg import eigsh
from surface_problems import (
    Case,
    Times,
    best,
    case,
    cpu,
    curvlinops,
    eigenthings,
    graph_kept,
    loss,
    plain_attention,
    ratio,
)

from thalweg.curvature import hessian
from thalweg.linalg import eigenvalues, spectral_density

STEPS = 50  # of one quadrature probe


@dataclass(frozen=True)
class Row:
    """Something that answers a question: fresh builds it, again asks what was built."""

    fresh: Callable[[], Any]
    again: Callable[[Any], np.ndarray]


def trained(name: str) -> Case:
    """A few passes of Adam on separable data."""
    problem = case(name)
    x, y = problem.data
    if name == "lenet":
        means = torch.randn(10, *x.shape[1:], generator=torch.Generator().manual_seed(2))
        x.add_(means[y])
    optimizer = torch.optim.Adam(problem.weights, 1e-3)
    for _ in range(4):
        for a, b in problem.batches(64 if name == "lenet" else 8):
            optimizer.zero_grad()
            loss(problem.model(a), b).backward()
            optimizer.step()
    optimizer.zero_grad()
    return problem


def power(times: Times, p: int) -> np.ndarray:
    """PyHessian's rule: stop when two estimates in a row differ by less than 1e-3."""
    v = torch.randn(p, generator=torch.Generator().manual_seed(0))
    v /= v.norm()
    old = None
    for _ in range(100):
        w = times(v)
        new = float(v @ w)
        v = w / w.norm()
        if old is not None and abs(new - old) / (abs(old) + 1e-6) < 1e-3:
            break
        old = new
    return np.array([new])


def arpack(times: Times, p: int, k: int) -> np.ndarray:
    """``eigsh`` at its tolerance 1e-3."""

    def product(v: np.ndarray) -> np.ndarray:
        return times(torch.from_numpy(np.ascontiguousarray(v.reshape(-1), np.float32))).numpy()

    op = Scipy((p, p), matvec=product, dtype=np.float32)
    rng = np.random.default_rng(0)
    return np.sort(eigsh(op, k, which="LA", tol=1e-3, v0=rng.normal(size=p))[0])[::-1]


def rows(problem: Case) -> dict[str, dict[str, Row]]:
    """Question, method."""
    p = problem.p
    first = torch.randn(p, generator=torch.Generator().manual_seed(1))

    def chosen(make: Any) -> int:
        def single(c: Case, b: Any) -> Any:
            times = plain_attention(lambda: make(c, b))()
            return plain_attention(lambda: times(first))

        return best(problem, single).size

    peers: dict[str, Callable[[], Times]] = {}
    for name, make in (
        ("graph kept", graph_kept),
        ("curvlinops", curvlinops("HessianLinearOperator")),
    ):
        try:
            size = chosen(make)
        except ImportError as error:
            print(f"{name} left out: {error}")
            continue
        peers[name] = lambda make=make, size=size: make(problem, problem.batches(size))

    def fresh() -> Any:
        return hessian(problem.model, loss, problem.data)

    def values(k: int) -> Callable[[Any], np.ndarray]:
        return lambda op: eigenvalues(op, k).values.numpy()

    found: dict[str, dict[str, Row]] = {
        "largest": {"thalweg": Row(fresh, values(1))},
        "top ten": {"thalweg": Row(fresh, values(10))},
        "one probe": {"thalweg": Row(fresh, lambda op: _probe(op))},
    }
    if "graph kept" in peers:
        found["largest"]["power iteration"] = Row(peers["graph kept"], lambda t: power(t, p))
        for question, k in (("largest", 1), ("top ten", 10)):
            found[question]["eigsh, graph kept"] = Row(
                peers["graph kept"], lambda t, k=k: arpack(t, p, k)
            )
    if "curvlinops" in peers:
        found["largest"]["eigsh, curvlinops"] = Row(peers["curvlinops"], lambda t: arpack(t, p, 1))
    _eigenthings(problem, found, chosen)
    return found


def _probe(op: Any) -> np.ndarray:
    density = spectral_density(op, probes=1, steps=STEPS)
    return np.array([density.mean(lambda x: x)[0] * density.p])


def _eigenthings(problem: Case, found: dict[str, dict[str, Row]], chosen: Any) -> None:
    try:
        import hessian_eigenthings as peer

        size = chosen(eigenthings("HessianOperator"))
    except ImportError as error:
        print(f"hessian-eigenthings left out: {error}")
        return

    def make() -> Any:
        times = eigenthings("HessianOperator")(problem, problem.batches(size))
        return times.__self__

    def top(op: Any) -> np.ndarray:
        values = peer.lanczos(op, k=10, tol=1e-3, which="LA", seed=0).eigenvalues
        return np.sort(np.asarray(values))[::-1]

    def probe(op: Any) -> np.ndarray:
        peer.spectral_density(op, num_runs=1, lanczos_steps=STEPS, seed=0)
        return np.array([np.nan])

    found["top ten"]["hessian-eigenthings"] = Row(make, top)
    found["one probe"]["hessian-eigenthings"] = Row(make, probe)


def measure(name: str, rounds: int) -> dict[str, Any]:
    problem = trained(name)
    exact = eigenvalues(hessian(problem.model, loss, problem.data), 10, tol=1e-6)
    answers = {}
    for question, methods in rows(problem).items():
        times: dict[str, list[float]] = {m: [] for m in methods}
        again: dict[str, list[float]] = {m: [] for m in methods}
        off: dict[str, float] = {}
        for _ in range(rounds):
            for method, row in methods.items():
                held: list[Any] = []
                kept: list[np.ndarray] = []

                def whole(row: Row = row, held: Any = held, kept: Any = kept) -> None:
                    held.append(row.fresh())
                    kept.append(row.again(held[0]))

                times[method].append(cpu(plain_attention(whole)))
                again[method].append(
                    cpu(plain_attention(lambda row=row, held=held: row.again(held[0])))
                )
                if question != "one probe":
                    true = exact.values.numpy()[: len(kept[0])]
                    off[method] = float(np.max(np.abs(kept[0] - true) / np.abs(true)))
        answers[question] = {}
        for method in methods:
            entry = {
                "seconds": median(times[method]),
                "without set-up": median(again[method]),
                "off": off.get(method),
                "ours is faster": ratio(times[method], times["thalweg"]),
                "ours without set-up is faster": ratio(again[method], again["thalweg"]),
            }
            answers[question][method] = entry
            print(
                f"{name:12} {question:10} {method:22} {entry['seconds']:7.2f} s, again "
                f"{entry['without set-up']:7.2f} s, {entry['ours is faster']:5.2f}x / "
                f"{entry['ours without set-up is faster']:5.2f}x ours, off {entry['off']}",
                flush=True,
            )
    return {"parameters": problem.p, "samples": len(problem.data[0]), "rounds": rounds,
            "load": load(), "top ten": exact.values.tolist(),
            "residuals": exact.residuals.tolist(), "rows": answers}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["lenet", "transformer"])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in given.names:
        keep("surface_lanczos", **{name: measure(name, given.rounds)})


if __name__ == "__main__":
    main()
