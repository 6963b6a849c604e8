"""How does a race look when it has ended? The answer, a short table, the line to paste."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from thalweg.records import Entry, Race
from thalweg.report.names import look
from thalweg.report.numbers import MISSING, clean
from thalweg.report.sections.race import Row, leaderboard
from thalweg.report.words import answer, effort

ROWS = 12
# Mid-bright hues that hold on dark and on light terminals, in the order of the page's.
HUES = ("#4a90d9", "#e07b39", "#2aa882", "#a56fd6", "#dc5560", "#2c9fc0", "#a8912a", "#8d8983")
SHORT = {"tied": "tied"}
NOTES = {"best": "bold green", "tied": "green", "default": "cyan", "warn": "yellow", "quiet": "dim"}


def hue(optimizer: str) -> Style:
    """The colour of an optimiser, the same as on the page."""
    return Style(color=HUES[look(optimizer).hue])


def write_line(line: str) -> None:
    """One line on stdout exactly as it is: never wrapped, never styled."""
    sys.stdout.write(f"{line}\n")


def show_race(race: Race, console: Console) -> None:
    """The answer in words, the best entries, and the line that builds the winner."""
    told = answer(race)
    console.print()
    if told.unfinished:
        console.print(Text(f"! {told.unfinished}", "yellow"))
    console.print(Text(told.headline, "bold"))
    for sentence in told.sentences:
        console.print(Text(sentence))
    for caution in told.cautions:
        console.print(Text(f"! {caution}", "yellow"))
    if told.line:
        console.print()
        console.print(Text(f"    {clean(told.line)}", "bold cyan"), soft_wrap=True)
        if told.with_settings:
            console.print(Padding(Text(f"trained with {told.with_settings}", "dim"), (0, 0, 0, 4)))
    if race.table:
        console.print()
        console.print(board(race, console.width))
        console.print(Text(_rest(race), "dim"))
    for note in told.notes:
        console.print(Text(f"· {clean(note)}", "dim"))
    console.print(Text(effort(race), "dim"))


def board(race: Race, width: int) -> Table:
    """The best entries as a table that fits ``width`` columns; narrow ones leave out the most."""
    rows = leaderboard(race)[:ROWS]
    entries = race.table[:ROWS]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True, min_width=2)
    table.add_column("optimiser", overflow="ellipsis", no_wrap=True, min_width=9)
    for title in ("rate", clean(race.criterion, 14)):
        table.add_column(title, justify="right", no_wrap=True, min_width=max(len(title), 5))
    extra = _extra(race, rows, width)
    for title, _ in extra:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for place, (row, entry) in enumerate(zip(rows, entries, strict=True)):
        cells = [row.rank, _name(row, entry), row.lr, row.score]
        cells += [column[place] for _, column in extra]
        table.add_row(
            *(Text(cell) if isinstance(cell, str) else cell for cell in cells),
            _notes(row, width),
            style="dim" if row.quiet else "",
        )
    return table


def _extra(race: Race, rows: list[Row], width: int) -> list[tuple[str, list[str]]]:
    """The columns for which there is room and something to show."""
    columns = []
    if width >= 100:
        columns.append(("behind the best", [row.behind for row in rows]))
    if width >= 120:
        columns.append(("confirmed", [row.confirmed for row in rows]))
    elif width >= 64:
        columns.append(("confirmed", [row.confirmed.partition(" (")[0] for row in rows]))
    if width >= 140 and race.criterion != "loss":
        columns.append(("loss", [row.loss for row in rows]))
    return [(title, cells) for title, cells in columns if set(cells) - {MISSING}]


def _name(row: Row, entry: Entry) -> Text:
    text = Text.assemble(("● ", hue(entry.optimizer)), row.name)
    return text.append(f", {row.details}", "dim") if row.details else text


def _notes(row: Row, width: int) -> Text:
    marks = [(text if width >= 100 else SHORT.get(kind, text), kind) for kind, text in row.marks]
    return Text(", ").join(Text(text, NOTES.get(kind, "")) for text, kind in marks)


def _rest(race: Race) -> str:
    hidden = race.table[ROWS:]
    lost = sum(entry.status == "diverged" for entry in hidden)
    early = sum(entry.status == "culled" for entry in hidden)
    parts = [f"{lost} diverged"] * bool(lost) + [f"{early} dropped early"] * bool(early)
    which = f" ({', '.join(parts)})" if parts else ""
    return f"and {len(hidden)} more{which}" if hidden else ""
