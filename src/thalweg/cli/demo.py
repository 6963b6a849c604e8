"""``thalweg demo``: a first race, on digits that ship with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli import options
from thalweg.cli.door import repeat
from thalweg.cli.race import perform

EXAMPLE = "thalweg demo"

TASK = "digits"
OPTIMIZERS = ("sgd", "momentum", "adam")
SEEDS = 3
SECONDS = 42.0  # of training; starting Python, the probe and the page take the rest of the minute
FOLDER = "thalweg-demo"


def demo(
    context: typer.Context,
    run: options.Run = Path(FOLDER),
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on in the run directory, or start over.")
    ] = True,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    traceback: options.Traceback = False,
) -> int:
    """Race three optimisers on handwritten digits, in under a minute and without a download.

    The network is the lectures' LeNet; the page that it ends with is in the run directory.
    """
    from thalweg.task import load_task

    arguments = {
        "optimizers": OPTIMIZERS,
        "seeds": SEEDS,
        "seconds": SECONDS,
        "resume": True,
        "fresh": not resume,
        "device": device,
        "seed": seed,
    }
    folder = run if run is not None else Path(FOLDER)
    return perform(load_task(TASK), folder, arguments, None, json, quiet, repeat(context.obj or ()))
