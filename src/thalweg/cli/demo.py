"""``thalweg demo``: the tour. A sick network, diagnosis, cure, race, training, and one page."""

from __future__ import annotations

import json as jsonlib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.door import NOTHING, OK, repeat

if TYPE_CHECKING:
    from rich.console import Console

    from thalweg.records import Race
    from thalweg.records_diagnosis import Diagnosis
    from thalweg.records_training import Run

EXAMPLE = "thalweg demo"

OPTIMIZERS = ("sgd", "momentum", "adam")
SEEDS = 3
SECONDS = 40.0  # of work; starting Python and drawing the page take the rest of the minute
DIAGNOSIS, RACE = 0.45, 0.25  # shares at most; putting cures together takes up to 0.45 again
EVALUATIONS = 150  # of each run of the diagnosis: fixed, so that a slow machine finds the same
EPOCHS = 20.0
FOLDER = "thalweg-demo"
Line = tuple[str, ...]  # text, style, and one more for each level it is set in


def demo(
    context: typer.Context,
    run: options.Run = Path(FOLDER),
    seconds: Annotated[float, typer.Option(help="Time to spend, about.")] = SECONDS,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on in the run directory, or start over.")
    ] = True,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    traceback: options.Traceback = False,
) -> int:
    """Diagnose a sick network, cure it, race optimisers on it and train it, in under a minute.

    Nothing is downloaded. The network lies in the run directory as sick.py, its cured twin as
    cured.py beside it, and every step of the tour is a command that works on your own file.
    """
    from thalweg.cli.console import console
    from thalweg.cli.diagnose import _prepare
    from thalweg.cli.screen import write_line
    from thalweg.report.entries import winner
    from thalweg.report.page import write
    from thalweg.rundir.atomic import atomic_write

    if not 0 < seconds < float("inf"):
        raise ValueError(f"--seconds {seconds}: expected a finite number above 0")
    folder = run if run is not None else Path(FOLDER)
    _prepare(folder)
    sick = folder / "sick.py"
    if not sick.exists() or not resume:
        text = resources.files("thalweg.cli").joinpath("sick_task.py").read_text("utf-8")
        atomic_write(sick, text)
    progress = console(stderr=True)
    answers = progress if json else console()
    common = {"seed": seed, "device": device}
    _head(answers, quiet, 1, "Diagnosis", f"thalweg diagnose {sick} --cure")
    diagnosis = _diagnosis(sick, folder, seconds, resume, progress, quiet, common)
    _say(answers, quiet, *_of_diagnosis(diagnosis))
    task = f"{folder / 'cured.py'}" if diagnosis.cured is not None else f"{sick}"
    _head(answers, quiet, 2, "Race", f"thalweg race {task}")
    race = _race(task, folder / "race", seconds, resume, progress, quiet, common)
    _say(answers, quiet, *_of_race(race))
    records: list[Any] = [diagnosis, race]
    won = winner(race) is not None
    if won:
        _head(answers, quiet, 3, "Training", f"thalweg train {task} --from {folder / 'race'}")
        trained = _training(task, race, folder, resume, progress, quiet, common)
        _say(answers, quiet, *_of_training(trained))
        records.append(trained)
    again = repeat(context.obj or (), drop=("--json", "--quiet", "-q", "--fresh"))
    page = write([replace(record, command=again) for record in records], folder / "report.html")
    if json:
        names = ("diagnosis", "race", "training")
        values = {n: r.to_dict() for n, r in zip(names, records, strict=False)}
        write_line(jsonlib.dumps(values, allow_nan=False))
    elif quiet:
        write_line(str(page))
    else:
        answers.print()
        answers.print(f"report: {page}", soft_wrap=True, markup=False)
    return OK if won else NOTHING


