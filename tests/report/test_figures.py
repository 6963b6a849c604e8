"""Figures as data: what is drawn where, and that plotly takes all of it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace

import plotly.graph_objects as go
import pytest

from thalweg.records import Trace
from thalweg.report.axes import criterion_axis, loss_axis, rate_axis
from thalweg.report.names import SLOTS, look
from thalweg.report.numbers import Criterion
from thalweg.report.training import training_curves
from thalweg.report.u_curves import u_curves


def painted(value):
    """Colour names replaced by a colour, as the page's script does."""
    if isinstance(value, dict):
        return {key: painted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [painted(item) for item in value]
    token = isinstance(value, str) and re.fullmatch(r"@[a-z]+\d?(/[\d.]+)?", value)
    return "#123456" if token else value


def as_loss(race):
    """The same race with a loss as its criterion."""
    table = tuple(
        replace(
            entry,
            held_out=-entry.loss,
            seeds=tuple(
                replace(
                    seed,
                    trace=replace(
                        seed.trace, held_out=tuple(-1.5 * x for x in seed.trace.train_loss)
                    ),
                )
                for seed in entry.seeds
            ),
        )
        for entry in race.table
    )
    return replace(race, table=table, criterion="loss")


@pytest.mark.parametrize("change", [lambda r: r, as_loss, lambda r: replace(r, criterion="f1")])
def test_plotly_accepts_every_property(race, change):
    for figure in (u_curves(change(race)), *training_curves(change(race))):
        go.Figure(data=painted(figure.data), layout=painted(figure.layout))
        json.dumps(asdict(figure), allow_nan=False)


def test_curve_passes_through_the_scores(race):
    criterion = Criterion("accuracy")
    axis = criterion_axis(
        criterion, [e.held_out for e in race.table if e.status == "finished"], 270
    )
    [curve] = [t for t in u_curves(race).data if t.get("name") == "SGD" and "yaxis" not in t]
    scores = {e.lr: e.held_out for e in race.table if e.optimizer == "sgd"}
    shown = {x: y for x, y in zip(curve["x"], curve["y"], strict=True) if x is not None}
    assert len(shown) >= 3
    for lr, y in shown.items():
        assert y == axis.place(scores[lr])


def test_error_scale_has_equal_steps_for_halved_errors():
    axis = criterion_axis(Criterion("accuracy"), [0.5, 0.97], 1000)
    a, b, c = (axis.place(x) for x in (0.9, 0.95, 0.975))
    assert b - a == pytest.approx(c - b) == pytest.approx(math.log10(2))
    assert axis.place(1.0) == pytest.approx(-math.log10(0.5 / 1000))  # half a sample wrong
    for place, text in zip(axis.layout["tickvals"], axis.layout["ticktext"], strict=True):
        assert 1 - 10**-place == pytest.approx(float(text.rstrip("\u00a0%")) / 100)


def test_low_accuracies_stay_on_a_linear_scale():
    axis = criterion_axis(Criterion("accuracy"), [0.1, 0.4], 1000)
    assert axis.place(0.25) == 0.25


def test_loss_scale_is_log_only_where_it_can_be():
    assert loss_axis([0.01, 2.0], "loss").layout["type"] == "log"
    assert "type" not in loss_axis([-1.0, 2.0], "loss").layout
    assert "type" not in loss_axis([1.0, 1.1], "loss").layout
    assert loss_axis([math.nan, 0.01, 2.0], "loss").place(math.inf) is None


def test_band_is_one_standard_error_to_each_side(race):
    found = replace(race, criterion="f1")  # linear scale
    [band] = [t for t in u_curves(found).data if t.get("fill") and t["legendgroup"] == "momentum"]
    scores = {e.lr: e for e in race.table if e.optimizer == "momentum"}
    half = len(band["x"]) // 2
    for lr, upper in zip(band["x"][:half], band["y"][:half], strict=True):
        assert upper == scores[lr].held_out + scores[lr].stderr


def test_diverged_rates_are_crosses_below_and_never_joined(race):
    figure = u_curves(race)
    crosses = {t["legendgroup"]: t["x"] for t in figure.data if t.get("yaxis") == "y2"}
    lost = {e.lr for e in race.table if e.optimizer == "sgd" and e.status == "diverged"}
    assert set(crosses["sgd"]) == lost
    assert lost


def test_line_breaks_where_a_rate_between_diverged(race):
    table = list(race.table)
    finished = sorted(
        (e for e in table if e.optimizer == "adam" and e.status == "finished" and not e.default),
        key=lambda e: e.lr,
    )
    middle = finished[1]
    place = table.index(middle)
    table[place] = replace(middle, status="diverged", held_out=math.nan, stderr=math.nan)
    [curve] = [
        t
        for t in u_curves(replace(race, table=tuple(table))).data
        if t.get("name") == "Adam" and t["mode"] == "lines+markers"
    ]
    at = curve["x"].index(None)
    assert curve["x"][at - 1] < middle.lr < curve["x"][at + 1]


def test_training_mean_is_the_mean_of_the_seeds(race):
    figure = training_curves(replace(race, criterion="f1"))[1]
    best = next(e for e in race.table if e.optimizer == "adam")
    [mean] = [t for t in figure.data if t.get("name") == "Adam" and t["line"]["width"] > 2]
    at = mean["x"].index(300)
    values = [s.trace.held_out[s.trace.evaluations.index(300)] for s in best.seeds]
    assert mean["y"][at] == pytest.approx(sum(values) / 3)


def test_races_without_traces_have_no_training_curves(race):
    table = tuple(
        replace(e, seeds=tuple(replace(s, trace=Trace()) for s in e.seeds)) for e in race.table
    )
    assert training_curves(replace(race, table=table)) == []


def test_names_cannot_speak_plotly_markup(race):
    hostile = tuple(replace(e, optimizer='<a href="javascript:x">') for e in race.table)
    names = [t["name"] for t in u_curves(replace(race, table=hostile)).data if "name" in t]
    assert names
    assert all("<" not in name for name in names)


def test_no_two_known_optimisers_look_alike():
    assert len({look(name) for name in SLOTS}) == len(SLOTS)


def test_rate_axis_of_nothing_and_of_one():
    assert rate_axis([])["type"] == "log"
    axis = rate_axis([0.3])
    low, high = axis["range"]
    assert low < math.log10(0.3) < high
    assert (axis["tickvals"], axis["ticktext"]) == ([0.3], ["0.3"])
