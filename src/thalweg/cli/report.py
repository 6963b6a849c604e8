"""``thalweg report``: the page of finished (or unfinished) runs, drawn again from their records."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli import options
from thalweg.records import Record

EXAMPLE = "thalweg report runs/digits"
# what a run directory may hold, and the class of record
RECORDS = {
    "race.json": "Race",
    "train.json": "Run",
    "claims.json": "Reproduction",
    "diagnosis.json": "Diagnosis",
    "spectrum.json": "SpectrumReport",
}


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN …", help="Run directories; or race.json files or pages made before."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="The page; default: RUN/report.html."),
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option("--run", metavar="DIR", help="The same as RUN.")
    ] = None,
    json: options.Json = False,
    traceback: options.Traceback = False,
    seed: options.NoSeed = 0,
    device: options.NoDevice = "auto",
) -> int:
    """Redraw the page from the records of one or several runs; nothing is trained.

    Several runs go into one page, thalweg-report.html unless --out says otherwise.
    """
    places = [*(runs or ()), *(run or ())]
    if not places:
        raise ValueError("no run directory was given, as in: thalweg report runs/digits")
    records = [record for place in places for record in read(place)]
    from thalweg.report.page import write  # after what may be wrong with the input: it is slow

    if out is None:
        single = len(places) == 1 and places[0].is_dir()
        out = places[0] / "report.html" if single else Path("thalweg-report.html")
    written = write(records, out)
    if json:
        values = [record.to_dict() for record in records]
        print(jsonlib.dumps(values[0] if len(values) == 1 else values, allow_nan=False))
        print(f"report: {written}", file=sys.stderr)
    else:
        sys.stdout.write(f"report: {written}\n")
    return 0


def read(place: Path) -> list[Record]:
    """The records of a run directory, a ``race.json`` or a page.

    Raises:
        ValueError: There are none, or they cannot be read; says where and what to do.
    """
    from thalweg.report.embed import revive, unpack

    if not place.exists():
        raise ValueError(f"{place} does not exist; give the directory of a run (see --run)")
    if place.is_dir():
        found = [place / name for name in RECORDS if (place / name).is_file()]
        if not found:
            raise ValueError(
                f"{place} holds no {' or '.join(RECORDS)}: it is no run directory, or the race "
                "stopped before its first results; race again with --run to go on"
            )
        return [record for file in found for record in read(file)]
    try:
        text = place.read_text("utf-8")
        if place.suffix.lower() in (".html", ".htm"):
            return unpack(text)
        return [revive(RECORDS.get(place.name, "Race"), jsonlib.loads(text))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{place} cannot be read as the record of a run ({_why(error)}); race again to "
            "make it anew, or give another file"
        ) from error


def _why(error: Exception) -> str:
    if isinstance(error, jsonlib.JSONDecodeError | UnicodeDecodeError):
        return "it is not whole JSON" if isinstance(error, jsonlib.JSONDecodeError) else "not text"
    return str(error)
