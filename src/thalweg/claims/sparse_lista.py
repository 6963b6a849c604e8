"""Learned encoders: how many FISTA iterations a step of LISTA is worth, and what it can spare."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.claims.lista_data import L1, Data, natural, smooth
from thalweg.records_claims import Chart, Curve

NOTE = (
    "Code error: Σ‖z − z*‖² / Σ‖z*‖² on held-out patches. FISTA starts from zero with the largest "
    "eigenvalue of DᵀD; an encoder's place on the axis is its number of thresholds, T + 1."
)


def trained(
    data: Data, setting: Setting, name: str, encoder: Any, steps: int, start: Any = None
) -> tuple[Any, float]:
    """An encoder after ``steps`` steps of Adam, and its error on held-out signals."""
    from thalweg.sparse.encoders.comparison import code_error

    setting.progress(name)
    if start is not None:
        encoder.load_state_dict(start.state_dict())
    encoder.fit(data.X, data.codes, steps=steps, seed=setting.seed)
    return encoder, code_error(encoder.encode(data.held_out).double(), data.exact)


def _ladder(
    data: Data, setting: Setting, steps: dict[int, int], name: str, warm: bool
) -> dict[int, float]:
    """LISTA of growing depth, from ISTA's weights; ``warm``: depths above 1 from the one before."""
    from thalweg.sparse.encoders import LISTA, Shrinkage

    errors: dict[int, float] = {}
    last = None
    for depth, count in steps.items():
        made: Any = (
            LISTA(data.D.float(), L1, depth=depth) if depth else Shrinkage(data.D.float(), L1)
        )
        start = last if warm and depth > 1 else None
        last, errors[depth] = trained(data, setting, f"{name} T = {depth}", made, count, start)
    return errors


def _worth(data: Data, error: float) -> float:
    """FISTA's iterations to that error; infinite where it never gets there."""
    from thalweg.sparse.encoders.comparison import crossover

    found = crossover(data.fista, error)
    return float("inf") if found is None else float(found)


def _errors_chart(title: str, curves: list[Curve]) -> Chart:
    return Chart(title, "iteration", "code error", tuple(curves), x_log=True, y_log=True,
                 caption=NOTE)  # fmt: skip


def _pair(name: str, data: Data, errors: dict[int, float]) -> list[Curve]:
    count = range(1, len(data.fista) + 1)
    depths = sorted(errors)
    places, heights = [d + 1 for d in depths], [errors[d] for d in depths]
    return [
        curve(f"FISTA, {name}", count, data.fista),
        curve(f"LISTA, {name}", places, heights, "both"),
    ]


@claim(
    name="lista-fista",
    title="One LISTA step is worth 18 or 35 FISTA iterations",
    decks=("D0", "D1"),
    section="sparse#s4",
    says=(
        "On natural 10x10 patches FISTA needs 18 iterations (100 atoms) or 35 (400 atoms) to reach "
        "the code error of LISTA with one step."
    ),
    targets=(
        Target("iterations that T = 1 is worth, 100 atoms", 18, 8, source="[D], band of the spec"),
        Target("iterations that T = 1 is worth, 400 atoms", 35, 15, source="[D]"),
        Target("the second over the first", 1.0, 0.0, "at least", source="[D]"),
        Target("largest ratio of errors T over the T before", 1.0, 0.0, "at most", source="[D]"),
        Target("code error, 100 atoms, T = 0", relation="reported"),
        Target("code error, 100 atoms, T = 1", relation="reported"),
        Target("code error, 100 atoms, T = 3", relation="reported"),
        Target("code error, 100 atoms, T = 7", relation="reported"),
        Target("code error, 400 atoms, T = 0", relation="reported"),
        Target("code error, 400 atoms, T = 1", relation="reported"),
        Target("code error, 400 atoms, T = 3", relation="reported"),
        Target("code error, 400 atoms, T = 7", relation="reported"),
    ),
    seconds=900,
    needs=("natural-images",),
)
def lista_fista(setting: Setting) -> Outcome:
    """200,000 patches, Adam at 2e-3 with a cosine; deeper encoders start from shallower ones."""
    plans = {
        100: {0: 5000, 1: 8000, 3: 8000, 7: 6000},
        400: {0: 5000, 1: 8000, 3: 5000, 7: 3000},
    }
    curves, errors, worth = [], {}, {}
    for atoms, steps in plans.items():
        data = natural(setting, atoms)
        errors[atoms] = _ladder(data, setting, steps, f"{atoms} atoms,", warm=True)
        worth[atoms] = _worth(data, errors[atoms][1])
        curves += _pair(f"{atoms} atoms", data, errors[atoms])
    ratios = [
        found[deep] / found[flat]
        for found in errors.values()
        for flat, deep in ((0, 1), (1, 3), (3, 7))
    ]
    return Outcome(
        {
            "iterations that T = 1 is worth, 100 atoms": worth[100],
            "iterations that T = 1 is worth, 400 atoms": worth[400],
            "the second over the first": worth[400] / worth[100],
            "largest ratio of errors T over the T before": max(ratios),
            **{
                f"code error, {atoms} atoms, T = {depth}": error
                for atoms, found in errors.items()
                for depth, error in found.items()
            },
        },
        charts=(_errors_chart("Code error of FISTA and of LISTA", curves),),
        notes=(
            "Kodak photographs in place of the Berkeley ones of the paper; held-out patches come "
            "from photographs that no training patch came from.",
        ),
    )


