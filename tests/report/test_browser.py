"""The page in a real browser: it draws, keeps quiet, fits a phone and follows the scheme."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from thalweg.report.page import write

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"" + "y" * 300


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open records at a width and scheme; fails on any console error, request or dialog."""
    faults: list[str] = []

    def opened(records, width=1280, scheme="light"):
        path = write(records, tmp_path / "page.html")
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(r.url)
            ),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]")
        page.wait_for_timeout(150)
        return page

    yield opened
    assert faults == []


def test_charts_are_drawn_without_errors_or_requests(show, race):
    page = show([race])
    for chart in page.locator(".chart").all():
        assert chart.locator("svg.main-svg .scatterlayer path.js-line").count() >= 3
    assert page.locator("svg.main-svg .xtick").count() > 3


def test_hostile_names_run_nothing(show, race):
    table = tuple(replace(e, optimizer=ATTACK, line=ATTACK) for e in race.table)
    page = show([replace(race, task=ATTACK, table=table, command=ATTACK, notes=(ATTACK,))])
    assert page.locator("script").count() == 4
    assert page.locator("img").count() == 0
    assert page.locator(".chart svg.main-svg").count() > 0


def test_phone_does_not_scroll_sideways(show, race):
    long = tuple(replace(e, line="x" * 400) for e in race.table)
    page = show([replace(race, table=long, task="z" * 300)], width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for box in page.locator(".chart").all():
        assert box.bounding_box()["width"] <= 390


def test_dark_scheme_changes_page_and_charts_live(show, race):
    page = show([race])

    def colours():
        return page.evaluate(
            """() => [getComputedStyle(document.body).backgroundColor,
                      getComputedStyle(document.body).color,
                      document.querySelector('.js-line').style.stroke,
                      document.querySelector('.xtick text').style.fill]"""
        )

    light = colours()
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(400)
    assert all(a != b for a, b in zip(light, colours(), strict=True))


def test_paper_is_light_and_unfolded(show, race):
    page = show([race], scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.querySelector('details.more').open")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 250)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.evaluate("document.querySelector('details.more').open")


def test_copy_and_download_give_the_exact_text(show, race, tmp_path):
    page = show([race])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".answer .copy").click()
    page.wait_for_function("document.querySelector('.answer .copy').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == race.best.line
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "records.json")
    [found] = json.loads((tmp_path / "records.json").read_text())
    assert found == {"class": "Race", "record": race.to_dict()}


def test_tab_reaches_links_buttons_and_scrolling_tables(show, race):
    page = show([race], width=390)
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.className || document.activeElement.id"))
    assert {"skip", "copy", "scroll"} <= seen
