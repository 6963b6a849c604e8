"""The driver of the benchmarks: what is finished is not repeated, and nothing fails in silence."""

import json
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = """
import os, sys, pathlib
with open(pathlib.Path(__file__).parent / "calls.txt", "a") as file:
    print(*sys.argv[1:], os.environ["THALWEG_RESULTS"], file=file)
sys.exit("bad" in sys.argv)
"""
ASIDE = {  # not samples of a measurement
    "all", "places", "race_plain", "surface_problems", "surface_truth",
}  # fmt: skip


@pytest.fixture
def drive(campaign, tmp_path, monkeypatch):
    """The driver over made-up benchmarks: its exit code and the calls that were made so far."""
    driver = campaign("all")
    (tmp_path / "one.py").write_text(SCRIPT)
    monkeypatch.setattr(driver, "HERE", tmp_path)
    into = str(tmp_path / "results")

    def run(benches, *words):
        made = tuple(driver.Bench(name, command, 1, "?", needs) for name, command, needs in benches)
        monkeypatch.setattr(driver, "BENCHES", made)
        monkeypatch.setattr("sys.argv", ["all.py", "--into", into, *words])
        code = driver.main()
        calls = tmp_path / "calls.txt"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return code, [line.removesuffix(into).strip() for line in lines]

    return run


def test_a_finished_benchmark_is_repeated_only_when_asked_or_when_its_command_changed(drive):
    good = ("a", "one.py x", ())
    assert drive([good]) == (0, ["x"])
    assert drive([good]) == (0, ["x"])
    assert drive([good], "--again") == (0, ["x", "x"])
    assert drive([("a", "one.py y", ())]) == (0, ["x", "x", "y"])


def test_one_that_fails_is_named_and_tried_again_while_the_others_run(drive, capsys):
    benches = [("a", "one.py bad", ()), ("b", "one.py good", ())]
    assert drive(benches) == (1, ["bad", "good"])
    assert capsys.readouterr().err == "failed: a\n"
    assert drive(benches) == (1, ["bad", "good", "bad"])


def test_one_without_its_packages_is_left_out_with_a_word(drive, capsys):
    assert drive([("a", "one.py x", ("no_such_package",))]) == (0, [])
    assert "pip install no_such_package" in capsys.readouterr().out


def test_results_of_another_machine_do_not_count(drive, tmp_path):
    good = ("a", "one.py x", ())
    drive([good])
    ledger = tmp_path / "results" / "all.json"
    known = json.loads(ledger.read_text())
    known["a"]["machine"]["processor"] = "abacus"
    ledger.write_text(json.dumps(known))
    assert drive([good]) == (0, ["x", "x"])


def test_an_unknown_name_is_refused(drive):
    with pytest.raises(SystemExit, match=r"no benchmark 'b'\. Known: a"):
        drive([("a", "one.py x", ())], "b")


def test_the_table_and_the_readme_name_every_benchmark(campaign):
    scripts = {
        path.stem
        for pattern in ("race_*", "sparse_*", "surface_*", "*_cost", "parallel_*")
        for path in BENCHMARKS.glob(f"{pattern}.py")
    } - ASIDE
    benches = campaign("all").BENCHES
    assert {bench.words.split(".py")[0] for bench in benches} == scripts
    assert len({bench.name for bench in benches}) == len(benches)
    named = set(re.findall(r"`(?:benchmarks/)?(\w+)\.py`", (BENCHMARKS / "README.md").read_text()))
    assert scripts <= named
