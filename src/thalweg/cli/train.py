"""``thalweg train``: one optimiser to the end, with what ``torch.optim`` lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.door import NOTHING, OK, repeat
from thalweg.cli.race import slug

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from thalweg.records_training import Run
    from thalweg.task import Task

EXAMPLE = "thalweg train digits-batchnorm --optimizer entropy-sgd -o scope=0.03 --epochs 40"
ROWS = 8


def train(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="A built-in task, FILE.py[:NAME] or PACKAGE.MODULE:NAME."
        ),
    ],
    optimizer: Annotated[
        str | None, typer.Option(help="See 'thalweg list methods'; default: the task's recipe.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="NAME=VALUE", help="A hyperparameter, repeatable."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="The winner of this race.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget in epochs.")] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Budget in gradients, instead.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples a gradient.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, linear or cosine.")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Gradients of a growing rate.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of a gradient.")] = None,
    average: Annotated[
        str | None, typer.Option(help="polyak or exponential: keep averaged weights.")
    ] = None,
    decay: Annotated[float | None, typer.Option(help="Of the exponential average.")] = None,
    burn_in: Annotated[int | None, typer.Option(min=0, help="Steps before averaging.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Looks without gain before stopping early.")
    ] = None,
    autocast: Annotated[str | None, typer.Option(help="bfloat16: mixed precision.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="greedy, transfer, fitnets, continuation, curriculum, stochastic-curriculum, "
            "majorise or adversarial."
        ),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="Of the strategy, repeatable."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes around one centre (see --method).")
    ] = 1,
    method: Annotated[
        str | None, typer.Option(help="easgd, eamsgd, downpour or mdownpour: many workers.")
    ] = None,
    tau: Annotated[int, typer.Option(min=1, help="Steps between exchanges of a worker.")] = 10,
    alpha: Annotated[
        float | None, typer.Option(help="Elastic rate; default 0.9 over the workers.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Workers on a Ray cluster: auto, HOST:PORT, local."),
    ] = None,
    run: options.Run = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on in the run directory, or start over.")
    ] = True,
    checkpoint: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time between checkpoints.")
    ] = 300.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch.")] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write scalars for TensorBoard.")
    ] = None,
    device: options.Device = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="float32, float64 …; default: the task's.")
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
    """Train a task with one optimiser and keep the weights.

    What is not said comes from the race named with --from, or from the task's own recipe. Killed at
    any instant, the same command goes on to the same bits.
    """
    from thalweg.cli.console import console
    from thalweg.cli.live import watching
    from thalweg.cli.screen import write_line
    from thalweg.optim import METHODS
    from thalweg.task import load_task
    from thalweg.training import train as run_training
    from thalweg.training.logs import scalars

    if (workers > 1 or ray is not None) and method is None:
        raise ValueError("--workers and --ray need --method: easgd, eamsgd, downpour or mdownpour")
    if method is not None:
        refused: dict[str, object] = {
            "--optimizer": optimizer,
            "--from": start,
            "--evaluations": evaluations,
            "--schedule": schedule,
            "--clip": clip,
            "--average": average,
            "--patience": patience,
            "--autocast": autocast,
            "--tensorboard": tensorboard,
        }
        _refuse(f"--method {method}", refused)
    if optimizer is not None:
        METHODS[optimizer]
    chosen = _strategy(strategy, with_, method)
    loaded = load_task(task, data=data)
    name = f"{slug(loaded.name)}-{method or strategy or optimizer or 'train'}"
    folder = run if run is not None else Path("runs") / name
    screen = console(stderr=True)
    answers = screen if json else console()
    shared = {
        "batch_size": batch_size,
        "epochs": epochs,
        "fresh": not resume,
        "dtype": dtype,
        "seed": seed,
    }
    with watching(screen, quiet) as watcher, scalars(tensorboard) as log:
        if method is not None:
            from thalweg.parallel import train as run_workers

            found = run_workers(
                loaded,
                method,
                workers,
                tau,
                alpha,
                **_of_workers(option),
                **shared,
                ray=ray,
                run_directory=folder,
                device="cpu" if device == "auto" else device,
                progress=watcher,
            )
        else:
            found = (chosen or run_training)(
                loaded,
                optimizer=optimizer,
                hyperparameters=options.parse_hyperparameters(option),
                start=start,
                evaluations=evaluations,
                schedule=schedule,
                warmup=warmup,
                clip=clip,
                average=average,
                decay=decay,
                burn_in=burn_in,
                patience=patience,
                autocast=autocast,
                run=folder,
                device=device,
                threads=threads,
                checkpoint_seconds=checkpoint,
                log=log,
                progress=watcher,
                **shared,
            )
    shown = replace(
        found, command=repeat(context.obj or (), drop=("--json", "--quiet", "-q", "--fresh"))
    )
    if not quiet:
        show(shown, answers)
    written = shown.report(report if report is not None else folder / "report.html")
    if json:
        write_line(shown.to_json())
    if quiet and not json:
        write_line(str(written))
    elif not quiet:
        answers.print(f"weights: {folder / 'model.safetensors'}", soft_wrap=True, markup=False)
        answers.print(f"report: {written}", soft_wrap=True, markup=False)
    return NOTHING if found.status == "diverged" else OK


def _refuse(what: str, given: dict[str, object]) -> None:
    """Options that do not go together are not ignored."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{what} and {name} do not go together; leave one of them out")


