"""``thalweg report`` and ``thalweg list``."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from thalweg.cli.listing import FAMILIES
from thalweg.records import Race
from thalweg.report.embed import unpack


@pytest.fixture
def runs(race, tmp_path, monkeypatch):
    """Two run directories, ``a`` and ``b``, as races leave them."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "race.json").write_text(replace(race, task=name).to_json())
    return tmp_path


def test_report_redraws_a_run_into_its_directory(thalweg, runs):
    ended = thalweg("report", "a")
    assert (ended.code, ended.out) == (0, f"report: {runs / 'a' / 'report.html'}\n")
    [found] = unpack((runs / "a" / "report.html").read_text())
    assert found.task == "a"


def test_several_runs_go_into_one_page(thalweg, runs):
    assert thalweg("report", "a", "--run", "b", "--out", "both.html").code == 0
    assert [r.task for r in unpack((runs / "both.html").read_text())] == ["a", "b"]
    assert thalweg("report", "a", "b").out == f"report: {runs / 'thalweg-report.html'}\n"


def test_report_redraws_a_page_from_itself(thalweg, runs):
    thalweg("report", "a")
    assert thalweg("report", "a/report.html", "--out", "again.html").code == 0
    assert (runs / "again.html").read_text() == (runs / "a" / "report.html").read_text()


def test_report_json_is_strict(thalweg, runs, race):
    ended = thalweg("report", "a", "--json")
    assert json.loads(ended.out, parse_constant=pytest.fail)["task"] == "a"
    both = json.loads(thalweg("report", "a", "b", "--json").out)
    assert [Race.from_dict(values).task for values in both] == ["a", "b"]


BROKEN = {
    "no JSON": ("{", "not whole JSON"),
    "a list": ("[]", "cannot be read"),
    "null": ("null", "cannot be read"),
    "a field too many": ('{"task": "x", "surprise": 1}', "surprise"),
    "a field missing": ('{"task": "x"}', "cannot be read"),
    "a table of numbers": ('{"task": "x", "table": [1, 2]}', "cannot be read"),
    "deeply nested": ("[" * 100_000, "cannot be read"),
    "bytes": ("\udcff", "not text"),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_records_are_refused_in_one_line(thalweg, runs, text, says):
    file = runs / "a" / "race.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    ended = thalweg("report", "a")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "a/race.json" in ended.err
    assert says in ended.err
    assert not (runs / "a" / "report.html").exists()


def test_directory_without_records_says_what_it_lacks(thalweg, runs):
    (runs / "empty").mkdir()
    ended = thalweg("report", "empty")
    assert ended.code == 2
    assert "empty holds no race.json" in ended.err


def test_page_that_is_a_folder_is_refused(thalweg, runs):
    (runs / "folder").mkdir()
    ended = thalweg("report", "a", "--out", "folder")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "folder" in ended.err


@pytest.mark.parametrize("family", FAMILIES.names())
def test_list_names_every_member(thalweg, family):
    members = tuple(FAMILIES.load(family))
    text = thalweg("list", family).out
    assert all(member.name in text for member in members)
    values = json.loads(thalweg("list", family, "--json").out)
    assert [value["name"] for value in values] == [member.name for member in members]


def test_list_without_a_family_has_all(thalweg):
    text = thalweg("list").out
    assert all(family in text for family in FAMILIES.names())
    assert set(json.loads(thalweg("list", "--json").out)) == set(FAMILIES.names())
