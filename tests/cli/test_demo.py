"""``thalweg demo``: the whole tour at a small budget, its files, and its second call."""

from __future__ import annotations

import json

import pytest

from thalweg.report.embed import unpack
from thalweg.task import load_task


@pytest.mark.slow
def test_the_tour_ends_with_a_cured_network_and_one_page(thalweg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = thalweg("demo", "--seconds", "60")
    assert ended.code == 0, ended.err
    folder = tmp_path / "thalweg-demo"
    assert ended.out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    heads = [
        line.split("   ")[0] for line in ended.out.splitlines() if line[:2] in ("1.", "2.", "3.")
    ]
    assert heads == ["1. Diagnosis", "2. Race", "3. Training"]
    diagnosis, race, training = unpack((folder / "report.html").read_text())
    assert not diagnosis.healthy
    assert diagnosis.cured.trial.skill_after > diagnosis.cured.trial.skill_before + 0.2
    assert race.best.held_out > 0.85
    assert training.held_out > 0.85
    assert training.optimizer == race.best.optimizer
    assert load_task(folder / "cured.py").name == "sick digits"  # a file like anybody's
    assert race.command == diagnosis.command == "thalweg demo --seconds 60"

    written = {f: f.stat().st_mtime_ns for f in (folder / "diagnosis.json", folder / "cured.py")}
    again = thalweg("demo", "--seconds", "60", "--json")
    assert again.code == 0
    values = json.loads(again.out)
    assert list(values) == ["diagnosis", "race", "training"]
    assert values["race"]["table"][0]["held_out"] == race.best.held_out
    assert all(f.stat().st_mtime_ns == at for f, at in written.items())  # read back, not redone


def test_a_folder_of_another_run_is_refused(thalweg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thalweg-demo").mkdir()
    (tmp_path / "thalweg-demo" / "run.json").write_text("{}")
    ended = thalweg("demo")
    assert ended.code == 2
    assert "holds another run" in ended.err


def test_a_budget_of_nothing_is_refused(thalweg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert thalweg("demo", "--seconds", "0").code == 2
    assert not (tmp_path / "thalweg-demo").exists()


def test_the_sick_file_is_the_module_that_is_shipped():
    task = load_task("thalweg.cli.sick_task:task")
    inputs, _ = task.train
    assert 3 < float(inputs.mean()) < 4
    assert task.recipe.lr == 1.0
