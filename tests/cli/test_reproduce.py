"""``thalweg reproduce`` on made-up claims: verdicts, exit codes, what is kept, clear refusals."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace

import pytest

from thalweg import claims as thalweg_claims
from thalweg.claims.base import Lecture, Outcome, Setting, Target, claim
from thalweg.records import Reproduction
from thalweg.records_claims import Chart, Curve
from thalweg.registry import Member, Registry
from thalweg.report.embed import unpack

CALLS: list[str] = []


def made(name: str, answer: float, seconds: float = 1, **more) -> Lecture:
    """A claim that one half is 0.5 ± 0.01, answered as told."""

    @claim(
        name=name,
        title=f"Title of {name}",
        decks=more.pop("decks", ("D1",)),
        section="gradient#g1",
        says="A half is one half.",
        targets=(
            Target("the half", 0.5, 0.01, source="[D]"),
            Target("its double", relation="reported"),
        ),
        seconds=seconds,
        **more,
    )
    def measure(setting: Setting) -> Outcome:
        CALLS.append(name)
        if answer == 13:
            raise ArithmeticError("broken")
        if answer == 14:
            setting.folder("words")
        setting.progress("half way")
        curve = Curve("a", (1.0, 10.0, 100.0), (1.0, 0.0, float("inf")))
        chart = Chart("T", "x", "y", (curve,), x_log=True, y_log=True)
        reduced = "half the size" if answer == 0.501 and not setting.full else ""
        return Outcome({"the half": answer, "its double": 2 * answer}, (chart,), reduced=reduced)

    return measure


TRUE = made("true", 0.5, decks=("D1", "D0"))
SLIP = made("slip", 0.505, correction="The slide says 0.6; right is 0.5.", decks=("D0",))
SMALL = made("small", 0.501, full_seconds=90)
FALSE = made("false", 0.52)
SLOW = made("slow", 0.5, seconds=31)
BROKEN = made("broken", 13)
NEEDY = made("needy", 0.5, needs=("mnist",))
LATE = made("late", 14)


@pytest.fixture(autouse=True)
def table(monkeypatch, tmp_path):
    """A table of claims whose measuring takes no time, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    CALLS.clear()

    def put(*lectures: Lecture) -> None:
        module = types.ModuleType("made_up_claims")
        for lecture in lectures:
            setattr(module, lecture.name, lecture)
        monkeypatch.setitem(sys.modules, "made_up_claims", module)
        members = [Member(x.name, f"made_up_claims:{x.name}", x.title) for x in lectures]
        monkeypatch.setattr(thalweg_claims, "CLAIMS", Registry("claim", *members))

    put(TRUE, SLIP, SMALL, FALSE, SLOW, BROKEN, NEEDY, LATE)
    return put


def test_a_claim_says_ours_beside_the_published_number_with_its_verdict(thalweg, tmp_path):
    ended = thalweg("reproduce", "slip")
    assert ended.code == 0
    assert "0.505" in ended.out
    assert "0.5 ± 0.01" in ended.out.replace("\u00a0", " ")
    assert "Corrected" in ended.out
    assert "The slide says 0.6" in ended.out
    kept = Reproduction.from_dict(json.loads((tmp_path / "runs/claims/claims.json").read_text()))
    assert [c.verdict for c in kept.claims] == ["corrected"]
    page = (tmp_path / "runs/claims/report.html").read_text()
    assert unpack(page) == [kept]
    assert thalweg("report", "runs/claims").code == 0


@pytest.mark.parametrize(
    ("name", "verdict", "code"),
    [
        ("true", "confirmed", 0),
        ("slip", "corrected", 0),
        ("small", "reduced", 0),
        ("false", "not reproduced", 1),
    ],
)
def test_verdict_and_exit_code(thalweg, name, verdict, code):
    ended = thalweg("reproduce", name, "--json")
    assert ended.code == code
    assert json.loads(ended.out)["claims"][0]["verdict"] == verdict


def test_all_runs_the_quick_ones_and_goes_on_past_failures(thalweg):
    ended = thalweg("reproduce", "--all")
    assert ended.code == 1
    assert [*CALLS] == ["true", "slip", "small", "false", "broken", "late"]
    assert "ArithmeticError: broken" in ended.out
    assert "folder 'mnist'" in ended.out
    assert "3 of 4 claims of the lectures hold" in ended.out
    assert "1 confirmed, 1 corrected, 1 reduced, 1 not reproduced, 2 skipped" in ended.out
    CALLS.clear()
    thalweg("reproduce", "--all", "--slow")
    assert CALLS == ["slow", "broken", "late"], "what has a verdict is not measured again"


