"""What is shown while a race runs? A live board on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from thalweg.cli.screen import hue
from thalweg.records import Entry, Progress
from thalweg.report.entries import axes, varying
from thalweg.report.names import short
from thalweg.report.numbers import Criterion, clean, count, duration, rate

PER_SECOND = 4  # refreshes of the live board
LINE_EVERY = 5.0  # seconds between plain lines


class Watcher(Protocol):
    """What a race calls as it goes on."""

    def __call__(self, progress: Progress) -> None:
        """Take note of where the race is."""


@contextmanager
def watching(console: Console, quiet: bool = False) -> Iterator[Watcher | None]:
    """A watcher for the length of a race.

    Args:
        console: Where to show it; a terminal gets the live board, anything else plain lines.
        quiet: Show nothing.
    """
    if quiet:
        yield None
    elif console.is_terminal and not console.is_dumb_terminal:
        board = Board()
        with Live(board, console=console, refresh_per_second=PER_SECOND, transient=True):
            yield board
    else:
        yield Lines(console)


class Board:
    """The live board: reads its latest progress whenever the terminal is repainted."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.at = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Keep the latest; the repainting thread picks it up."""
        self.at = time.monotonic()
        self.progress = progress

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Paint the board for the console's present width."""
        if self.progress is None:
            yield Text("getting ready …", "dim")
            return
        passed = time.monotonic() - self.at
        yield draw(self.progress, console.width, console.height, passed)


def draw(progress: Progress, width: int, height: int = 24, passed: float = 0.0) -> Group:
    """The board as it looks ``passed`` seconds after the progress was reported."""
    left = None if progress.left is None else max(0.0, progress.left - passed)
    total = max(progress.total, progress.done, 1)
    facts = [
        _gradients(progress) if width >= 60 else "",
        duration(progress.seconds + passed),
        f"{duration(left)} left" if left is not None else "",
    ]
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{clean(progress.phase, 40)}  ", "bold")
    if progress.total:
        head.append(f"{100 * progress.done // total} %  ")
    head.append(" · ".join(fact for fact in facts if fact), "dim")
    bar = ProgressBar(
        total,
        min(progress.done, total),
        min(width, 72),
        pulse=not progress.total,
        complete_style="cyan",
        finished_style="cyan",
    )
    parts: list[RenderableType] = [head, Padding(bar, 0)]  # a bar alone ends no line
    if progress.leaders:
        parts += ["", leaders(progress, max(1, min(8, height - 7)))]
    if progress.message:
        parts.append(Text(clean(progress.message), "dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _gradients(progress: Progress) -> str:
    if not progress.total:
        return ""
    return f"{count(progress.done)} of {count(progress.total)} gradients"


def leaders(progress: Progress, rows: int) -> Table:
    """The best so far."""
    criterion = Criterion(progress.criterion or "score")
    names = varying(progress.leaders)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("optimiser", no_wrap=True, overflow="ellipsis", min_width=16)
    table.add_column("rate", justify="right", no_wrap=True, min_width=8)
    table.add_column(clean(criterion.name, 14), justify="right", no_wrap=True, min_width=14)
    for place, entry in enumerate(progress.leaders[:rows], 1):
        name = Text.assemble(("● ", hue(entry.optimizer)), short(entry.optimizer))
        name.append("".join(f", {part}" for part in axes(entry, names)), "dim")
        table.add_row(str(place), name, rate(entry.lr), _score(criterion, entry))
    return table


def _score(criterion: Criterion, entry: Entry) -> str:
    score = criterion.show(entry.held_out)
    if entry.stderr == entry.stderr and entry.stderr > 0:
        return f"{score} ± {criterion.spread(entry.stderr).removesuffix(chr(0xA0) + '%')}"
    return score


class Lines:
    """Plain lines: one when the phase changes, then one every few seconds."""

    def __init__(self, console: Console, every: float = LINE_EVERY) -> None:
        self.console = console
        self.every = every
        self.phase = ""
        self.last = -float("inf")

    def __call__(self, progress: Progress) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if progress.phase == self.phase and now - self.last < self.every:
            return
        self.phase, self.last = progress.phase, now
        self.console.print(Text(line(progress)), soft_wrap=True)


def line(progress: Progress) -> str:
    """Where the race is, in one plain line."""
    parts = [
        clean(progress.phase, 40),
        _gradients(progress),
        duration(progress.seconds),
    ]
    if progress.left is not None:
        parts.append(f"{duration(progress.left)} left")
    if progress.leaders:
        best = progress.leaders[0]
        score = Criterion(progress.criterion or "score").show(best.held_out)
        parts.append(f"best {short(best.optimizer)} at {rate(best.lr)}: {score}")
    if progress.message:
        parts.append(clean(progress.message))
    return " · ".join(part for part in parts if part)
