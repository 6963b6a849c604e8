"""``thalweg list``: everything that has a name, from the registries, without importing it."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from thalweg.cli import options
from thalweg.registry import Member, Registry

EXAMPLE = "thalweg list optimizers"

FAMILIES = Registry(
    "family",
    Member("tasks", "thalweg.task:TASKS", "what can be raced by name"),
    Member("optimizers", "thalweg.optim:OPTIMIZERS", "to race: for --optimizers"),
    Member("methods", "thalweg.optim:METHODS", "to train with: for --optimizer"),
    Member("strategies", "thalweg.strategies:STRATEGIES", "around the optimiser: for --strategy"),
    Member("parallel", "thalweg.parallel:METHODS", "many workers, one centre: for --method"),
    Member("operators", "thalweg.curvature:OPERATORS", "curvature, as linear operators"),
    Member("conditioners", "thalweg.conditioning:CONDITIONERS", "inputs made easy to learn from"),
    Member("initialisations", "thalweg.conditioning:INITIALISATIONS", "first weights"),
    Member("findings", "thalweg.diagnose:FINDINGS", "what thalweg diagnose can find"),
    Member("detectors", "thalweg.watching:DETECTORS", "what thalweg.watch can see"),
    Member("schedules", "thalweg.steps:SCHEDULES", "for --space schedule=…"),
    Member("solvers", "thalweg.sparse:SOLVERS", "sparse inference"),
    Member("encoders", "thalweg.sparse.encoders:ENCODERS", "guess the codes in one pass"),
    Member("penalties", "thalweg.sparse:PENALTIES", "what makes codes sparse"),
    Member("claims", "thalweg.claims:CLAIMS", "of the lectures: for thalweg reproduce"),
)


def list_(
    family: Annotated[
        str | None,
        typer.Argument(metavar="FAMILY", help=f"One of {', '.join(FAMILIES.names())}."),
    ] = None,
    json: options.Json = False,
    traceback: options.Traceback = False,
    seed: options.NoSeed = 0,
    device: options.NoDevice = "auto",
    run: options.NoRun = None,
) -> int:
    """List the names that other verbs take; all families if none is given."""
    names = FAMILIES.names() if family is None else (FAMILIES[family].name,)
    members = {name: tuple(FAMILIES.load(name)) for name in names}
    if json:
        values = {
            name: [{"name": m.name, "summary": m.summary, "reference": m.reference} for m in group]
            for name, group in members.items()
        }
        print(jsonlib.dumps(values if family is None else values[family]))
    else:
        _show(members)
    return 0


def _show(members: dict[str, tuple[Member, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from thalweg.cli.console import console as make

    console = make()
    longest = max((len(m.name) for group in members.values() for m in group), default=0)
    for place, (family, group) in enumerate(members.items()):
        if place:
            console.print()
        if len(members) > 1:
            console.print(Text.assemble((family, "bold"), f"  {FAMILIES[family].summary}"))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(style="cyan", no_wrap=True, min_width=longest)
        table.add_column()
        table.add_column(style="dim")
        for member in group:
            table.add_row(Text(member.name), Text(member.summary), Text(member.reference))
        console.print(table)
