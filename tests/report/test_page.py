"""The page: self-contained, safe against names, complete, and its own source of numbers."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from thalweg.records import Entry, Race, Sensitivity
from thalweg.report.embed import unpack
from thalweg.report.page import render, write
from thalweg.report.sections import SECTIONS

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)",
    "<!--<script>",
    "{{ 7 * 7 }}",
    "x" * 300,
    "漢字 🙂 \u202egpj.exe\x1b[31m\x00\ud800",
    "\u2028\u2029&amp;",
)


class Elements(HTMLParser):
    """Every element of a page, and the text of the scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data


def named(race: Race, name: str) -> Race:
    """A race in which everything that can carry a name carries this one."""
    table = tuple(
        replace(
            e,
            optimizer=name,
            hyperparameters={**e.hyperparameters, name: name, "betas": [0.9, i]},
            settings={name: name, "schedule": name},
            line=name,
        )
        for i, e in enumerate(race.table)
    )
    return replace(
        race,
        task=name,
        table=table,
        sensitivity=tuple(replace(s, optimizer=name) for s in race.sensitivity),
        plan={name: [name, math.inf]},
        machine={name: name},
        budget={name: name},
        samples={name: 3},
        notes=(name,),
        command=name,
        run=name,
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(race, name):
    clean, hostile = Elements(render([race])), Elements(render([named(race, name)]))
    kinds = [tag for tag, _ in hostile.tags if tag in ("script", "img", "iframe", "style", "a")]
    assert kinds == [tag for tag, _ in clean.tags if tag in ("script", "style", "a")]
    assert not [a for _, attrs in hostile.tags for a in attrs if a.startswith("on")]
    if name.isprintable():
        assert name[:40] in hostile.text  # shown as it is, neither run nor filled in


@pytest.mark.parametrize("criterion", HOSTILE[:3])
def test_hostile_criterion_stays_text(race, criterion):
    page = Elements(render([replace(race, criterion=criterion)]))
    assert [tag for tag, _ in page.tags].count("script") == 4


def test_page_asks_for_nothing_outside_itself(race):
    page = render([race])
    for _, attrs in Elements(page).tags:
        for key in ("src", "href", "action", "data"):
            assert (attrs.get(key) or "#").startswith(("#", "data:"))
    assert "@import" not in page.split("</style>")[0]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert "default-src 'none'" in policy


def test_policy_lets_exactly_the_two_scripts_of_the_page_run(race):
    page = render([race])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert len(digests) == 2
    assert policy.endswith("script-src " + " ".join(f"'sha256-{d}'" for d in digests))


def test_page_can_be_redrawn_from_itself(race):
    page = render([race, replace(race, task="<b>&'\"\u2028")])
    again = unpack(page)
    assert [r.to_json() for r in again] == [
        race.to_json(),
        replace(race, task="<b>&'\"\u2028").to_json(),
    ]
    assert render(again) == page


def test_page_without_records_inside_is_refused():
    with pytest.raises(ValueError, match="carries no thalweg records"):
        unpack("<html><script id=other>[]</script></html>")


def test_answer_comes_before_every_table_and_figure(race):
    page = render([race])
    places = [page.index('class="headline"'), page.index("<table"), page.index('class="chart"')]
    assert places == sorted(places)
    assert "Use Adam at learning rate" in page


def test_tied_diverged_and_default_entries_are_marked(race):
    text = Elements(render([race])).text
    assert text.count("tied within noise") >= sum(e.tied for e in race.table)
    for word in ("diverged", "dropped early", "default"):
        assert word in text


def test_long_tables_are_folded():
    entries = tuple(
        Entry("sgd", {"lr": 10.0 ** (-i / 20)}, {}, 1 - i / 1000, 0.01, 0.1) for i in range(200)
    )
    page = render([bare(*entries)])
    first, _, rest = page.partition('<details class="more">')
    assert first.count("<tr>") == 12 + 1
    assert rest.count("<tr>") == 188 + 1
    assert "188 more" in rest


def bare(*table: Entry, **changes) -> Race:
    values = {
        "task": "t",
        "criterion": "accuracy",
        "table": table,
        "sensitivity": (),
        "seeds": 1,
        "samples": {},
        "budget": {},
        "executed": 0,
        "seconds": 0.0,
        "plan": {},
        "machine": {},
    }
    return Race(**(values | changes))


NAN = Entry("sgd", {"lr": 0.1}, {}, math.nan, math.nan, math.nan, status="diverged")


@pytest.mark.parametrize(
    ("race", "says"),
    [
        (bare(), "nothing ran"),
        (bare(unfinished=True), "no run has ended"),
        (bare(NAN), "every run diverged"),
        (bare(Entry("sgd", {"lr": 0.1}, {}, 0.5, 0.1, 1.0)), "Use SGD at learning rate 0.1."),
        (bare(Entry("sgd", {"lr": 0.1}, {}, 0.5, math.inf, math.inf)), "Use SGD"),
        (
            bare(
                Entry("sgd", {"lr": 0.1}, {}, math.inf, 0.1, 1.0),
                Entry("sgd", {"lr": 0.2}, {}, -math.inf, 0.1, 1.0),
                NAN,
            ),
            "No answer",
        ),
        (
            bare(
                Entry("sgd", {"lr": 0.1}, {}, 0.5, 0.1, 1.0),
                sensitivity=(Sensitivity("sgd", 0.1, math.nan, 0.0, math.inf, math.nan, math.nan),),
            ),
            "Use SGD",
        ),
        (
            bare(Entry("sgd", {"lr": 0.1}, {}, 1.0, 0.0, 0.0), criterion="accuracy", seconds=1e9),
            "100.0",
        ),
    ],
)
def test_unusual_races_are_drawn(race, says):
    assert says in Elements(render([race])).text


def test_unfinished_races_carry_a_banner(race):
    assert "Unfinished." in Elements(render([replace(race, unfinished=True)])).text
    assert "Unfinished." not in Elements(render([race])).text


def test_several_races_share_one_plotly_and_a_table_of_contents(race):
    page = render([race, replace(race, task="other")])
    assert page.count("plotly.js v") == render([race]).count("plotly.js v")
    assert 'href="#record-1"' in page
    assert '"record-1/u-curves"' in page


def test_every_column_header_and_figure_is_labelled(race):
    tags = Elements(render([race])).tags
    assert all("scope" in attrs for tag, attrs in tags if tag == "th")
    charts = [attrs for _, attrs in tags if attrs.get("class") == "chart"]
    assert len(charts) == 3
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)


