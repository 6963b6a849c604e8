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
from thalweg.report.numbers import clean
from thalweg.report.sections.race import Row, leaderboard
from thalweg.report.words import answer, effort

ROWS = 12
# Mid-bright hues that hold on dark and on light terminals, in the order of the page's.
HUES = ("#4a90d9", "#e07b39", "#2aa882", "#a56fd6", "#dc5560", "#2c9fc0", "#a8912a", "#8d8983")
NOTES = {"best": "bold green", "tied": "green", "default": "cyan", "warn": "yellow", "quiet": "dim"}


def hue(optimizer: str) -> Style:
    """The colour of an optimiser, the same as on the page."""
    return Style(color=HUES[look(optimizer).hue])


def consoles(json: bool) -> tuple[Console, Console]:
    """Where answers go and where progress goes: with ``--json`` stdout is for the record alone."""
    progress = Console(stderr=True, highlight=False)
    return (progress if json else Console(highlight=False)), progress


def write_line(line: str) -> None:
    """One line on stdout exactly as it is: never wrapped, never styled."""
    sys.stdout.write(f"{line}\n")


def show_race(race: Race, console: Console) -> None:
    """The answer in words, the best entries, and the line that builds the winner."""
    told = answer(race)
    console.print()
    console.print(Text(told.headline, "bold"))
    for sentence in told.sentences:
        console.print(Text(sentence))
    for caution in told.cautions:
        console.print(Text(f"! {caution}", "yellow"))
    if told.line:
        console.print()
        console.print(Padding(Text(clean(told.line), "bold cyan"), (0, 0, 0, 4)), soft_wrap=True)
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
    """The best entries as a table that fits ``width`` columns."""
    rows = list(zip(leaderboard(race), race.table, strict=True))[:ROWS]
    wide = {"behind": width >= 96, "confirmed": width >= 76, "loss": width >= 116}
    keep = {
        name: room and any(getattr(row, name) != "–" for row, _ in rows)
        for name, room in wide.items()
    }
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("optimiser", overflow="ellipsis", no_wrap=True, min_width=8)
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column(
        "loss" if race.criterion == "loss" else clean(race.criterion, 14), no_wrap=True
    )
    titles = {"behind": "behind the best", "confirmed": "confirmed", "loss": "loss"}
    for name, kept in keep.items():
        if kept and not (name == "loss" and race.criterion == "loss"):
            table.add_column(titles[name], no_wrap=True)
    table.add_column("", no_wrap=True)
    for row, entry in rows:
        cells = [Text(row.rank), _name(row, entry), Text(row.lr), Text(row.score)]
        for name, kept in keep.items():
            if kept and not (name == "loss" and race.criterion == "loss"):
                cells.append(Text(getattr(row, name)))
        table.add_row(*cells, _notes(row), style="dim" if row.quiet else "")
    return table


def _name(row: Row, entry: Entry) -> Text:
    text = Text.assemble(("● ", hue(entry.optimizer)), row.name)
    return text.append(f", {row.details}", "dim") if row.details else text


def _notes(row: Row) -> Text:
    return Text(", ").join(Text(text, NOTES.get(kind, "")) for kind, text in row.marks)


def _rest(race: Race) -> str:
    hidden = race.table[ROWS:]
    lost = sum(entry.status == "diverged" for entry in hidden)
    early = sum(entry.status == "culled" for entry in hidden)
    parts = [f"{lost} diverged"] * bool(lost) + [f"{early} dropped early"] * bool(early)
    which = f" ({', '.join(parts)})" if parts else ""
    return f"and {len(hidden)} more{which}" if hidden else ""
