"""How do claims look in a terminal? A list before they are run; ours beside the published after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from thalweg.claims.base import Lecture
from thalweg.records_claims import Claim, Measure, Reproduction
from thalweg.report.numbers import clean, duration
from thalweg.report.sections import claims_words as words

STYLES = {
    "confirmed": "green",
    "corrected": "cyan",
    "reduced": "yellow",
    "not reproduced": "bold red",
}


def cost(lecture: Lecture) -> str:
    """``quick, 3.0 s`` or ``slow, 25 min``, and the time of the published size where it differs."""
    text = f"{'quick' if lecture.quick else 'slow'}, {duration(lecture.seconds)}"
    if lecture.full_seconds is not None:
        text += f"; full {duration(lecture.full_seconds)}"
    return text


def show_list(lectures: Sequence[Lecture], console: Console) -> None:
    """Claim, published numbers with tolerance, and cost, under the first lecture that makes it."""
    for place, deck in enumerate(sorted({lecture.decks[0] for lecture in lectures})):
        if place:
            console.print()
        console.print(Text(words.deck_title(deck), "bold"))
        for lecture in (each for each in lectures if each.decks[0] == deck):
            console.print()
            console.print(_name(lecture), soft_wrap=True)
            console.print(Padding(Text(lecture.says), (0, 0, 0, 2)))
            for lines in (lecture.correction, _needed(lecture)):
                if lines:
                    console.print(Padding(Text(lines, "dim"), (0, 0, 0, 2)))
            table = _table()
            for target in lecture.targets:
                measure = target.beside()
                table.add_row(Text(measure.name), Text(words.published(measure)))
            console.print(Padding(table, (0, 0, 0, 4)))


def _name(lecture: Lecture) -> Text:
    also = f", also {', '.join(lecture.decks[1:])}" if len(lecture.decks) > 1 else ""
    return Text.assemble(
        (lecture.name, "cyan"), f"  {lecture.title}", (f"  ({cost(lecture)}{also})", "dim")
    )


def _needed(lecture: Lecture) -> str:
    return f"Needs the folder {', '.join(lecture.needs)} of --data." if lecture.needs else ""


def _table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(ratio=None)
    table.add_column(no_wrap=True, justify="right")
    return table


def show_claim(claim: Claim, console: Console) -> None:
    """One claim in full."""
    console.print()
    console.print(Text(clean(claim.title), "bold"))
    console.print(Text(clean(claim.says)))
    for line in (claim.correction, claim.reduced and f"Smaller than the original: {claim.reduced}"):
        if line:
            console.print(Text(clean(line), "yellow"))
    console.print()
    console.print(_numbers(claim.measures))
    console.print()
    console.print(Text(words.verdict_line(claim), STYLES.get(claim.verdict, "bold")))
    for note in claim.notes:
        console.print(Text(f"· {clean(note)}", "dim"))


def _numbers(measures: Iterable[Measure]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("")
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("published", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for measure in measures:
        standing = words.standing(measure)
        style = "bold red" if standing == "differs" else ""
        table.add_row(
            Text(clean(measure.name)),
            Text(words.ours(measure), style),
            Text(words.published(measure)),
            Text(standing, style or "dim"),
        )
    return table


def show_line(claim: Claim, console: Console, stored: bool = False) -> None:
    """One claim in one line: its verdict and the number that decides."""
    first = words.decisive(claim)
    how = "kept" if stored else duration(claim.seconds)
    line = Text.assemble(
        (f"{claim.verdict:<15}", STYLES.get(claim.verdict, "bold")),
        (clean(claim.name), "cyan"),
        f"  {clean(first.name)}: {words.ours(first)}",
    )
    if first.published is not None:
        line.append(f" (published {words.published(first)})")
    line.append(f"  {how}", "dim")
    console.print(line, soft_wrap=True)


def show_other(verdict: str, name: str, why: str, console: Console) -> None:
    """A claim that was skipped or ended in an error, in one line."""
    console.print(
        Text.assemble((f"{verdict:<15}", "yellow"), (clean(name), "cyan"), f"  {clean(why)}"),
        soft_wrap=True,
    )


def show_sum(record: Reproduction, console: Console) -> None:
    """How many claims hold."""
    console.print()
    console.print(Text(words.headline(record), "bold"))
    tally = words.tally(record)
    if tally:
        console.print(Text(f"{tally[:1].upper()}{tally[1:]}."))