@claim(
    name="lista-smooth-atoms",
    title="LISTA on made-up patches",
    decks=("D0", "D1"),
    section="sparse#s4",
    says=(
        "On patches of smooth random atoms too, one trained step is worth many FISTA iterations, "
        "and each further step lowers the error."
    ),
    targets=(
        Target("iterations that T = 1 is worth", 27, 13, source="[C], band of the spec"),
        Target("largest ratio of errors T over the T before", 1.0, 0.0, "at most", source="[D]"),
        Target("error of untrained T = 1 over FISTA's second iterate", 1.0, 1e-4, source="[C]"),
    ),
    seconds=25,
)
def lista_smooth_atoms(setting: Setting) -> Outcome:
    """100 atoms, six active, 20,000 patches, 2,000 steps and 4,000 for the deepest."""
    from thalweg.sparse.encoders import LISTA
    from thalweg.sparse.encoders.comparison import code_error

    data = smooth(setting)
    errors = _ladder(data, setting, {0: 2000, 1: 2000, 3: 4000}, "made-up patches,", warm=False)
    fresh = code_error(LISTA(data.D, L1, depth=1).encode(data.held_out), data.exact)
    return Outcome(
        {
            "iterations that T = 1 is worth": _worth(data, errors[1]),
            "largest ratio of errors T over the T before": max(
                errors[1] / errors[0], errors[3] / errors[1]
            ),
            # FISTA's first extrapolation has weight zero, so its second iterate is ISTA's
            "error of untrained T = 1 over FISTA's second iterate": fresh / data.fista[1],
        },
        charts=(_errors_chart("Code error on made-up patches", _pair("100 atoms", data, errors)),),
        reduced="made-up patches in place of natural ones",
    )