def _diagnosis(
    sick: Path, folder: Path, seconds: float, resume: bool, progress: Console, quiet: bool,
    common: dict[str, Any],
) -> Diagnosis:  # fmt: skip
    """The diagnosis of the sick task, made or read back; ``cured.py`` is written."""
    from thalweg.cli.diagnose import RECORD, keep
    from thalweg.cli.diagnose_screen import watching
    from thalweg.cli.report import read
    from thalweg.diagnose.checkup import checkup
    from thalweg.task import load_task

    if resume and (folder / RECORD).exists():
        return read(folder / RECORD)[0]  # pyrefly: ignore
    loaded = load_task(str(sick))
    with watching(progress, quiet) as watcher:
        found = checkup(
            loaded, seconds=DIAGNOSIS * seconds, evaluations=EVALUATIONS, cure=True,
            progress=watcher, **common,
        )  # fmt: skip
    return keep(replace(found, run=str(folder)), folder, loaded)


def _race(
    task: str, folder: Path, seconds: float, resume: bool, progress: Console, quiet: bool,
    common: dict[str, Any],
) -> Race:  # fmt: skip
    from thalweg.cli.live import watching
    from thalweg.race.running import race as run_race
    from thalweg.task import load_task

    with watching(progress, quiet) as watcher:
        return run_race(
            load_task(task),
            optimizers=OPTIMIZERS,
            seeds=SEEDS,
            seconds=RACE * seconds,
            run=folder,
            fresh=not resume,
            progress=watcher,
            **common,
        )


def _training(
    task: str, race: Race, folder: Path, resume: bool, progress: Console, quiet: bool,
    common: dict[str, Any],
) -> Run:  # fmt: skip
    from thalweg.cli.live import watching
    from thalweg.task import load_task
    from thalweg.training.fit import train

    with watching(progress, quiet) as watcher:
        return train(
            load_task(task),
            start=race,
            epochs=EPOCHS,
            threads=1,  # so small a network is slower on two, by far where others work beside it
            run=folder / "training",
            fresh=not resume,
            progress=watcher,
            **common,
        )


def _head(console: Console, quiet: bool, place: int, title: str, command: str) -> None:
    """One stop of the tour and the command that does the same."""
    from rich.text import Text

    if not quiet:
        console.print()
        console.print(Text.assemble((f"{place}. {title}", "bold cyan"), (f"   {command}", "dim")),
                      soft_wrap=True)  # fmt: skip


def _say(console: Console, quiet: bool, *lines: Line) -> None:
    """Lines with their styles, set in under the head."""
    from rich.padding import Padding
    from rich.text import Text

    if not quiet:
        for line, style, *deeper in lines:
            console.print(Padding(Text(line, style), (0, 0, 0, 3 + 2 * len(deeper))))


def _of_diagnosis(found: Diagnosis) -> list[Line]:
    """What limits, what each remedy alone did, and what all together did."""
    from thalweg.cli.diagnose_screen import SIGNS, STYLES
    from thalweg.report.numbers import clean
    from thalweg.report.sections.diagnosis import headline, opening, told

    lines: list[Line] = [(headline(found), "bold"), *((said, "") for said in opening(found))]
    steps = found.cured.steps if found.cured is not None else ()
    for finding in found.findings:
        if finding.severity == "info" and not any(finding.code in s.why for s in steps):
            continue  # the page has it
        sign = f"{SIGNS[finding.severity]} {clean(finding.title)}"
        lines += [(sign, STYLES[finding.severity]), (clean(finding.message), "", ">")]
        if finding.trial is not None:
            lines.append((f"tried: {told(finding.trial)}", "green", ">"))
    if found.cured is not None:
        lines.append((f"✓ Cured: {'; '.join(clean(step.says) for step in steps)}", "bold green"))
        lines.append((told(found.cured.trial).partition(": ")[2], "", ">"))
    return lines


def _of_race(race: Race) -> list[Line]:
    """The winner in words, and its line."""
    from thalweg.report.numbers import clean
    from thalweg.report.words import answer, effort

    said = answer(race)
    lines: list[Line] = [(said.headline, "bold"), *((s, "") for s in said.sentences)]
    lines += [(f"! {caution}", "yellow") for caution in said.cautions]
    if said.line:
        lines.append((clean(said.line), "bold cyan"))
    return [*lines, (effort(race), "dim")]


def _of_training(run: Run) -> list[Line]:
    """What came of it."""
    from thalweg.report.sections.training import headline, sentences

    return [(headline(run), "bold"), *((said, "") for said in sentences(run))]
