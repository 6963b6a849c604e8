"""The 90-run digits race against Optuna and Ray Tune, which get the same training function.

    OMP_NUM_THREADS=1 python benchmarks/race_peers.py [SIDE ...] [--batch-size 64] [--repeats 1]

Peers draw from the same grid (2 optimisers x 15 learning rates), train every configuration by the
plain loop under the same three seeds for at most 800 steps and maximise the mean selection
accuracy; halving prunes at 100, 200 and 400 steps. None of this is Optuna's or Ray's overhead: they
run trials one after another, which is what a race of stacked members avoids. What each side chose
is judged by the accuracy that the exhaustive sweep found for it. CPU seconds are of this process
(of Ray's trials: inside the training function, so without its servers); the order of sides varies.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
import warnings
from statistics import fmean

import torch
from race_campaign import LRS, OPTIMIZERS, SEEDS, STEPS, race
from race_plain import Batches, PlainRun, clocked, keep, load, spread

import thalweg as tw
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk

RUNGS = (100, 200, 400, 800)


class Training:
    """What peers call: one configuration under all seeds, with a word at every rung."""

    def __init__(self, batch_size: int) -> None:
        self.risk = Risk(_task(batch_size), "cpu")
        self.batch_size, self.gradients = batch_size, 0
        self.batches = Batches(self.risk, range(SEEDS), batch_size, STEPS)

    def rungs(self, optimizer: str, lr: float, rungs=RUNGS):
        """Yield (steps, mean selection accuracy) as it trains."""
        how = Configuration(optimizer, (("lr", lr),), self.batch_size)
        runs = [PlainRun(self.risk, Member(how, seed)) for seed in range(SEEDS)]
        for stop in rungs:
            for run in runs:
                self.gradients += stop - run.done
                run.train(self.batches.of(run.seed), stop)
            yield stop, fmean(run.score()[0] for run in runs)


def _task(batch_size: int):
    from dataclasses import replace

    task = tw.load_task("digits-mlp")
    return replace(task, recipe=replace(task.recipe, batch_size=batch_size))


def exhaustive(training: Training):
    """Every configuration to the end, one after another."""
    final = {
        (optimizer, lr): list(training.rungs(optimizer, lr, (STEPS,)))[-1][1]
        for optimizer in OPTIMIZERS
        for lr in LRS
    }
    return max(final, key=final.__getitem__), final


def optuna_side(training: Training, sampler: str, prune: bool):
    """As many trials as there are configurations."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = {"optimizer": list(OPTIMIZERS), "lr": list(LRS)}
    samplers = optuna.samplers
    chosen = samplers.RandomSampler(0) if sampler == "random" else samplers.GridSampler(grid, 0)
    halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=RUNGS[0], reduction_factor=2)
    study = optuna.create_study(
        direction="maximize",
        sampler=chosen,
        pruner=halving if prune else optuna.pruners.NopPruner(),
    )

    def objective(trial) -> float:
        optimizer = trial.suggest_categorical("optimizer", grid["optimizer"])
        lr = trial.suggest_categorical("lr", grid["lr"])
        accuracy = 0.0
        for steps, accuracy in training.rungs(optimizer, lr, RUNGS if prune else (STEPS,)):
            if prune:
                trial.report(accuracy, steps)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return accuracy

    study.optimize(objective, n_trials=len(OPTIMIZERS) * len(LRS))
    return study.best_params["optimizer"], study.best_params["lr"]


def ray_side(training: Training):
    """Ray Tune with ASHA over the whole grid, one trial at a time, actors reused."""
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    batch_size = training.batch_size

    def trainable(config):
        torch.set_num_threads(1)
        begun = time.process_time()
        own = Training(batch_size)
        begun, set_up = time.process_time(), time.process_time() - begun
        for steps, accuracy in own.rungs(config["optimizer"], config["lr"]):
            tune.report(
                {
                    "steps": steps,
                    "accuracy": accuracy,
                    "gradients": own.gradients,
                    "cpu": time.process_time() - begun,
                    "set_up": set_up,
                }
            )

    here = os.path.dirname(os.path.abspath(__file__))
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=200 * 2**20,
            runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
        )
        scheduler = ASHAScheduler(
            time_attr="steps", max_t=STEPS, grace_period=RUNGS[0], reduction_factor=2
        )
        space = {"optimizer": tune.grid_search(OPTIMIZERS), "lr": tune.grid_search(LRS)}
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="accuracy", mode="max", scheduler=scheduler, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
        training.gradients += int(sum(r.metrics["gradients"] for r in results))
        cpu = sum(r.metrics["cpu"] for r in results)
        full = [r for r in results if r.metrics["steps"] == STEPS]
        best = max(full, key=lambda r: r.metrics["accuracy"]).config
        ray.shutdown()
    return best["optimizer"], best["lr"], cpu


def ours(training: Training):
    """The race."""
    result = race(_task(training.batch_size), training.batch_size)
    training.gradients += result.executed + result.plan["probe_evaluations"]
    best = result.best
    return best.optimizer, best.hyperparameters["lr"]


SIDES = {
    "thalweg": ours,
    "optuna random": lambda t: optuna_side(t, "random", prune=False),
    "optuna random, halving": lambda t: optuna_side(t, "random", prune=True),
    "optuna grid, halving": lambda t: optuna_side(t, "grid", prune=True),
    "ray tune grid, ASHA": ray_side,
}


def measure(side: str, training: Training, final) -> dict:
    """One run of one side."""
    before = training.gradients
    found, cpu, wall = clocked(lambda: SIDES[side](training))
    if len(found) == 3:
        cpu = found[2]
    return {
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "gradients": training.gradients - before,
        "chosen": list(found[:2]),
        "accuracy_of_chosen": final[found[0], found[1]],
    }


def _installed(side: str) -> bool:
    package = side.split()[0]
    if importlib.util.find_spec(package) is None:
        print(f"{side}: {package} is not installed, left out")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs="*", default=list(SIDES))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Optuna's about categorical grids
    sides = [side for side in asked.sides if _installed(side)]
    training = Training(asked.batch_size)
    race(_task(asked.batch_size), asked.batch_size)  # imports
    (best, final), cpu, wall = clocked(lambda: exhaustive(training))
    rows = {"exhaustive": [{"cpu_seconds": cpu, "wall_seconds": wall, "gradients": 72_000}]}
    rows["exhaustive"][0] |= {"chosen": list(best), "accuracy_of_chosen": final[best]}
    for repeat in range(asked.repeats):
        for side in sides if repeat % 2 == 0 else reversed(sides):
            rows.setdefault(side, []).append(measure(side, training, final))
    for side, runs in rows.items():
        last = runs[-1]
        print(
            f"{side:24s} CPU {spread([r['cpu_seconds'] for r in runs])['median']:7.1f} s  wall "
            f"{spread([r['wall_seconds'] for r in runs])['median']:7.1f} s  gradients "
            f"{last['gradients']:6,}  chose {last['chosen'][0]} {last['chosen'][1]:g}: "
            f"{100 * last['accuracy_of_chosen']:.2f} % (best {100 * final[best]:.2f} %)"
        )
    keep("race_peers", **{f"batch {asked.batch_size}": {"runs": rows, "load": load()}})


if __name__ == "__main__":
    main()