def test_write_replaces_the_page_whole_or_not_at_all(race, tmp_path, monkeypatch):
    target = tmp_path / "deep" / "report.html"
    assert write([race], str(target)) == target
    before = target.read_bytes()
    monkeypatch.setattr("os.fsync", _fail)
    with pytest.raises(OSError, match="No space left"):
        write([replace(race, task="new")], target)
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def _fail(_):
    raise OSError(28, "disk full")


def test_a_record_without_a_section_is_refused_by_name(race):
    with pytest.raises(ValueError, match="unknown report section 'Interval'"):
        render([race.best.confirmation])
    with pytest.raises(ValueError, match="at least one record"):
        render([])


def test_every_section_can_be_loaded():
    for section in SECTIONS:
        assert callable(section.load())


def test_drawing_imports_no_torch():
    code = (
        "import sys; from thalweg.report.page import render; from thalweg.records import Race; "
        "render([Race('t', 'loss', (), (), 1, {}, {}, 0, 0.0, {}, {})]); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_contrast_is_at_least_four_and_a_half(race, scheme):
    style = render([race]).partition("<style>")[2].partition("</style>")[0]
    block = re.findall(r":root[^{]*\{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6});", block))
    text = [(a, b) for a in ("ink", "muted", "accent") for b in ("surface", "raised")]
    text += [("good", "good-bg"), ("warn", "warn-bg"), ("ink", "warn-bg"), ("surface", "good")]
    graphics = [(f"hue{i}", "surface") for i in range(8)]
    for pairs, least in ((text, 4.5), (graphics, 3.0)):
        for a, b in pairs:
            high, low = sorted((_luminance(colours[a]), _luminance(colours[b])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= least, (a, b)
