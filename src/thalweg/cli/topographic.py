"""``thalweg dictionary --topographic``: filters laid out on a torus, with their page."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from rich.text import Text

PATCH = 12  # pixels
L1 = 0.2
STRIDES = (2, 1)  # the first that divides both sides


def grid_of(text: str) -> tuple[int, int]:
    """``"16x20"`` → ``(16, 20)``.

    Raises:
        ValueError: For anything else.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", text):
        raise ValueError(f"--topographic {text}: expected rows x columns, for example 16x16")
    a, b = text.split("x")
    return int(a), int(b)


def learn(
    found: Any,
    grid: str,
    *,
    l1: float | None,
    patch: int | None,
    patches: int,
    passes: float,
    out: Path,
    report: Path | None,
    seed: int,
    device: str,
    json: bool,
    quiet: bool,
    command: str,
) -> int:
    """Learn a map from the images of a source, save it, and show what it came to."""
    from thalweg.cli import screen, signals

    a, b = grid_of(grid)
    if not found.images:
        raise ValueError(f"--topographic needs images; {found.name} holds signals, one in each row")
    side = patch or PATCH
    from thalweg.sparse.patches import sample_patches
    from thalweg.sparse.topographic import TopographicMap, TopographicPSD, TorusPools, Whitening
    from thalweg.sparse.topographic.summary import summarise

    size = min(6, a, b)
    stride = next(s for s in STRIDES if a % s == 0 and b % s == 0 and s <= size)
    pools = TorusPools(a, b, size, stride)
    raw = sample_patches(found.images, side, patches, seed)
    whitening = Whitening.fit(raw)
    X = whitening.apply(raw)
    model = TopographicPSD(X.shape[1], pools, L1 if l1 is None else l1, seed=seed)
    answers, progress = signals.consoles(json)
    begin = time.monotonic()
    with signals.bar(progress, quiet, "learning") as step:
        batch = min(256, len(X))
        model.fit(
            signals.on_device(X.numpy(), device),
            steps=max(1, round(passes * len(X) / batch)),
            batch_size=batch,
            progress=step,
            every=20,
        )
    model.atoms = model.atoms.cpu()
    TopographicMap.of(model, whitening, (side, side)).save(out)
    record = summarise(
        model,
        whitening,
        found.images,
        side,
        source=found.name,
        seconds=time.monotonic() - begin,
        seed=seed,
        command=command,
    )
    if report is not None:
        record.report(report)
    if json:
        screen.write_line(record.to_json())
    elif not quiet:
        _show(record, answers)
        answers.print(f"map: {out}", soft_wrap=True, markup=False)
    if report is not None and not json:
        screen.write_line(f"report: {report}")
    return 0


def _show(record: Any, console: Any) -> None:
    from thalweg.report.numbers import duration
    from thalweg.report.sections.topographic import headline, sentences

    console.print(Text(headline(record), "bold"), soft_wrap=True)
    for line in (*sentences(record), f"took {duration(record.seconds)}"):
        console.print(Text(line, "dim"), soft_wrap=True)
