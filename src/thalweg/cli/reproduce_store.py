"""Where are measured claims kept? One file a claim, with the settings that it answers to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import thalweg
from thalweg.claims.base import Lecture, Setting
from thalweg.records_claims import Claim
from thalweg.rundir.atomic import atomic_write, make_folder, sweep

FOLDER = "claims"  # inside the run directory
TOGETHER = "claims.json"  # all of them, for reports


def settings_of(lecture: Lecture, setting: Setting) -> dict[str, Any]:
    """What decides whether a stored answer is still the answer."""
    targets = [target.beside().to_dict() for target in lecture.targets]
    return {
        "seed": setting.seed,
        "full": setting.full,
        "version": thalweg.__version__,
        "targets": targets,
    }


def load(run: Path, lecture: Lecture, setting: Setting) -> Claim | None:
    """The stored claim of the same settings; None where there is none that can be read."""
    kept = _read(run / FOLDER / f"{lecture.name}.json")
    if kept is None or kept[0] != settings_of(lecture, setting):
        return None
    return kept[1]


def save(run: Path, lecture: Lecture, setting: Setting, claim: Claim) -> None:
    """Keep a claim, whole or not at all."""
    folder = run / FOLDER
    make_folder(folder)
    sweep(folder)
    kept = {"settings": settings_of(lecture, setting), "record": claim.to_dict()}
    atomic_write(folder / f"{lecture.name}.json", json.dumps(kept, allow_nan=False))


def everything(run: Path, order: tuple[str, ...]) -> tuple[Claim, ...]:
    """Every claim kept in the directory, in the order of the table."""
    found = {name: _read(run / FOLDER / f"{name}.json") for name in order}
    return tuple(kept[1] for kept in found.values() if kept is not None)


def _read(file: Path) -> tuple[dict[str, Any], Claim] | None:
    try:
        kept = json.loads(file.read_text("utf-8"))
        return kept["settings"], Claim.from_dict(kept["record"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # of another version, or damaged: it is measured again
