"""The cured task as a file that a person reads: the original, then one line a change and why."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from thalweg.records_diagnosis import Cured, Diagnosis
from thalweg.rundir.atomic import atomic_write

HEAD = '"""Written by thalweg diagnose.'
NAME = "cured.py"
WIDTH = 96


def write(found: Diagnosis, folder: Path, data: str | None = None) -> Path:
    """Write ``cured.py`` into ``folder``.

    Args:
        found: A diagnosis with a cure, of a task that can be loaded by its name.
        folder: Exists.
        data: The data folder that the task was loaded with.

    Returns:
        The file.

    Raises:
        ValueError: Nothing to write, a task made in Python without a name, or a file of that name
            that was not written by this function.
    """
    if found.cured is None:
        raise ValueError("no cure helped, so there is no cured task to write")
    if found.source is None:
        raise ValueError(
            "this task was made in Python and has no name to load it by; put it into a file and "
            "diagnose file.py:name"
        )
    path = folder / NAME
    if path.exists() and not path.read_text("utf-8", "replace").startswith(HEAD):
        raise ValueError(f"{path} was not written by thalweg; move it, or choose another --run")
    atomic_write(path, text(found, found.cured, data))
    return path


def text(found: Diagnosis, cured: Cured, data: str | None = None) -> str:
    """What the file says."""
    trial = cured.trial
    lines = [HEAD, ""]
    lines += _wrapped(
        f"Task '{found.task}', {len(trial.seeds)} seeds of {trial.evaluations} gradients each: "
        f"{trial.measure} {_mean(trial.before)} before and {_mean(trial.after)} after; skill "
        f"{trial.skill_before:.3f} and {trial.skill_after:.3f} (0: a constant answer, 1: perfect).",
        "",
    )
    lines += ['"""', "", "import thalweg as tw", "from thalweg.diagnose import cures", ""]
    place = f", data={data!r}" if data else ""
    lines.append(f"task = tw.load_task({found.source!r}{place})")
    reasons = {f"{f.code}: {f.title}": f for f in found.findings}
    last = ""
    for step in cured.steps:
        if step.why != last:
            lines.append("")
            lines += _wrapped(step.why or step.says, "# ")
            finding = reasons.get(step.why)
            if finding is not None:
                lines += _wrapped(finding.message, "#   ")
            last = step.why
        arguments = "".join(f", {name}={_literal(v)}" for name, v in step.arguments.items())
        lines.append(f"task = cures.{step.cure}(task{arguments})  # {_plain(step.says)}")
    return "\n".join(lines) + "\n"


def _wrapped(words: str, prefix: str) -> list[str]:
    return textwrap.wrap(_plain(words), WIDTH, initial_indent=prefix, subsequent_indent=prefix)


def _plain(words: str) -> str:
    """One printable line that ends no string and no comment."""
    line = " ".join(words.split()).replace('"""', "'''").replace("\\", "/")
    return "".join(c if c.isprintable() else "?" for c in line)


def _literal(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + "".join(f"{_literal(v)}, " for v in value).rstrip() + ")"
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    return json.dumps(value)


def _mean(values: tuple[float, ...]) -> str:
    mean = sum(values) / max(1, len(values))
    return f"{mean:.4g}"
