"""How many FISTA iterations is a trained LISTA worth? Natural 10 x 10 patches, m = 100 and 400.

    THALWEG_DATA=... OMP_NUM_THREADS=1 python benchmarks/sparse_lista.py [name ...] [--steps N]

Fixed beforehand: patches with mean removed and norm 1, weight 0.05 (0.5 on unit variance), learned
from Kodak's 18 landscape photographs (200 000 distinct patches), judged on 10 000 patches of the 6
portrait ones. The figure is the relative code error to exact codes, and the number of plain FISTA
iterations from zero whose error is as small. Published (Gregor and LeCun 2010, as told in the
lectures): one step of LISTA is worth 18 iterations at m = 100 and 35 at m = 400.

How much that number owes to the patches is measured too: trainings named "contrast" leave out more
of the flat patches (standard deviation below that share of white instead of 0.02) in learning and
judging; with every encoder stands its error on patches that it was trained on, which tells a
network that is too small from one that learned too little.

Finished trainings are kept in the results file; one cut off resumes from its checkpoints in runs/.
``--steps`` and ``--train`` shorten trainings to a sample, which is kept by a name of its own.
Without THALWEG_DATA scikit-learn's two photographs serve, one to learn from and one to judge by.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from places import results

from thalweg.rundir.machine import machine
from thalweg.sparse import encode, learn_dictionary
from thalweg.sparse.encoders import LISTA, LCoD, Shrinkage
from thalweg.sparse.encoders.comparison import code_error, crossover, fista_errors
from thalweg.sparse.patches import Preprocessing, grey, sample_patches
from thalweg.sparse.reading import builtin

L1, SIZE, TRAIN, TEST, FISTA, CONTRAST = 0.05, 10, 200_000, 10_000, 200, 0.02
# name: (atoms, encoder, its settings, steps, name of the training that it starts from)
TRAININGS: dict[str, tuple[int, Any, dict[str, Any], int, str | None]] = {
    "m100 T0": (100, Shrinkage, {}, 20_000, None),
    "m100 T1": (100, LISTA, {"depth": 1}, 25_000, None),
    "m400 T0": (400, Shrinkage, {}, 20_000, None),
    "m400 T1": (400, LISTA, {"depth": 1}, 25_000, None),
    "m100 T3": (100, LISTA, {"depth": 3}, 20_000, "m100 T1"),
    "m100 T7": (100, LISTA, {"depth": 7}, 10_000, "m100 T3"),
    "m400 T3": (400, LISTA, {"depth": 3}, 12_000, "m400 T1"),
    "m400 T7": (400, LISTA, {"depth": 7}, 4_000, "m400 T3"),
    **{
        f"m100 T1 keep {keep}": (
            100, LISTA, {"depth": 1, "S_form": "sparse", "keep": keep}, 5_000, None
        )
        for keep in (1.0, 0.5, 0.2, 0.1, 0.05)
    },
    **{
        f"m100 T1 rank {rank}": (
            100, LISTA, {"depth": 1, "S_form": "lowrank", "rank": rank}, 5_000, None
        )
        for rank in (50, 10)
    },
    "m100 LCoD 25": (100, LCoD, {"steps": 25}, 3_000, None),
    **{f"m100 T1 contrast {c}": (100, LISTA, {"depth": 1}, 5_000, None) for c in (0.02, 0.05, 0.1)},
    **{f"m400 T1 contrast {c}": (400, LISTA, {"depth": 1}, 6_000, None) for c in (0.02, 0.1)},
}  # fmt: skip
RESULTS = results("sparse_lista")
RUNS = Path("runs") / "sparse_lista"


def data(atoms: int, contrast: float, count: int) -> dict[str, Any]:
    """Dictionary, signals and exact codes; the codes are float32 for training."""
    folder = os.environ.get("THALWEG_DATA")
    if folder:
        with np.load(Path(folder) / "natural-images" / "kodak24_grey.npz") as file:
            train = [grey(image) for image in file["landscape"]]
            test = [grey(image) for image in file["portrait"]]
    else:
        train, test = ([image] for image in builtin("photographs").images)
    prepare = Preprocessing((SIZE, SIZE), True, "unit").apply
    X = prepare(sample_patches(train, SIZE, count, 0, contrast))[0]
    held_out = torch.from_numpy(prepare(sample_patches(test, SIZE, TEST, 1, contrast))[0])
    D = learn_dictionary(X, atoms, L1, passes=1.0, seed=0).D
    start = time.process_time()
    codes = encode(X.astype(np.float32), D.astype(np.float32), L1, tol=1e-5).z
    found = {
        "D": torch.from_numpy(D),
        "X": torch.from_numpy(X.astype(np.float32)),
        "codes": torch.from_numpy(codes),
        "seconds for codes": time.process_time() - start,
        "held out": held_out,
    }
    exact = encode(held_out, found["D"], L1, tol=1e-12)
    return found | {"exact": exact.z, "energy": float(exact.energy.mean())}


def judge(encoder: Any, known: dict[str, Any], fista: list[float]) -> dict[str, Any]:
    """The figures of one encoder on held-out signals."""
    X = known["held out"]
    z = encoder.encode(X).double()
    energy = 0.5 * (X - z @ known["D"].T).square().sum(1) + L1 * z.abs().sum(1)
    error = code_error(z, known["exact"])
    return {
        "code error": error,
        "fista iterations": crossover(fista, error),
        "energy above the least, %": 100 * (float(energy.mean()) / known["energy"] - 1),
        "median gap": float(encoder.gap(X).median()),
        "multiplies": encoder.multiplies(),
    }


def plain(atoms: int, known: dict[str, Any]) -> dict[str, Any]:
    """What needs no training: FISTA and ISTA by iteration, coordinate descent by steps."""
    X, D, exact = known["held out"], known["D"], known["exact"]
    descent = (0, 10, 25, 50, 100, 200)
    return {
        "fista": fista_errors(X, D, L1, exact, FISTA),
        "ista": fista_errors(X, D, L1, exact, 50, accelerate=False),
        "coordinate descent": {
            str(k): code_error(LCoD(D, L1, k).encode(X), exact) for k in descent
        },
        "active": float((exact != 0).sum(1).double().mean()),
        "seconds for codes": known["seconds for codes"],
        "multiplies of an iteration": atoms**2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(TRAININGS))
    parser.add_argument("--steps", type=int, help="of each training, in place of its own number")
    parser.add_argument("--train", type=int, default=TRAIN, help="patches to learn from")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [name for name in TRAININGS if name in asked.names]
    sample = asked.steps is not None or asked.train != TRAIN
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"trained": {}, "plain": {}}
    found["machine"] = machine() | {"threads": "1"}
    found["setting"] = {"l1": L1, "train": asked.train, "held out": TEST, "lr": 2e-3, "batch": 256}
    known: dict[tuple[int, float], dict[str, Any]] = {}
    for name in wanted:
        atoms, kind, settings, steps, start_from = TRAININGS[name]
        steps = asked.steps or steps
        kept = f"{name}, {steps} steps, {asked.train} patches" if sample else name
        if kept in found["trained"]:
            continue
        contrast = float(name.partition("contrast ")[2] or CONTRAST)
        if (atoms, contrast) not in known:
            known = {(atoms, contrast): data(atoms, contrast, asked.train)}
        here = known[atoms, contrast]
        if contrast == CONTRAST:
            found["plain"][str(atoms)] = plain(atoms, here)
            fista = found["plain"][str(atoms)]["fista"]
        else:
            fista = fista_errors(here["held out"], here["D"], L1, here["exact"], FISTA)
        encoder = kind(here["D"].float(), L1, **settings)
        untrained = judge(encoder, here, fista)
        if start_from is not None:
            encoder.load_state_dict(torch_state(start_from))
        start = time.process_time()
        place = None if sample else RUNS / name.replace(" ", "-")
        encoder.fit(here["X"], here["codes"], steps=steps, checkpoint=place)
        seconds = time.process_time() - start
        found["trained"][kept] = {
            **judge(encoder, here, fista),
            "code error in training": code_error(
                encoder.encode(here["X"][:TEST]), here["codes"][:TEST]
            ),
            "active": float((here["exact"] != 0).sum(1).double().mean()),
            "untrained code error": untrained["code error"],
            "steps": steps,
            "starts from": start_from,
            "seconds": seconds,
        }
        RESULTS.write_text(json.dumps(found, indent=1))
        print(kept, json.dumps(found["trained"][kept]), flush=True)


def torch_state(name: str) -> dict[str, torch.Tensor]:
    """The weights at the end of another training, from its checkpoint."""
    from thalweg.rundir.checkpoint import Checkpoints
    from thalweg.sparse.resume import NAME

    saved = Checkpoints(RUNS / name.replace(" ", "-")).load(NAME)
    if saved is None:
        raise ValueError(f"train '{name}' first: its weights are the start of this one")
    return {key[6:]: value for key, value in saved[0].items() if key.startswith("model.")}


if __name__ == "__main__":
    main()
