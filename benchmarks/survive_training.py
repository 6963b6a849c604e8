"""kill -9 while training: a run ends with the same bits, a centre outlives its workers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from survive_child import Server

from thalweg.rundir.journal import Journal

OWN_TASKS = Path(__file__).with_name("survive_tasks.py")
TRAININGS: dict[str, dict[str, Any]] = {
    "recipe": {"task": "digits-mlp", "epochs": 4},
    "adam, cosine, warm-up, clipping": {
        "task": "digits-mlp", "optimizer": "adam", "hyperparameters": {"lr": 0.003},
        "schedule": "cosine", "warmup": 20, "clip": 0.5, "epochs": 4,
    },
    "batch norm, Polyak average": {
        "task": "digits-batchnorm", "optimizer": "momentum", "hyperparameters": {"lr": 0.05},
        "average": "polyak", "burn_in": 40, "epochs": 3,
    },
    "batch norm and dropout, float64, exponential average": {
        "task": f"{OWN_TASKS}:normed", "optimizer": "rmsprop", "hyperparameters": {"lr": 0.003},
        "average": "exponential", "decay": 0.98, "dtype": "float64", "epochs": 30,
    },
    "dropout, early stopping": {
        "task": f"{OWN_TASKS}:dropout", "optimizer": "adamw", "hyperparameters": {"lr": 0.01},
        "patience": 8, "epochs": 40,
    },
    "LSTM": {
        "task": f"{OWN_TASKS}:lstm", "optimizer": "adam", "hyperparameters": {"lr": 0.01},
        "epochs": 12,
    },
    "Entropy-SGD": {
        "task": "digits-mlp", "optimizer": "entropy-sgd", "hyperparameters": {"scope": 0.03},
        "evaluations": 600,
    },
    "Entropy-SGD with batch norm": {
        "task": "digits-batchnorm", "optimizer": "entropy-sgd", "hyperparameters": {"noise": 1e-3},
        "evaluations": 300,
    },
    "nonlinear conjugate gradients": {
        "task": "diabetes", "optimizer": "nonlinear-cg", "evaluations": 200,
    },
    "L-BFGS": {"task": "diabetes", "optimizer": "lbfgs", "evaluations": 200},
    "bfloat16 forward pass": {
        "task": "digits-mlp", "optimizer": "nesterov", "hyperparameters": {"lr": 0.05},
        "autocast": "bfloat16", "epochs": 3,
    },
    "LeNet, a checkpoint now and then": {
        "task": "digits", "optimizer": "momentum", "hyperparameters": {"lr": 0.02},
        "evaluations": 90, "checkpoint_seconds": 0.3,
    },
}  # fmt: skip
TEAM = {"task": "digits-mlp", "method": "easgd", "workers": 3, "tau": 8, "lr": 0.1, "epochs": 12}


def answer(folder: Path) -> dict[str, Any]:
    """The record without what a clock or the folder's name decides, and the weights as bytes."""
    record = json.loads((folder / "train.json").read_text())
    for key in ("seconds", "machine", "run", "weights", "command"):
        record.pop(key, None)
    rows = {
        (row.member, row.segment): row.payload for row in Journal.read(folder / "journal.sqlite")
    }
    return {
        "record": record,
        "rows": repr(sorted(rows.items())),
        "weights": next(folder.glob("*.safetensors")).read_bytes(),
    }


def kill_training(
    server: Server, base: Path, asked: dict[str, Any], kills: int, rng: random.Random
) -> dict[str, Any]:
    """Train undisturbed, then again and again under kills; every difference in words."""
    calm, acks = base / "calm", base / "acks"
    begun = time.perf_counter()
    code = server.run("train", acks, run=str(calm), **asked)
    takes = time.perf_counter() - begun
    if code:
        return {"kills": 0, "failures": [f"the undisturbed training ended with {code}"]}
    wanted = answer(calm)
    done = runs = 0
    failures: list[str] = []
    while done < kills and not failures:
        folder = base / f"run-{runs}"
        runs += 1
        while True:
            after = rng.expovariate(4 / takes) if done < kills else None
            code = server.run("train", acks, after, run=str(folder), **asked)
            done += code == -9
            if code != -9:
                break
        if code:
            failures.append(f"training {runs}: ended with {code}")
            break
        found = answer(folder)
        failures += [f"training {runs}: other {key}" for key in wanted if found[key] != wanted[key]]
        left = [p.name for p in folder.rglob("*.part")]
        failures += [f"left behind: {left[:3]}"] if left else []
        shutil.rmtree(folder)
    return {"kills": done, "trainings": runs, "seconds": round(takes, 2), "failures": failures}


def kill_workers(base: Path, kills: int, seeds: int, rng: random.Random) -> dict[str, Any]:
    """Elastic averaging calm and with workers killed: accuracies must agree to one deviation.

    The deviation is that of the undisturbed runs over seeds, at least one held-out image's worth.
    """
    from thalweg.parallel import train
    from thalweg.task import load_task

    asked = dict(TEAM)
    task = load_task(asked.pop("task"))
    calm = [
        train(task, seed=seed, run_directory=base / f"calm-{seed}", **asked)
        for seed in range(seeds)
    ]
    deviation = statistics.stdev(run.confirmed for run in calm)
    deviation = max(deviation, 1 / calm[0].samples["confirmation"])
    done, hurt, failures, restarts = 0, [], [], 0
    number = 0
    while done < kills:
        seed, folder = number % seeds, base / f"hurt-{number}"
        number += 1
        stop = threading.Event()
        told = [0]
        killer = threading.Thread(target=_kill_now_and_then, args=(stop, told, rng, kills - done))
        killer.start()
        try:
            run = train(task, seed=seed, run_directory=folder, **asked)
        finally:
            stop.set()
            killer.join()
        done += told[0]
        hurt.append(run.confirmed)
        restarts += any("brought back" in note for note in run.notes)
        if run.status != "finished":
            failures.append(f"run {number}: {run.status}")
        if number >= 10 * kills:
            failures.append(f"only {done} kills met a worker")
            break
    difference = statistics.mean(hurt) - statistics.mean(run.confirmed for run in calm)
    if abs(difference) > deviation:
        failures.append(f"mean accuracy differs by {difference:+.4f}, deviation {deviation:.4f}")
    return {
        "worker kills": done,
        "runs": number,
        "accuracy": round(statistics.mean(hurt), 4),
        "undisturbed": round(statistics.mean(run.confirmed for run in calm), 4),
        "deviation": round(deviation, 4),
        "failures": failures,
    }


def _kill_now_and_then(
    stop: threading.Event, told: list[int], rng: random.Random, most: int
) -> None:
    """SIGKILL to a random child that has begun to train, about once a second."""
    import multiprocessing

    while told[0] < min(most, 6) and not stop.wait(0.5 + rng.expovariate(1.5)):
        team = [p for p in multiprocessing.active_children() if p.pid is not None]
        if team:
            os.kill(rng.choice(team).pid or 0, signal.SIGKILL)
            told[0] += 1
