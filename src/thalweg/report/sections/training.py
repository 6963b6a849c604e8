"""How is one training shown? The answer, its curves, and how to use the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thalweg.records_training import Run
from thalweg.report.axes import Axis, criterion_axis, loss_axis
from thalweg.report.figures import Figure, capital
from thalweg.report.names import short
from thalweg.report.numbers import Criterion, clean, count, duration, significant
from thalweg.report.sheet import Sheet, fill

NAMES = {
    "batch_size": "batch size",
    "burn_in": "burn-in",
    "bytes": "bytes exchanged",
    "decay": "decay of the average",
}


def draw(run: Run) -> Sheet:
    """The sheet of one training."""
    facts = [(NAMES.get(name, name), _value(value)) for name, value in run.settings.items()]
    facts = [*((n, _value(v)) for n, v in run.hyperparameters.items()), *facts]
    return Sheet(
        title=f"Training {clean(run.task, 60)} with {short(run.optimizer)}",
        summary=headline(run),
        body=fill(
            "training.html.j2",
            run=run,
            headline=headline(run),
            sentences=sentences(run),
            figures=curves(run),
            facts=facts,
            use=usage(run),
            effort=effort(run),
        ),
        figures=tuple(curves(run)),
    )


def headline(run: Run) -> str:
    """What came of it, in one line."""
    criterion = Criterion(run.criterion)
    name = short(run.optimizer)
    if run.status == "diverged":
        return f"{name} diverged after {count(run.evaluations)} gradients on {clean(run.task, 60)}."
    return (
        f"{name} reaches {criterion.label} {criterion.show(run.held_out)} on {clean(run.task, 60)}."
    )


def sentences(run: Run) -> list[str]:
    """The few facts that go with it."""
    criterion = Criterion(run.criterion)
    said = []
    if run.status != "diverged":
        said.append(
            f"On {count(run.samples.get('confirmation', 0))} samples that were never looked at "
            f"before: {criterion.show(run.confirmed)}."
        )
    if run.best != run.evaluations and run.status != "diverged":
        said.append(
            f"The weights kept are those after {count(run.best)} of {count(run.evaluations)} "
            "gradients."
        )
    return said


def effort(run: Run) -> str:
    """What it cost."""
    steps = "" if run.steps == run.evaluations else f" in {count(run.steps)} steps"
    return (
        f"{count(run.evaluations)} gradients{steps}, {duration(run.seconds)}, seed {run.seed}, "
        f"{clean(run.machine.get('processor', 'unknown processor'), 60)}."
    )


def usage(run: Run) -> str:
    """Python that loads the weights."""
    if not run.run:
        return ""
    where = str(Path(run.run) / "model.safetensors")
    task = f"tw.load_task({run.source!r})" if run.source else "task"
    return (
        "import thalweg as tw\nfrom thalweg.training import load\n\n"
        f"model = load({where!r}, {task})"
    )


def curves(run: Run) -> list[Figure]:
    """Training loss, held-out criterion, and the rate where it changes."""
    trace, criterion = run.trace, Criterion(run.criterion)
    if not trace.evaluations:
        return []
    held = criterion_axis(criterion, trace.held_out, run.samples.get("selection"))
    figures = [
        _curve("loss", "Training loss", run, trace.train_loss, loss_axis(trace.train_loss, "loss")),
        _curve("held-out", capital(criterion.label), run, trace.held_out, held),
    ]
    if len(set(run.rates)) > 1:
        axis = loss_axis(run.rates, "learning rate")
        figures.append(_curve("rate", "Learning rate", run, run.rates, axis))
    return figures


def _curve(name: str, title: str, run: Run, values: tuple[float, ...], axis: Axis) -> Figure:
    xs = list(run.trace.evaluations)
    data: list[dict[str, Any]] = [
        {
            "x": xs,
            "y": [axis.place(y) for y in values],
            "mode": "lines" if len(xs) > 1 else "markers",
            "line": {"color": "@hue0", "width": 2.5},
            "marker": {"color": "@hue0"},
            "showlegend": False,
            "customdata": [
                f"{count(x)} gradients: {significant(y)}" for x, y in zip(xs, values, strict=True)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    ]
    ringed = run.best in xs and run.best != xs[-1]
    if ringed:
        place = xs.index(run.best)
        data.append(
            {
                "x": [run.best],
                "y": [axis.place(values[place])],
                "mode": "markers",
                "marker": {"color": "@hue1", "size": 10, "symbol": "circle-open"},
                "name": "kept",
                "showlegend": True,
                "hoverinfo": "skip",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "gradient evaluations"}, "rangemode": "tozero"},
        "yaxis": axis.layout,
    }
    alt = f"{title} against gradient evaluations."
    caption = "The ring marks the weights that were kept." if ringed else ""
    return Figure(name, f"{title} while training", caption, alt, data, layout, 320)


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.8g}"  # settings are copied: 0.999 must not become 1
    if isinstance(value, int):
        return count(value)
    if isinstance(value, list | tuple):
        return ", ".join(_value(v) for v in value)
    return clean(value, 60)
