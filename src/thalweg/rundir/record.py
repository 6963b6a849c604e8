"""What ``run.json`` says: configuration, machine and plan, sealed with a digest of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.rundir.damage import DamagedRun, refused
from thalweg.rundir.machine import machine

SCHEMA = 1


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they would come back from a file.

    Raises:
        TypeError: Something that JSON cannot hold.
        ValueError: A number that is not finite.
    """
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except ValueError as error:
        raise ValueError(
            f"a run's configuration and plan are kept as JSON, which this is not: {error}"
        ) from error


def new(configuration: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that begins now, on this machine."""
    return {
        "schema": SCHEMA,
        "configuration": configuration,
        "machine": machine(),
        "plan": None,
    }


def sealed(record: Mapping[str, Any]) -> str:
    """The record as JSON with a digest of itself."""
    body = {key: value for key, value in record.items() if key != "sha256"}
    text = json.dumps(body, sort_keys=True)
    body["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


def read(path: Path) -> dict[str, Any] | None:
    """The record at ``path``; None if there is none.

    Raises:
        DamagedRun: It is not what was written.
        ValueError: A newer version of this library wrote it.
        OSError: It cannot be read.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        if path.is_symlink():
            raise DamagedRun(f"{path} is a link to nothing") from None
        return None
    except IsADirectoryError as error:
        raise DamagedRun(f"{path} is a folder") from error
    except OSError as error:
        raise refused(error, path, "read") from error
    except UnicodeDecodeError as error:
        raise DamagedRun(f"{path} was altered") from error
    try:
        record = json.loads(text)
        intact = json.loads(sealed(record))["sha256"] == record["sha256"]
        schema = record["schema"]
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedRun(f"{path} was altered: {error}") from error
    if not intact:
        raise DamagedRun(f"{path} was altered: its digest does not match")
    if schema != SCHEMA:
        raise ValueError(
            f"{path} was written by a newer thalweg (schema {schema}; this one knows {SCHEMA}). "
            "Update thalweg, or choose another directory."
        )
    return record


def same(folder: Path, kept: dict[str, Any], asked: dict[str, Any], resume: bool) -> None:
    """Refuse to go on with a run that was asked something else.

    Raises:
        ValueError: Names up to two keys that differ, with both values.
    """
    if not resume:
        raise ValueError(f"{folder} holds a run already. Resume it, start afresh or go elsewhere.")
    differ = [
        f"{key} was {kept.get(key)!r:.60}, now {asked.get(key)!r:.60}"
        for key in sorted(kept.keys() | asked.keys())
        if kept.get(key) != asked.get(key)
    ]
    if differ:
        more = f" and {len(differ) - 2} more" if len(differ) > 2 else ""
        raise ValueError(
            f"{folder} holds another run: {'; '.join(differ[:2])}{more}. Use --fresh to replace it "
            "or --run for another directory."
        )
