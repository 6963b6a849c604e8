"""Terminals: the answer, the table and the live board at several widths."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from thalweg.cli.live import Lines, draw, watching
from thalweg.cli.options import parse_rates, parse_space
from thalweg.cli.screen import show_race
from thalweg.records import Progress


def printed(width: int, *things, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    for thing in things:
        thing(console) if callable(thing) else console.print(thing)
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_answer_fits_every_width_and_the_line_stays_whole(race, width):
    text = printed(width, lambda console: show_race(race, console))
    assert race.best.line in text
    for line in text.splitlines():
        assert len(line.rstrip()) <= width or race.best.line in line


def test_wide_terminals_get_intervals_and_narrow_ones_scores(race):
    wide, narrow = (printed(width, lambda console: show_race(race, console)) for width in (120, 80))
    assert "95.0\u00a0% (94.0 to 96.0\u00a0%)" in wide
    assert "behind the best" in wide
    assert "behind the best" not in narrow
    assert "tied" in narrow


def test_names_cannot_speak_rich_markup_or_escape_codes(race):
    name = "[red]x[/red]\x1b[31m\n"
    table = tuple(replace(entry, optimizer=name, line=name) for entry in race.table)
    found = replace(race, table=table, notes=(name,), task=name)
    text = printed(120, lambda console: show_race(found, console), terminal=True)
    assert "[red]x[/red]\\u001b[31m\\u000a" in text
    assert "\x1b[31m" not in text


def test_live_board_shows_share_time_left_and_leaders(race):
    progress = Progress("racing", 340, 1000, 12.0, 20.0, race.table[:2], "", "accuracy")
    text = printed(80, draw(progress, 80, passed=5.0))
    assert "racing" in text
    assert "34 %" in text
    assert "17\u00a0s · 15\u00a0s left" in text
    assert "Adam" in text
    assert "96.0\u00a0% ± 0.5" in text


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (200, 60)])
def test_live_board_fits_the_terminal(race, size):
    width, height = size
    progress = Progress("racing", 3, 9, 1.0, None, race.table[:3] * 3, "m" * 300, "accuracy")
    lines = printed(width, draw(progress, width, height)).splitlines()
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= max(height, 6)


def test_live_board_before_anything_is_known_gives_each_fact_its_line():
    progress = Progress("probing learning rates", 0, 0, 1.0, None, (), "sgd up to 10")
    lines = printed(80, draw(progress, 80)).splitlines()
    assert lines[0].startswith("probing learning rates")
    assert lines[-1].strip() == "sgd up to 10"


def test_live_board_survives_odd_numbers(race):
    odd = replace(race.table[0], held_out=float("nan"), stderr=float("nan"))
    text = printed(80, draw(Progress("racing", 12, 10, 0.0, -3.0, (odd,)), 80))
    assert "100 %" in text
    assert "0.0\u00a0s left" in text


def test_terminal_board_erases_itself(race):
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with watching(console) as watch:
        watch(Progress("racing", 1, 2, 1.0, 1.0, race.table[:1], "", "accuracy"))
    assert "racing" in out.getvalue()
    assert out.getvalue().rstrip("\n").endswith("\x1b[2K")


def test_plain_lines_come_when_the_phase_changes_and_then_seldom(race):
    out = io.StringIO()
    lines = Lines(Console(file=out, width=80), every=3600)
    for done in range(5):
        lines(Progress("racing", done, 9, 1.0))
    lines(Progress("confirming", 9, 9, 2.0))
    assert [line.split(" ")[0] for line in out.getvalue().splitlines()] == ["racing", "confirming"]


def test_rates_are_log_spaced_with_exact_ends():
    assert parse_rates("1e-4:1:5") == (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    assert parse_rates(" auto ") == "auto"
    assert parse_rates("1:0.01:3") == (1.0, 0.1, 0.01)


def test_space_reads_numbers_words_none_and_pairs():
    assert parse_space(["weight-decay=0,1e-4", "schedule=cosine", "nesterov=true,False"]) == {
        "weight_decay": (0, 1e-4),
        "schedule": ("cosine",),
        "nesterov": (True, False),
    }
    assert parse_space(["betas=(0.9, 0.99),(0.5,0.9)"]) == {"betas": ((0.9, 0.99), (0.5, 0.9))}
    assert parse_space(None) is None
