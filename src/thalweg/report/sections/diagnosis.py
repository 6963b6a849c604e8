"""How is a diagnosis shown? What limits, the evidence, the trial, and what was measured besides."""

from __future__ import annotations

import math
from typing import Any

from thalweg.records_diagnosis import Diagnosis, Finding, Trial
from thalweg.report.figures import Figure
from thalweg.report.names import plain, short
from thalweg.report.numbers import Criterion, clean, count, duration, rate, significant
from thalweg.report.sections.diagnosis_figures import comparison, rates, run_figure
from thalweg.report.sheet import Sheet, fill

HEALTHY = "Nothing limits this training that we can measure."
VITAL = (
    "criterion reached",
    "criterion of a constant answer",
    "final training loss",
    "loss of a constant answer",
    "learning rate",
    "best rate of short runs",
    "failing rate of short runs",
    "largest curvature at the end",
    "gradient noise scale at the end",
)


def draw(found: Diagnosis) -> Sheet:
    """The sheet of one diagnosis."""
    figures = [*run_figure(found), *rates(found)]
    blocks = []
    for place, finding in enumerate(found.findings):
        figure = comparison(found, finding.trial, f"trial-{place}")
        figures += figure
        blocks.append(_block(place + 1, finding, figure))
    after: list[Figure] = []
    if found.cured is not None:
        after = comparison(found, found.cured.trial, "cured")
        figures += after
    return Sheet(
        title=f"Diagnosis of {clean(found.task, 60)}",
        summary=headline(found),
        body=fill(
            "diagnosis.html.j2",
            found=found,
            headline=headline(found),
            sentences=opening(found),
            blocks=blocks,
            run=run_figure(found),
            ladder=rates(found),
            cured=found.cured and {
                "steps": [(clean(s.says), clean(s.why)) for s in found.cured.steps],
                "told": told(found.cured.trial),
                "file": clean(found.cured.file),
                "figures": after,
            },
            numbers=[(name, significant(v)) for name, v in found.numbers.items()],
            layers=_layers(found),
            recipe=[(k.replace("_", " "), plain(v)) for k, v in found.recipe.items()
                    if v not in (None, {}, "")],
            effort=effort(found),
        ),
        figures=tuple(figures),
    )  # fmt: skip


def headline(found: Diagnosis) -> str:
    """The answer in one line."""
    limiting = [f for f in found.findings if f.severity != "info"]
    if not limiting:
        return HEALTHY
    more = len(limiting) - 1
    rest = f", and {count(more)} more" if more else ""
    return f"{limiting[0].title}{rest}."


def opening(found: Diagnosis) -> list[str]:
    """Where the training stands."""
    criterion = Criterion(found.criterion)
    reached = found.numbers.get("criterion reached", math.nan)
    floor = found.numbers.get("criterion of a constant answer")
    said = f"By its own recipe ({_recipe(found)}) {clean(found.task, 60)} "
    if math.isfinite(reached):
        said += f"reaches {criterion.label} {criterion.show(reached)}"
        if floor is not None and math.isfinite(floor):
            said += f"; a constant answer gets {criterion.show(floor)}"
    else:
        said += "diverges"
    return [f"{said}, after {count(found.evaluations)} gradients."]


def _recipe(found: Diagnosis) -> str:
    recipe = found.recipe
    parts = [short(str(recipe.get("optimizer", "?")))]
    if isinstance(recipe.get("lr"), int | float):
        parts.append(f"rate {rate(recipe['lr'])}")
    parts.append(f"batches of {plain(recipe.get('batch_size'))}")
    return ", ".join(parts)


def measured(finding: Finding) -> str:
    """The number and what it is held against."""
    if finding.measured is None:
        return ""
    text = significant(finding.measured)
    if finding.threshold is not None:
        text += f", threshold {significant(finding.threshold)}"
    return text + (f" ({clean(finding.where)})" if finding.where else "")


def advice(finding: Finding) -> str:
    """What to change."""
    return clean(finding.remedy)


def told(trial: Trial) -> str:
    """What a trial came to, in one sentence."""
    criterion = Criterion(trial.measure if trial.measure != "balanced accuracy" else "accuracy")
    label = trial.measure if trial.measure == "balanced accuracy" else criterion.label
    before, after = (_shown(criterion, values) for values in (trial.before, trial.after))
    gain = trial.gain
    text = f"{clean(trial.change)}: {label} {before} → {after}"
    if len(trial.seeds) > 1 and math.isfinite(gain.low):
        text += (
            f", skill {significant(gain.value)} higher "
            f"[{significant(gain.low)}, {significant(gain.high)}] over {len(trial.seeds)} seeds"
        )
    return f"{text} of {count(trial.evaluations)} gradients"


def _shown(criterion: Criterion, values: tuple[float, ...]) -> str:
    fine = [v for v in values if math.isfinite(v)]
    if not fine or len(fine) < len(values) / 2:
        return "diverges"
    return criterion.show(sum(fine) / len(fine))


def vital(found: Diagnosis) -> list[tuple[str, float]]:
    """The numbers that fit a screen."""
    return [(name, found.numbers[name]) for name in VITAL if name in found.numbers]


def effort(found: Diagnosis) -> str:
    """What it cost."""
    return (
        f"{duration(found.seconds)}, runs of {count(found.evaluations)} gradients, "
        f"{count(found.samples.get('train', 0))} training and "
        f"{count(found.samples.get('selection', 0))} held-out samples, "
        f"{clean(found.machine.get('processor', 'unknown processor'), 60)}."
    )


def _block(place: int, finding: Finding, figures: list[Figure]) -> dict[str, Any]:
    return {
        "place": place,
        "finding": finding,
        "mark": {"error": "warn", "warning": "warn"}.get(finding.severity, "tied"),
        "measured": measured(finding),
        "trial": told(finding.trial) if finding.trial is not None else "",
        "verdict": finding.trial.verdict if finding.trial is not None else "",
        "evidence": [(clean(k), significant(v)) for k, v in finding.evidence.items()],
        "figures": figures,
    }


def _layers(found: Diagnosis) -> list[dict[str, str]]:
    return [
        {
            "name": clean(layer.name, 40),
            "kind": clean(layer.kind, 24),
            "parameters": count(layer.parameters),
            "output": significant(layer.output_rms),
            "gradient": significant(layer.gradient_rms),
            "update": significant(layer.update_ratio),
        }
        for layer in found.layers
    ]