@claim(
    name="lista-fewer-connections",
    title="LISTA keeps its accuracy with a sparse or low-rank S",
    decks=("D0", "D1"),
    section="sparse#s4",
    says=(
        "Most entries of S can be removed, or S be factored at a low rank, at little loss after "
        "retraining."
    ),
    targets=(
        Target("error with half of S over that with all", 1.0, 0.1, "at most", source="[D]"),
        Target("error with a fifth of S over that with all", 1.0, 0.25, "at most", source="[D]"),
        Target("error at rank 50 over that with all", 1.0, 0.25, "at most", source="[D]"),
        Target("least error of a share over that of the next larger share", 1.0, 0.02, "at least",
               source="[C]"),
        Target("iterations that a tenth of S is worth", 10, 0, "at least", source="spec's band"),
        Target("untrained low rank minus dense at full rank", 0.0, 1e-10, source="[C]"),
    ),
    seconds=150,
    needs=("natural-images",),
)  # fmt: skip
def lista_fewer_connections(setting: Setting) -> Outcome:
    """100 atoms, T = 1, 4,000 steps each; the largest entries and the diagonal are kept."""
    from thalweg.sparse.encoders import LISTA

    data = natural(setting, 100, 100_000)
    D = data.D.float()
    shares, ranks = (1.0, 0.5, 0.2, 0.1, 0.05), (50, 25, 10)
    kept, low = {}, {}
    for keep in shares:
        made = LISTA(D, L1, depth=1, S_form="sparse", keep=keep)
        kept[keep] = trained(data, setting, f"keep {keep:g}", made, 4000)[1]
    for rank in ranks:
        made = LISTA(D, L1, depth=1, S_form="lowrank", rank=rank)
        low[rank] = trained(data, setting, f"rank {rank}", made, 4000)[1]
    dense = LISTA(data.D, L1, depth=3)
    same = LISTA(data.D, L1, depth=3, S_form="lowrank", rank=data.D.shape[0])
    apart = float((dense.encode(data.held_out) - same.encode(data.held_out)).abs().max())
    order = [kept[keep] for keep in shares]
    return Outcome(
        {
            "error with half of S over that with all": kept[0.5] / kept[1.0],
            "error with a fifth of S over that with all": kept[0.2] / kept[1.0],
            "error at rank 50 over that with all": low[50] / kept[1.0],
            "least error of a share over that of the next larger share": min(
                b / a for a, b in pairwise(order)
            ),
            "iterations that a tenth of S is worth": _worth(data, kept[0.1]),
            "untrained low rank minus dense at full rank": apart,
        },
        charts=(
            Chart(
                "Code error of LISTA, T = 1, 100 atoms",
                "multiplications by S",
                "code error",
                (
                    curve("largest entries kept", [k * 1e4 for k in shares], order, "both"),
                    curve("low rank", [200 * r for r in ranks], low.values(), "both"),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )


@claim(
    name="lcod-per-multiply",
    title="LCoD beats LISTA per multiplication",
    decks=("D0",),
    section="sparse#s5",
    says="A step of learned coordinate descent costs m multiplications, one of LISTA m².",
    targets=(
        Target("LCoD's error over LISTA's, at no more multiplications", 1.0, 0.0, "at most",
               source="[D]"),
        Target("LCoD's multiplications over LISTA's", 1.0, 0.0, "at most", source="[D]"),
        Target("trained over untrained error at 25 steps", 1.0, 0.0, "at most", source="[C]"),
        Target("LCoD's code error at 25 steps", relation="reported"),
        Target("LISTA's code error, T = 1", relation="reported"),
    ),
    seconds=120,
    needs=("natural-images",),
)  # fmt: skip
def lcod_per_multiply(setting: Setting) -> Outcome:
    """100 atoms; 10, 25 and 50 coordinate steps, LISTA with T = 0 and 1, at 3,000 steps each."""
    from thalweg.sparse.encoders import LISTA, LCoD, Shrinkage
    from thalweg.sparse.encoders.comparison import code_error

    data = natural(setting, 100, 100_000)
    D = data.D.float()
    learned, plain, cost = {}, {}, {}
    for steps in (10, 25, 50):
        fresh = LCoD(D, L1, steps)
        plain[steps] = code_error(fresh.encode(data.held_out).double(), data.exact)
        cost[steps] = fresh.multiplies()
        learned[steps] = trained(data, setting, f"LCoD, {steps} steps", fresh, 3000)[1]
    others: dict[str, tuple[Any, float]] = {}
    for name, made in (("T = 0", Shrinkage(D, L1)), ("T = 1", LISTA(D, L1, depth=1))):
        others[name] = trained(data, setting, f"LISTA, {name}", made, 3000)
    one = others["T = 1"]
    return Outcome(
        {
            "LCoD's error over LISTA's, at no more multiplications": learned[25] / one[1],
            "LCoD's multiplications over LISTA's": cost[25] / one[0].multiplies(),
            "trained over untrained error at 25 steps": learned[25] / plain[25],
            "LCoD's code error at 25 steps": learned[25],
            "LISTA's code error, T = 1": one[1],
        },
        charts=(
            Chart(
                "Code error by multiplications, 100 atoms",
                "multiplications for one signal",
                "code error",
                (
                    curve("LCoD", cost.values(), learned.values(), "both"),
                    curve("coordinate descent", cost.values(), plain.values(), "both"),
                    curve(
                        "LISTA, T = 0 and 1",
                        [enc.multiplies() for enc, _ in others.values()],
                        [error for _, error in others.values()],
                        "both",
                    ),
                ),
                y_log=True,
                caption="Multiplications are counted; finding the largest change of m is not.",
            ),
        ),
    )
