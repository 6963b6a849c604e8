"""``thalweg race``: what it asks of the race, prints, and ends with."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from thalweg.cli.race import slug
from thalweg.records import Race
from thalweg.report.embed import unpack


def test_race_prints_the_answer_the_line_and_last_the_report(thalweg, stage, race, tmp_path):
    ended = thalweg("race", "digits")
    assert ended.code == 0
    lines = ended.out.strip().splitlines()
    assert lines[0] == "Use Adam at learning rate 0.0032."
    assert any(line.strip() == race.best.line for line in lines)
    page = tmp_path / "runs" / "digits" / "report.html"
    assert lines[-1] == f"report: {page}"
    assert page.exists()


def test_everything_said_is_handed_to_the_race(thalweg, stage, tmp_path):
    command = (
        "race digits --optimizers sgd,adamw --lrs 0.1,0.01 --space weight_decay=0,1e-4 "
        "--space schedule=cosine --seeds 2 --epochs 1.5 --run r --fresh --workers 2 --device cpu "
        "--dtype float64 --seed 7 --no-cull --threads 1 --engine stacked --ray local "
        "--autocast bfloat16"
    )
    assert thalweg(*command.split()).code == 0
    asked = dict(stage.asked)
    assert asked.pop("task").name == "digits"
    assert callable(asked.pop("progress"))
    assert str(asked.pop("run")) == "r"
    assert asked == {
        "optimizers": ("sgd", "adamw"),
        "lrs": (0.1, 0.01),
        "space": {"weight_decay": (0, 1e-4), "schedule": ("cosine",)},
        "seeds": 2,
        "seconds": None,
        "epochs": 1.5,
        "evaluations": None,
        "resume": True,
        "fresh": True,
        "workers": 2,
        "ray": "local",
        "device": "cpu",
        "dtype": "float64",
        "autocast": "bfloat16",
        "seed": 7,
        "cull": False,
        "engine": "stacked",
        "threads": 1,
    }


def test_json_is_the_record_and_nothing_else(thalweg, stage, race):
    ended = thalweg("race", "digits", "--json")
    values = json.loads(ended.out)
    assert (
        Race.from_dict(values).to_dict() == replace(race, command="thalweg race digits").to_dict()
    )
    assert "Use Adam" in ended.err
    assert "report.html" in ended.err


def test_quiet_prints_the_report_alone(thalweg, stage, tmp_path):
    ended = thalweg("race", "digits", "--quiet", "--report", "out/page.html")
    assert ended.out == f"{tmp_path / 'out' / 'page.html'}\n"
    assert ended.err == ""
    assert stage.asked["progress"] is None


def test_progress_is_plain_lines_where_there_is_no_terminal(thalweg, stage):
    ended = thalweg("race", "digits")
    assert ended.err.splitlines() == [
        "probing learning rates · 0.1\u00a0s · sgd up to 10",
        "racing · 500 of 1,000 gradients · 1.0\u00a0s · 1.5\u00a0s left · "
        "best Adam at 0.0032: 96.0\u00a0%",
    ]


def test_page_keeps_the_command_that_made_it(thalweg, stage, tmp_path):
    thalweg("race", "digits", "--seeds", "3", "--run", "a b", "--quiet")
    [found] = unpack((tmp_path / "a b" / "report.html").read_text())
    assert found.command == "thalweg race digits --seeds 3 --run 'a b'"


def test_nothing_finished_ends_with_one(thalweg, stage, diverged):
    stage.answer = diverged
    ended = thalweg("race", "digits")
    assert ended.code == 1
    assert "every run diverged" in ended.out


def test_interrupt_says_how_to_go_on(thalweg, stage):
    stage.answer = KeyboardInterrupt()
    ended = thalweg("race", "digits", "--fresh", "--run", "my runs/a", "--json")
    assert ended.code == 130
    assert ended.out == ""
    assert ended.err.splitlines()[-1].endswith(
        "this goes on from there: thalweg race digits --run 'my runs/a'"
    )


def test_task_file_of_the_user_is_loaded(thalweg, stage, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nimport thalweg as tw\nfrom torch import nn\n"
        "X, y = torch.randn(40, 3), torch.arange(40) % 2\n"
        "from thalweg.task import Task\n"
        "task = Task('My Task!', model=lambda: nn.Linear(3, 2),"
        " loss=nn.functional.cross_entropy, train=(X, y), held_out=(X, y))\n"
    )
    ended = thalweg("race", "mine.py:task", "--quiet")
    assert ended.code == 0, ended.err
    assert stage.asked["run"].parent.name == "runs"
    assert stage.asked["run"].name.startswith("my-task-")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/",
        "..",
        "a/b\\c",
        "",
        "\x00",
        "x" * 500,
        "漢字",
        "con:",
        "-rf ~",
        "\ud800",
    ],
)
def test_names_of_tasks_are_never_paths(name):
    folder = slug(name)
    assert folder
    assert len(folder) <= 70
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert not folder.startswith("-")


def test_names_that_lose_letters_stay_apart():
    assert slug("a/b") != slug("a\\b")
    assert slug("digits") == "digits"
