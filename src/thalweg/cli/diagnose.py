"""``thalweg diagnose``: what limits this training, how it is known, and a trial of the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli import options
from thalweg.cli.door import NOTHING, OK, repeat
from thalweg.cli.race import slug

if TYPE_CHECKING:
    from thalweg.records_diagnosis import Diagnosis

EXAMPLE = "thalweg diagnose mine.py:task --cure"
RECORD = "diagnosis.json"


def diagnose(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="A built-in task, FILE.py[:NAME] or PACKAGE.MODULE:NAME."
        ),
    ],
    cure: Annotated[
        bool,
        typer.Option("--cure", help="Put cures together, compare, and write cured.py."),
    ] = False,
    seconds: Annotated[
        float,
        typer.Option("--seconds", "--budget", help="Time to spend, about; small tasks need less."),
    ] = 60.0,
    evaluations: Annotated[
        int | None,
        typer.Option(min=2, help="Gradients of each run, instead of what the time allows."),
    ] = None,
    run: options.Run = None,
    device: options.Device = "auto",
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
    """Say what limits a training, how that is known, and what its remedy did in a trial.

    The task is taken with its own recipe, trained briefly on copies beside changed copies under
    equal seeds and batches. Exit code 1 means a finding of severity error.
    """
    from thalweg.cli.console import console
    from thalweg.cli.diagnose_screen import show, watching
    from thalweg.cli.screen import write_line
    from thalweg.diagnose.checkup import checkup
    from thalweg.task import load_task

    if not 0 < seconds < float("inf"):
        raise ValueError(f"--seconds {seconds}: expected a finite number above 0")
    loaded = load_task(task, data=data)
    folder = run if run is not None else Path("runs") / f"{slug(loaded.name)}-diagnosis"
    _prepare(folder)
    screen = console(stderr=True)
    answers = screen if json else console()
    with watching(screen, quiet) as watcher:
        found = checkup(
            loaded,
            seed=seed,
            seconds=seconds,
            evaluations=evaluations,
            cure=cure,
            device=device,
            progress=watcher,
        )
    found = replace(
        found,
        command=repeat(context.obj or (), drop=("--json", "--quiet", "-q")),
        run=str(folder),
    )
    found = keep(found, folder, loaded)
    if not quiet:
        show(found, answers)
    written = found.report(report if report is not None else folder / "report.html")
    if json:
        write_line(found.to_json())
    if quiet and not json:
        write_line(str(written))
    elif not quiet:
        if found.cured is not None and found.cured.file:
            answers.print(f"cured task: {found.cured.file}", soft_wrap=True, markup=False)
        answers.print(f"report: {written}", soft_wrap=True, markup=False)
    return NOTHING if any(f.severity == "error" for f in found.findings) else OK


def keep(found: Diagnosis, folder: Path, task: object) -> Diagnosis:
    """Write the record, and ``cured.py`` where there is a cure; the record with its place."""
    from thalweg.diagnose.writing import write
    from thalweg.rundir.atomic import atomic_write
    from thalweg.task import task_data

    if found.cured is not None and found.source is not None:
        file = write(found, folder, task_data(task))  # pyrefly: ignore
        found = replace(found, cured=replace(found.cured, file=str(file)))
    atomic_write(folder / RECORD, found.to_json())
    return found


def _prepare(folder: Path) -> None:
    """Make the run directory; one that holds another kind of run is refused."""
    from thalweg.rundir.atomic import make_folder

    if (folder / "run.json").exists():
        raise ValueError(f"{folder} holds another run; choose another directory with --run")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a run needs a directory")
    make_folder(folder)
