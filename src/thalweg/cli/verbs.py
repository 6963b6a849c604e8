"""Which verbs are there? One line each; a verb's file has its function and its ``EXAMPLE``."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from thalweg.cli.door import pipe_closed
from thalweg.registry import Member, Registry

VERBS = Registry(
    "verb",
    Member("demo", "thalweg.cli.demo:demo", "The tour: diagnose, cure, race, train, report."),
    Member("race", "thalweg.cli.race:race", "Which optimiser and learning rate for this task?"),
    Member("diagnose", "thalweg.cli.diagnose:diagnose", "What limits this training, and a trial."),
    Member("train", "thalweg.cli.train:train", "Train with one optimiser; resumes bit for bit."),
    Member("spectrum", "thalweg.cli.spectrum:spectrum", "Curvature, and the rates that it admits."),
    Member("report", "thalweg.cli.report:report", "Redraw the page of finished runs."),
    Member(
        "dictionary", "thalweg.cli.dictionary:dictionary", "Learn the atoms of images or arrays."
    ),
    Member("encode", "thalweg.cli.encode:encode", "Exact sparse codes, each with a certificate."),
    Member("gap", "thalweg.cli.gap:gap", "What an autoencoder's encoder loses to its decoder."),
    Member(
        "reproduce", "thalweg.cli.reproduce:reproduce", "Claims of the lectures, measured here."
    ),
    Member("list", "thalweg.cli.listing:list_", "What can be named: tasks, optimisers and so on."),
)


def build() -> typer.Typer:
    """The whole command line as a typer application."""
    app = typer.Typer(
        name="thalweg",
        help="Which optimiser, which learning rate, and why? Measured on your own task.\n\n"
        "Start with: [bold]thalweg demo[/bold]",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_top)
    for verb in VERBS:
        function = verb.load()
        example = getattr(sys.modules[function.__module__], "EXAMPLE", f"thalweg {verb.name}")
        text = inspect.cleandoc(function.__doc__ or verb.summary)
        app.command(verb.name, help=f"Example: {example}\n\n{text}", short_help=verb.summary)(
            _piped(function)
        )
    return app


def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", is_eager=True)
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error arose (any verb takes it).")
    ] = False,
) -> None:
    if version:
        import thalweg

        typer.echo(f"thalweg {thalweg.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _piped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, ending quietly when the reader of a pipe (``| head``) has gone."""

    @functools.wraps(function)
    def verb(*args: Any, **kwargs: Any) -> Any:
        try:
            code = function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            code = pipe_closed()
        return code

    return verb
