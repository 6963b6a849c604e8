"""``thalweg reproduce``: claims of the lectures, ours beside the published number."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.door import BAD_INPUT, NOTHING, OK, repeat

if TYPE_CHECKING:
    from rich.console import Console

    from thalweg.claims.base import Lecture, Setting
    from thalweg.records_claims import Claim, Reproduction

EXAMPLE = "thalweg reproduce linear-unit"
RUN = Path("runs/claims")


def reproduce(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME] …", help="Claims, as 'thalweg list claims' names them."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All that take up to half a minute each.")
    ] = False,
    slow: Annotated[bool, typer.Option("--slow", help="With --all: the slow ones as well.")] = (
        False
    ),
    listed: Annotated[
        bool, typer.Option("--list", help="Claims, published numbers, tolerances and cost.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="The published size, where a smaller one is usual.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", envvar="THALWEG_DATA", help="Holds mnist, cifar10 and so on."
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Records and page; default: runs/claims."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Keep what was measured, or measure anew.")
    ] = True,
    report: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The page; default: in the run directory.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    traceback: options.Traceback = False,
    device: options.NoDevice = "auto",
) -> int:
    """Measure claims of the lectures and say whether they hold.

    A claim measured before under the same settings is not run again. The exit code is 1 where a
    claim is not reproduced.
    """
    lectures = _chosen(names or [], every, slow, listed)
    if listed:
        return _list(lectures, json)
    from thalweg.claims.base import Setting
    from thalweg.cli.console import console

    folder = run if run is not None else RUN
    answers = console(stderr=json)
    notes = console(stderr=True)
    asked = Setting(seed=seed, data=data, full=full)
    found = _measure_all(
        lectures, asked, folder, resume, traceback, _Teller(answers, notes, quiet, len(lectures))
    )
    from dataclasses import replace

    found = replace(found, command=repeat(context.obj or (), drop=("--json", "--quiet", "-q")))
    written = _write(found, folder, report)
    if json:
        print(jsonlib.dumps(found.to_dict(), allow_nan=False))
    if not quiet:
        from thalweg.cli.reproduce_screen import show_sum

        if len(lectures) > 1:
            show_sum(found, answers)
        if written is not None:
            answers.print(f"report: {written}", soft_wrap=True, markup=False)
    elif written is not None and not json:
        print(written)
    return _code(found)


def _chosen(names: list[str], every: bool, slow: bool, listed: bool) -> list[Lecture]:
    """The claims that were asked for, imported."""
    from thalweg.claims import CLAIMS

    if slow and not (every or listed):
        raise ValueError("--slow goes with --all: name the claims, or give --all --slow")
    if names and every:
        raise ValueError("give the names of claims or --all, not both")
    if not names and not every and not listed:
        raise ValueError(
            "no claim was named; try 'thalweg reproduce --list', then name some, or give --all"
        )
    for name in names:
        CLAIMS[name]  # all names are looked at before anything is imported
    lectures = [CLAIMS.load(name) for name in dict.fromkeys(names or CLAIMS.names())]
    if every and not slow:
        lectures = [lecture for lecture in lectures if lecture.quick]
    return lectures


def _list(lectures: list[Lecture], json: bool) -> int:
    if json:
        print(jsonlib.dumps([_entry(lecture) for lecture in lectures], allow_nan=False))
        return OK
    from thalweg.cli.console import console
    from thalweg.cli.reproduce_screen import show_list

    show_list(lectures, console())
    return OK


def _entry(lecture: Lecture) -> dict[str, Any]:
    return {
        "name": lecture.name,
        "title": lecture.title,
        "decks": list(lecture.decks),
        "section": lecture.section,
        "says": lecture.says,
        "correction": lecture.correction,
        "targets": [
            {
                "name": target.name,
                "published": target.published,
                "tolerance": target.within,
                "relation": target.relation,
                "unit": target.unit,
                "source": target.source,
            }
            for target in lecture.targets
        ],
        "cost": "quick" if lecture.quick else "slow",
        "seconds": lecture.seconds,
        "full_seconds": lecture.full_seconds,
        "needs": list(lecture.needs),
    }


def _measure_all(
    lectures: list[Lecture],
    asked: Setting,
    folder: Path,
    resume: bool,
    traceback: bool,
    tell: _Teller,
) -> Reproduction:
    """Each in turn; what goes wrong with one does not keep the others from being measured."""
    from thalweg.cli import reproduce_store as store
    from thalweg.records_claims import Reproduction

    begin = time.monotonic()
    claims: list[Claim] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for lecture in lectures:
        kept = store.load(folder, lecture, asked) if resume else None
        if kept is not None:
            claims.append(kept)
            tell.found(kept, stored=True)
            continue
        try:
            with tell.running(lecture) as progress:
                claim = lecture.run(_with(asked, progress))
        except FileNotFoundError as error:
            skipped[lecture.name] = str(error)
            tell.other("skipped", lecture, str(error))
        except Exception as error:
            if traceback:
                raise
            failed[lecture.name] = f"{type(error).__name__}: {error}"
            tell.other("error", lecture, failed[lecture.name])
        else:
            store.save(folder, lecture, asked, claim)
            claims.append(claim)
            tell.found(claim)
    return Reproduction(tuple(claims), skipped, failed, time.monotonic() - begin)


def _with(asked: Setting, progress: Callable[[str], None]) -> Setting:
    from dataclasses import replace

    return replace(asked, progress=progress)


def _write(found: Reproduction, folder: Path, report: Path | None) -> Path | None:
    """The page of all that the directory keeps, and its records together; None: nothing to show."""
    from dataclasses import replace

    from thalweg.claims import CLAIMS
    from thalweg.cli import reproduce_store as store
    from thalweg.rundir.atomic import atomic_write

    together = replace(found, claims=store.everything(folder, CLAIMS.names()))
    if not together.claims:
        return None
    atomic_write(folder / store.TOGETHER, together.to_json())
    return together.report(report if report is not None else folder / "report.html")


def _code(found: Reproduction) -> int:
    if found.failed or found.count("not reproduced"):
        return NOTHING
    return OK if found.claims else BAD_INPUT


class _Teller:
    """What is said while claims are measured: blocks for a few, a line each for many."""

    def __init__(self, answers: Console, notes: Console, quiet: bool, total: int) -> None:
        self.answers, self.notes, self.quiet, self.total = answers, notes, quiet, total
        self.place = 0

    def running(self, lecture: Lecture) -> Any:
        """A context in which the claim is measured; it gives the claim's way to say how far."""
        from contextlib import contextmanager

        from thalweg.cli.reproduce_screen import cost
        from thalweg.report.numbers import clean

        self.place += 1
        head = f"[{self.place}/{self.total}] {lecture.name} ({cost(lecture)})"

        @contextmanager
        def terminal() -> Any:
            with self.notes.status(head.replace("[", "\\[")) as status:
                yield lambda message: status.update(f"\\{head}  {clean(message, 60)}")

        @contextmanager
        def lines() -> Any:
            if not self.quiet:
                self.notes.print(head, markup=False, soft_wrap=True)
            yield lambda message: None

        return terminal() if self.notes.is_terminal and not self.quiet else lines()

    def found(self, claim: Claim, stored: bool = False) -> None:
        """A claim has its verdict."""
        from thalweg.cli import reproduce_screen as screen

        if stored:
            self.place += 1
        if self.quiet:
            return
        if self.total > 3:
            screen.show_line(claim, self.answers, stored)
        else:
            screen.show_claim(claim, self.answers)

    def other(self, verdict: str, lecture: Lecture, why: str) -> None:
        """A claim was skipped, or ended in an error: said even where all else is quiet."""
        from thalweg.cli import reproduce_screen as screen

        console = self.notes if self.quiet else self.answers
        screen.show_other(verdict, lecture.name, why, console)
