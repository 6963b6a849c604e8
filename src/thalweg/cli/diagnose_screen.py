"""How does a diagnosis look on a terminal? The answer first, then each finding as a short block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from thalweg.report.numbers import clean, duration, significant
from thalweg.report.sections.diagnosis import (
    advice,
    headline,
    measured,
    opening,
    told,
    vital,
)

if TYPE_CHECKING:
    from rich.console import Console

    from thalweg.records import Progress
    from thalweg.records_diagnosis import Diagnosis, Finding

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
SIGNS = {"error": "✗", "warning": "!", "info": "·"}


@contextmanager
def watching(console: Console, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """What is being done, on one line of a terminal; plain lines elsewhere."""
    if quiet:
        yield None
    elif console.is_terminal and not console.is_dumb_terminal:
        with console.status("getting ready …") as status:
            yield lambda p: status.update(
                Text(f"{clean(p.message, 70)}  {duration(p.seconds)}", no_wrap=True)
            )
    else:
        yield lambda p: console.print(
            Text(f"{duration(p.seconds)} · {clean(p.message)}", "dim"), soft_wrap=True
        )


def show(found: Diagnosis, console: Console) -> None:
    """The whole answer."""
    console.print()
    style = "bold green" if found.healthy else "bold"
    console.print(Text(headline(found), style))
    for sentence in opening(found):
        console.print(Text(sentence))
    for place, finding in enumerate(found.findings, 1):
        console.print()
        _finding(place, finding, console)
    if found.cured is not None:
        console.print()
        console.print(Text("Cured", "bold green"))
        for step in found.cured.steps:
            console.print(Text(f"  · {clean(step.says)}"))
        console.print(Text(f"  {told(found.cured.trial)}"))
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(justify="right", no_wrap=True)
    for name, value in vital(found):
        table.add_row(name, significant(value))
    console.print(table)
    for line in found.considered:
        code = line.partition(":")[0]
        console.print(Text(f"· {clean(code)} was suspected and cleared by a trial.", "dim"))
    for note in found.notes:
        console.print(Text(f"· {clean(note)}", "dim"))
    console.print()


def _finding(place: int, finding: Finding, console: Console) -> None:
    head = Text()
    head.append(f"{SIGNS[finding.severity]} {place}. ", STYLES[finding.severity])
    head.append(clean(finding.title), "bold")
    head.append(f"  {finding.code}", "dim")
    console.print(head)
    console.print(Padding(Text(clean(finding.message)), (0, 0, 0, 4)))
    rows = [("measured", measured(finding)), ("change", advice(finding))]
    if finding.trial is not None:
        rows.append(("tried", told(finding.trial)))
    if finding.settle:
        rows.append(("to settle it", clean(finding.settle)))
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in rows:
        if text:
            helps = name == "tried" and finding.trial is not None
            good = helps and finding.trial is not None and finding.trial.verdict == "helps"
            table.add_row(name, Text(text, "green" if good else ""))
    console.print(Padding(table, (0, 0, 0, 4)))
