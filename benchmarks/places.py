"""Where results are written: ``results/`` here, or the folder that THALWEG_RESULTS names."""

from __future__ import annotations

import os
from pathlib import Path

RECORDED = Path(__file__).parent / "results"  # what the documentation quotes


def results(name: str) -> Path:
    """The file of one benchmark; its folder is made."""
    folder = Path(os.environ.get("THALWEG_RESULTS") or RECORDED)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"