def test_measured_again_under_other_settings_or_when_fresh(thalweg, table, tmp_path):
    thalweg("reproduce", "true")
    thalweg("reproduce", "true")
    assert CALLS == ["true"]
    thalweg("reproduce", "true", "--seed", "1")
    thalweg("reproduce", "true", "--seed", "1", "--full")
    thalweg("reproduce", "true", "--seed", "1", "--full", "--fresh")
    assert len(CALLS) == 4
    (tmp_path / "runs/claims/claims/true.json").write_text("{")
    thalweg("reproduce", "true", "--seed", "1", "--full")
    assert len(CALLS) == 5
    wider = replace(TRUE, targets=(Target("the half", 0.5, 0.02), TRUE.targets[1]))
    table(wider, FALSE)
    thalweg("reproduce", "true", "--seed", "1", "--full")
    assert len(CALLS) == 6, "the target has changed"


def test_data_that_is_absent_is_said_and_skipped(thalweg, tmp_path, monkeypatch):
    ended = thalweg("reproduce", "needy")
    assert ended.code == 2
    assert "THALWEG_DATA" in ended.out
    assert CALLS == []
    (tmp_path / "data/mnist").mkdir(parents=True)
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "data"))
    assert thalweg("reproduce", "needy").code == 0


def test_the_list_shows_published_numbers_before_anything_runs(thalweg):
    ended = thalweg("reproduce", "--list")
    text = ended.out.replace("\u00a0", " ")
    assert ended.code == 0
    assert text.index("D0: Optimization") < text.index("slip") < text.index("D1: Special")
    assert "0.5 ± 0.01" in text
    assert "quick, 1.0 s; full 1 min 30 s" in text
    assert "slow, 31 s" in text
    assert "also D0" in text
    assert CALLS == []
    listed = json.loads(thalweg("reproduce", "--list", "--json").out)
    assert [each["name"] for each in listed] == list(thalweg_claims.CLAIMS.names())
    assert listed[0]["targets"][0] == {
        "name": "the half", "published": 0.5, "tolerance": 0.01, "relation": "equal",
        "unit": "", "source": "[D]",
    }  # fmt: skip
    assert [e["cost"] for e in listed].count("slow") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--list"),
        (("tru",), "Did you mean 'true'"),
        (("true", "--all"), "not both"),
        (("true", "--slow"), "goes with --all"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(thalweg, words, says):
    ended = thalweg("reproduce", *words)
    assert ended.code == 2
    assert says in ended.err
    assert ended.err.count("\n") == 1


def test_a_directory_collects_what_several_commands_measured(thalweg, tmp_path):
    thalweg("reproduce", "slip", "--run", "r")
    ended = thalweg("reproduce", "true", "--run", "r", "--json")
    assert [c["name"] for c in json.loads(ended.out)["claims"]] == ["true"]
    [page] = unpack((tmp_path / "r/report.html").read_text())
    assert [c.name for c in page.claims] == ["true", "slip"]


def test_quiet_prints_the_page_s_path_only(thalweg, tmp_path):
    ended = thalweg("reproduce", "true", "--quiet")
    assert (ended.out, ended.err) == (f"{tmp_path / 'runs/claims/report.html'}\n", "")


def test_bars_bands_and_log_axes_become_plotly_data_without_what_cannot_be_drawn():
    from thalweg.report.sections.claims_figures import draw

    chart = Chart(
        "T",
        "x",
        "y",
        (
            Curve("bars", (0.0, 1.0), (0.0, 4.0), "bars"),
            Curve("band", (1.0, 2.0), (1.0, 2.0), "both", (0.5, 1.0), (2.0, 3.0)),
            Curve("one", (3.0,), (float("nan"),)),
        ),
        y_log=True,
    )
    figure = draw(chart, "chart-0")
    kinds = [(t.get("type"), t.get("mode"), t.get("fill")) for t in figure.data]
    assert kinds == [
        ("bar", None, None),
        (None, "lines", "toself"),
        (None, "lines+markers", None),
        (None, "markers", None),
    ]
    assert figure.data[0]["y"] == [None, 4.0]
    assert figure.data[1]["y"] == [2.0, 3.0, 1.0, 0.5]
    assert figure.data[3]["y"] == [None]
    assert figure.layout["yaxis"]["type"] == "log"
    json.dumps(figure.data, allow_nan=False)


def test_numbers_show_the_digits_that_the_comparison_needs():
    from thalweg.report.sections import claims_words as words

    close = Target("radius", 1.00097, 1e-5).beside(1.0009741)
    assert words.ours(close).startswith("1.00097")
    off = Target("ratio", 1.0, 0.0, "at most").beside(1.0000004)
    assert words.ours(off) != "1"
    assert words.published(Target("x", 3.0, 0.5, "at least", "s").beside()) == (
        "≥\u00a03\u00a0(±\u00a00.5)\u00a0s"
    )
    assert words.published(Target("x", relation="reported").beside()) == "–"
