"""``thalweg spectrum``: how curved is the loss, and which learning rates does that admit?"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli import options
from thalweg.cli.door import NOTHING, OK, repeat
from thalweg.cli.race import slug

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from thalweg.records_spectrum import SpectrumReport

EXAMPLE = "thalweg spectrum digits --weights runs/digits-train/model.safetensors"


def spectrum(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="A built-in task, FILE.py[:NAME] or PACKAGE.MODULE:NAME."
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trained weights; default: fresh ones of the seed."),
    ] = None,
    operator: Annotated[str, typer.Option(help="hessian, ggn or fisher (empirical).")] = "hessian",
    part: Annotated[str, typer.Option(help="train, selection or confirmation.")] = "train",
    samples: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="A random part of so many samples; 0: all. Default: about a minute's work of one "
            "core, at most 4,096.",
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="Batch normalisation: eval (stored statistics) or train.")
    ] = "eval",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Of the batches with --mode train.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Eigenvalues at each end.")] = 5,
    tol: Annotated[float, typer.Option(help="Their relative error.")] = 1e-3,
    probes: Annotated[
        int | None,
        typer.Option(min=1, help="Random vectors of the density; default 2 to 6 by the weights."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Products for each of them.")] = 50,
    dense: Annotated[
        int, typer.Option(min=0, help="All eigenvalues up to so many parameters.")
    ] = 1000,
    layers: Annotated[bool, typer.Option("--layers/--no-layers", help="Layer by layer.")] = True,
    noise: Annotated[
        bool, typer.Option("--noise/--no-noise", help="Gradient noise scale and batch size.")
    ] = True,
    tol_gradient: Annotated[
        float, typer.Option(help="Gradient norm below which this is a critical point.")
    ] = 1e-6,
    landscape: Annotated[
        bool, typer.Option("--landscape", help="The loss along three lines and over a plane.")
    ] = False,
    float64: Annotated[bool, typer.Option("--float64", help="Double precision.")] = False,
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
    """Eigenvalues, density, conditioning, admissible rates, saddle or minimum, batch size.

    Every eigenvalue comes with a certificate: one lies within the residual. The limits are those
    of the first steps; on a quadratic they hold for all.
    """
    from thalweg.cli.console import console
    from thalweg.cli.screen import write_line
    from thalweg.curvature.survey import spectrum as survey
    from thalweg.models.losses import refuse_spectrum
    from thalweg.rundir.atomic import atomic_write, make_folder
    from thalweg.task import load_task

    loaded = load_task(task, data=data)
    refuse_spectrum(loaded.name, loaded.loss)
    model = None
    if weights is not None:
        from thalweg.training import load

        model = load(weights, loaded)
    folder = run if run is not None else Path("runs") / f"{slug(loaded.name)}-spectrum"
    screen = console(stderr=True)
    answers = screen if json else console()
    with telling(screen, quiet) as tell:
        found = survey(
            loaded,
            operator=operator,
            model=model,
            weights="" if weights is None else str(weights),
            part=part,
            samples="auto" if samples is None else samples or None,
            batch_size=batch_size,
            mode=mode,
            k=k,
            tol=tol,
            probes=probes,
            steps=steps,
            layers=layers,
            noise=noise,
            tol_gradient=tol_gradient,
            landscape=landscape,
            dense=dense,
            seed=seed,
            device=device,
            dtype="float64" if float64 else None,
            progress=tell,
        )
    found = replace(
        found,
        command=repeat(context.obj or (), drop=("--json", "--quiet", "-q")),
        run=str(folder),
    )
    if not quiet:
        show(found, answers)
    make_folder(folder)
    atomic_write(folder / "spectrum.json", found.to_json())
    written = found.report(report if report is not None else folder / "report.html")
    if json:
        write_line(found.to_json())
    elif quiet:
        write_line(str(written))
    else:
        answers.print(f"report: {written}", soft_wrap=True, markup=False)
    return OK if found.converged else NOTHING


class telling:
    """Progress: a line that changes on a terminal, elsewhere one line a stage."""

    def __init__(self, screen: Console, quiet: bool) -> None:
        self.screen, self.quiet = screen, quiet
        self.stage, self.shown = "", 0.0
        self.status: Status | None = None

    def __enter__(self) -> telling:
        if not self.quiet and self.screen.is_terminal:
            self.status = self.screen.status("")
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, stage: str, done: int, of: int) -> None:
        """Take note of where it is."""
        if self.quiet:
            return
        if self.status is not None:
            if stage != self.stage or time.monotonic() - self.shown > 0.2:
                where = f" {done} of {of}" if of > 1 else (f" {done} products" if done else "")
                self.status.update(f"{stage}{where}")
                self.shown = time.monotonic()
        elif stage != self.stage and stage != "done":
            self.screen.print(f"{stage} ...", markup=False, highlight=False)
        self.stage = stage


def show(found: SpectrumReport, console: Console) -> None:
    """The answer in words, then the tables."""
    from rich.table import Table
    from rich.text import Text

    from thalweg.report.numbers import clean
    from thalweg.report.sections.spectrum import headline, layer_rows, rate_rows, sentences

    console.print()
    console.print(Text(headline(found), "bold"))
    for sentence in sentences(found):
        console.print(Text(sentence))

    def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        if not rows:
            return
        made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for i, title in enumerate(titles):
            made.add_column(title, justify="right" if i else "left", overflow="ellipsis")
        for row in rows:
            made.add_row(*row)
        console.print()
        console.print(made)

    table(("optimiser", "λmax", "first steps stable below", "1/λ"), rate_rows(found))
    table(("layer", "parameters", "largest", "trace"), layer_rows(found))
    for note in found.notes:
        console.print(Text(f"! {clean(note)}", "yellow"))
