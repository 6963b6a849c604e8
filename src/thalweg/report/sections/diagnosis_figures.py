"""The figures of a diagnosis: the run as it is, and before beside after."""

from __future__ import annotations

import math
from typing import Any

from thalweg.records import Trace
from thalweg.records_diagnosis import Diagnosis, Trial
from thalweg.report.axes import Axis, criterion_axis, loss_axis
from thalweg.report.figures import Figure
from thalweg.report.numbers import Criterion, count, significant


def run_figure(found: Diagnosis) -> list[Figure]:
    """Training loss of the recipe as it is, with the loss of a constant answer."""
    trace = found.trace
    values = [v for v in trace.train_loss if math.isfinite(v)]
    if len(values) < 2:
        return []
    floor = found.numbers.get("loss of a constant answer")
    every = [*values, *([floor] if floor is not None else [])]
    axis = loss_axis(every, "training loss")
    data = [_line(trace, trace.train_loss, axis, "by the recipe", "@hue0")]
    if floor is not None and math.isfinite(floor):
        data.append(
            {
                "x": [trace.evaluations[0], trace.evaluations[-1]],
                "y": [axis.place(floor)] * 2,
                "mode": "lines",
                "line": {"color": "@ink", "width": 1, "dash": "dot"},
                "name": "a constant answer",
                "hoverinfo": "skip",
            }
        )
    layout = {"xaxis": {"title": {"text": "gradients"}, "rangemode": "tozero"},
              "yaxis": axis.layout}  # fmt: skip
    alt = "Training loss of the recipe as it is against gradients."
    caption = "Mean loss between looks; dotted: the best answer that ignores the input."
    return [Figure("as-it-is", "Training as it is", caption, alt, data, layout, 300)]


def rates(found: Diagnosis) -> list[Figure]:
    """Loss of short runs against the learning rate."""
    if len(found.ladder.rates) < 3:
        return []
    points = [
        (r, v) for r, v in zip(found.ladder.rates, found.ladder.losses, strict=True)
        if math.isfinite(v)
    ]  # fmt: skip
    failed = [r for r, v in zip(found.ladder.rates, found.ladder.losses, strict=True)
              if not math.isfinite(v)]  # fmt: skip
    if len(points) < 2:
        return []
    axis = loss_axis([v for _, v in points], "loss of a short run")
    places = [axis.place(v) for _, v in points]
    top = max((p for p in places if p is not None), default=0.0)
    own = found.numbers.get("learning rate")
    data: list[dict[str, Any]] = [
        {
            "x": [r for r, _ in points], "y": places, "mode": "lines+markers",
            "line": {"color": "@hue0", "width": 2}, "name": "ends lower than it starts",
            "customdata": [f"rate {significant(r)}: loss {significant(v)}" for r, v in points],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    ]  # fmt: skip
    if failed:
        data.append(
            {
                "x": failed, "y": [top] * len(failed), "mode": "markers", "name": "fails",
                "marker": {"color": "@hue4", "symbol": "x", "size": 9},
                "customdata": [f"rate {significant(r)} fails" for r in failed],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )  # fmt: skip
    if own is not None:
        low = min((p for p in places if p is not None), default=0.0)
        data.append(
            {
                "x": [own, own], "y": [low, top], "mode": "lines", "name": "the recipe's rate",
                "line": {"color": "@ink", "width": 1, "dash": "dot"}, "hoverinfo": "skip",
            }
        )  # fmt: skip
    layout = {"xaxis": {"type": "log", "title": {"text": "learning rate"}}, "yaxis": axis.layout}
    alt = "Loss of short runs against the learning rate."
    caption = f"Runs of {count(found.ladder.steps)} gradients from equal weights and batches."
    return [Figure("ladder", "Which rates work", caption, alt, data, layout, 300)]


def comparison(found: Diagnosis, trial: Trial | None, name: str) -> list[Figure]:
    """The criterion before and after, the first seed of each."""
    if trial is None or len(trial.trace_after.evaluations) < 2:
        return []
    criterion = Criterion(found.criterion)
    before, after = trial.trace_before, trial.trace_after
    values = [v for v in (*before.held_out, *after.held_out) if math.isfinite(v)]
    if not values:
        return []
    axis = criterion_axis(criterion, values, found.samples.get("selection"))
    data = [
        _line(before, before.held_out, axis, "as it is", "@hue4"),
        _line(after, after.held_out, axis, "changed", "@hue2"),
    ]
    layout = {"xaxis": {"title": {"text": "gradients"}, "rangemode": "tozero"},
              "yaxis": axis.layout}  # fmt: skip
    alt = f"{criterion.label} before and after the change against gradients."
    caption = f"{trial.change[:1].upper()}{trial.change[1:]}: first of {len(trial.seeds)} seeds."
    if not any(math.isfinite(v) for v in before.held_out):
        caption += " As it is, training diverges: there is no line to draw."
    return [Figure(name, "Before and after", caption, alt, data, layout, 280)]


def _line(trace: Trace, values: tuple[float, ...], axis: Axis, name: str, colour: str) -> Any:
    points = [(x, y) for x, y in zip(trace.evaluations, values, strict=False) if math.isfinite(y)]
    return {
        "x": [x for x, _ in points],
        "y": [axis.place(y) for _, y in points],
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 5},
        "name": name,
        "customdata": [f"{name}, {count(x)} gradients: {significant(y)}" for x, y in points],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
