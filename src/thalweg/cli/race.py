"""``thalweg race``: which optimiser and which learning rate for this task?"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.door import NOTHING, OK, repeat

EXAMPLE = "thalweg race digits --optimizers sgd,adam --seeds 3 --seconds 60"


def race(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="A built-in task, FILE.py[:NAME] or PACKAGE.MODULE:NAME."
        ),
    ],
    optimizers: Annotated[
        str,
        typer.Option(
            help="Names with commas; see 'thalweg list optimizers'. Also entropy-sgd, nonlinear-cg "
            "and lbfgs, at equal gradients."
        ),
    ] = "sgd,momentum,adam",
    lrs: Annotated[
        str, typer.Option(metavar="RATES", help="auto, 0.1,0.01 or 1e-4:1:9 (from:to:count).")
    ] = "auto",
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V,V",
            help="A further axis, repeatable: weight_decay, momentum, batch_size, schedule, clip.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each configuration.")] = 3,
    seconds: Annotated[float | None, typer.Option(help="Budget in seconds of work.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget of each run in epochs.")] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Budget of each run in gradients.")
    ] = None,
    run: options.Run = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on in the run directory, or start over.")
    ] = True,
    cull: Annotated[
        bool, typer.Option("--cull/--no-cull", help="Drop hopeless configurations on the way.")
    ] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of torch; default: what is measurably best.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="auto, looped, stacked or vmap: how members are trained.")
    ] = "auto",
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes with one thread each that share the runs, split by seed; 1 trains in "
            "this one. A resumed race keeps the number it began with.",
        ),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Workers on a Ray cluster: auto, HOST:PORT, local."),
    ] = None,
    device: options.Device = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="float32, float64 …; default: the task's.")
    ] = None,
    autocast: Annotated[
        str | None, typer.Option(help="bfloat16: forward passes in mixed precision.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the data of mnist or cifar10 lie.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The page; default: in the run directory.")
    ] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    traceback: options.Traceback = False,
) -> int:
    """Race optimisers and learning rates on a task and say which to use.

    Culling, ranking and the answer use held-out data only; the winner and whatever ties with it are
    scored once more on data that the choice never saw.
    """
    from thalweg.optim import METHODS
    from thalweg.task import load_task

    names = options.parse_names(optimizers, "--optimizers")
    for name in names:
        METHODS[name]
    arguments = {
        "optimizers": names,
        "lrs": options.parse_rates(lrs),
        "space": options.parse_space(space),
        "seeds": seeds,
        "seconds": _positive(seconds, "--seconds"),
        "epochs": _positive(epochs, "--epochs"),
        "evaluations": evaluations,
        "resume": True,
        "fresh": not resume,
        "workers": workers,
        "ray": ray,
        "cull": cull,
        "engine": engine,
        "threads": threads,
        "device": device,
        "dtype": dtype,
        "autocast": autocast,
        "seed": seed,
    }
    loaded = load_task(task, data=data)
    folder = run if run is not None else Path("runs") / slug(loaded.name)
    return perform(loaded, folder, arguments, report, json, quiet, repeat(context.obj or ()))


def perform(
    task: Any,
    folder: Path,
    arguments: dict[str, Any],
    page: Path | None,
    json: bool,
    quiet: bool,
    command: str,
) -> int:
    """Race, show the answer, write the page; what ``race`` and ``demo`` share."""
    from thalweg.cli import screen
    from thalweg.cli.console import console
    from thalweg.cli.live import watching
    from thalweg.race.running import race as run_race
    from thalweg.report.entries import winner
    from thalweg.report.sections.race import engine

    progress = console(stderr=True)
    answers = progress if json else console()  # with --json stdout is for the record alone
    with watching(progress, quiet) as watcher:
        found = run_race(task, **arguments, run=folder, progress=watcher)
    if not found.command:
        found = replace(found, command=command)
    if not quiet:
        screen.show_race(found, answers)
        if told := engine(found):
            answers.print(f"engine: {told}", soft_wrap=True, markup=False, style="dim")
    written = found.report(page if page is not None else folder / "report.html")
    if json:
        screen.write_line(found.to_json())
    if not quiet:
        answers.print()
    if quiet and not json:
        screen.write_line(str(written))
    elif not quiet:
        answers.print(f"report: {written}", soft_wrap=True, markup=False)
    return OK if winner(found) is not None else NOTHING


def slug(name: str) -> str:
    """A task's name as the name of a folder: never a path, never too long, never empty.

    >>> slug("digits"), slug("My Task")
    ('digits', 'my-task')
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:60].rstrip("-_")
    if plain == re.sub(r"\s+", "-", name.lower()) and plain:
        return plain
    # What was dropped must still tell two tasks apart.
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{plain or 'task'}-{digest}"


def _positive(value: float | None, option: str) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise ValueError(f"{option} {value}: expected a finite number above 0")
    return value
