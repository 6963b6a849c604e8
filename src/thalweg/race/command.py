"""The command line that repeats a race."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def command(asked: Mapping[str, Any], path: Path | None, workers: int) -> str:
    """The command line that repeats this race, where the task can be named on one."""
    if asked["source"] is None:
        return ""
    words = ["thalweg", "race", asked["source"], "--optimizers", ",".join(asked["optimizers"])]
    if asked["lrs"] != "auto":
        words += ["--lrs", ",".join(repr(lr) for lr in asked["lrs"])]
    for axis, values in asked["space"].items():
        words += ["--space", f"{axis}={','.join(str(value) for value in values)}"]
    words += ["--seeds", str(asked["seeds"]), "--seed", str(asked["seed"])]
    for name, value in asked["budget"].items():
        if value is not None:
            words += [f"--{name}", f"{value:g}" if name != "evaluations" else str(value)]
    if not asked["cull"]:
        words.append("--no-cull")
    if asked["engine"] != "auto":
        words += ["--engine", asked["engine"]]
    if asked["dtype"] is not None:
        words += ["--dtype", asked["dtype"].removeprefix("torch.")]
    if asked.get("autocast") is not None:
        words += ["--autocast", asked["autocast"]]
    if workers > 1:
        words += ["--workers", str(workers)]
    if path is not None:
        words += ["--run", str(path)]
    return shlex.join(words)