def _strategy(
    name: str | None, given: list[str] | None, method: str | None
) -> Callable[..., Run] | None:
    """A strategy with its own options, to be called as training is; None where none is named."""
    if name is None:
        if given:
            raise ValueError("--with needs --strategy: it is for the options of a strategy")
        return None
    if method is not None:
        raise ValueError("--strategy and --method do not go together; leave one of them out")
    from thalweg.strategies.entrance import check_options, run

    values = options.parse_hyperparameters(given)

    def train_by(task: Task, **training: Any) -> Run:
        told = {key: value for key, value in training.items() if value is not None}
        return run(task, name, values, **told)

    check_options(name, values)
    return train_by


def _of_workers(option: list[str] | None) -> dict[str, Any]:
    """The hyperparameters that the workers' SGD takes."""
    values = options.parse_hyperparameters(option)
    for name in values:
        if name not in ("lr", "momentum", "weight_decay"):
            raise ValueError(f"-o {name}: workers take lr, momentum and weight_decay")
    return values


def show(run: Run, console: Console) -> None:
    """The answer in words, a few looks along the way, and the optimiser's line."""
    from rich.table import Table
    from rich.text import Text

    from thalweg.report.numbers import Criterion, clean, count, rate, significant
    from thalweg.report.sections.training import headline, sentences

    criterion = Criterion(run.criterion)
    console.print()
    console.print(Text(headline(run), "bold" if run.status != "diverged" else "bold red"))
    for sentence in sentences(run):
        console.print(Text(sentence))
    console.print()
    console.print(Text(f"    {clean(run.line)}", "bold cyan"), soft_wrap=True)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for title in ("gradients", "rate", "training loss", criterion.label):
        table.add_column(title, justify="right", no_wrap=True)
    trace = run.trace
    rows = len(trace.evaluations)
    chosen = sorted({round(i * (rows - 1) / max(1, ROWS - 1)) for i in range(ROWS)}) if rows else []
    for i in chosen:
        best = trace.evaluations[i] == run.best
        table.add_row(
            count(trace.evaluations[i]),
            rate(run.rates[i]),
            significant(trace.train_loss[i]),
            criterion.show(trace.held_out[i]),
            style="green" if best else "",
        )
    console.print(table)
    for note in run.notes:
        console.print(Text(f"· {clean(note)}", "dim"))
