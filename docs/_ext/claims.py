"""Claims inside pages: what a lecture says, the published numbers, ours, and a live figure.

    ```{claim} linear-unit
    ```
    ```{claims-of} D0
    ```
    ```{claim-table}
    ```
    ```{claim-gallery}
    ```

Numbers and figures come from the records that ``thalweg reproduce`` wrote into ``claims_run``. A
claim without a record is shown with its targets and the command that measures it.
"""

from __future__ import annotations

import dataclasses
import html
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx

from thalweg.claims import CLAIMS
from thalweg.claims.base import Lecture
from thalweg.records_claims import DECKS, Claim
from thalweg.report.sections import claims as drawn

MARKS = {"best": "good", "tied": "fair", "warn": "poor"}


def _record(run: str, name: str) -> Claim | None:
    path = Path(run) / "claims" / f"{name}.json"
    if not run or not path.is_file():
        return None
    return Claim.from_dict(json.loads(path.read_text("utf-8"))["record"])


def _text(value: Any) -> str:
    return html.escape(str(value))


def _table(rows: list[dict[str, str]]) -> str:
    head = "<tr><th>what</th><th>ours</th><th>published</th><th></th><th>source</th></tr>"
    body = "".join(
        f"<tr><td>{_text(r['name'])}</td><td>{_text(r['ours'])}</td>"
        f"<td>{_text(r['published'])}</td><td>{_text(r['standing'])}</td>"
        f"<td>{_text(r['source'])}</td></tr>"
        for r in rows
    )
    return f'<div class="scroll"><table class="numbers"><thead>{head}</thead>{body}</table></div>'


def _figure(figure: Any) -> str:
    data = html.escape(json.dumps({"data": figure.data, "layout": figure.layout}), quote=True)
    caption = f"<figcaption>{_text(figure.caption)}</figcaption>" if figure.caption else ""
    return (
        f'<figure class="live"><p class="figure-title">{_text(figure.title)}</p>'
        f'<div class="chart" role="img" aria-label="{_text(figure.alt)}" data-chart="{data}" '
        f'style="height:{figure.height}px"></div>{caption}</figure>'
    )


def _picture(picture: Any) -> str:
    crisp = "image-rendering:pixelated;" if picture.crisp else ""
    return (
        f'<figure class="live"><img src="{picture.source}" width="{picture.width}" '
        f'height="{picture.height}" alt="{_text(picture.title)}" '
        f'style="max-width:100%;height:auto;{crisp}">'
        f"<figcaption>{_text(picture.title)}</figcaption></figure>"
    )


def _shown(record: Claim) -> str:
    shown = drawn._shown(record, "")
    parts = [_table(shown["measures"])]
    if shown["reduced"]:
        parts.append(
            f'<p class="caution">Smaller than the original: {_text(shown["reduced"])}.</p>'
        )
    parts += [_figure(figure) for figure in shown["figures"]]
    parts += [_picture(picture) for picture in shown["pictures"]]
    parts += [f"<p>{_text(note)}</p>" for note in shown["notes"]]
    effort = f"{shown['effort']} · <code>{_text(shown['command'])}</code>"
    return "".join(parts) + f'<p class="aside">{_text(shown["section"])} · {effort}</p>'


def _promised(lecture: Lecture) -> str:
    rows = "".join(
        f"<tr><td>{_text(t.name)}</td><td>"
        f"{'reported' if t.published is None else _text(f'{t.published:g} ± {t.within:g}')}"
        f"</td><td>{_text(t.source)}</td></tr>"
        for t in lecture.targets
    )
    needs = f", needs {', '.join(lecture.needs)}" if lecture.needs else ""
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr><th>what</th><th>published</th>'
        f"<th>source</th></tr></thead>{rows}</table></div>"
        f'<p class="aside">Not measured in this build (about {lecture.seconds:g} s{_text(needs)}): '
        f"<code>thalweg reproduce {_text(lecture.name)}</code></p>"
    )


class _Base(Directive):
    has_content = False
    optional_arguments = 1

    @property
    def _run(self) -> str:
        return self.state.document.settings.env.config.claims_run

    def _remember(self, name: str) -> None:
        env = self.state.document.settings.env
        known = env.metadata[env.docname].setdefault("claims", "")
        env.metadata[env.docname]["claims"] = f"{known} {name}".strip()

    def _one(self, name: str) -> list[nodes.Node]:
        lecture, record = CLAIMS.load(name), _record(self._run, name)
        self._remember(name)
        section = nodes.section(ids=[f"claim-{name}"])
        verdict = "" if record is None else record.verdict
        mark = MARKS.get(drawn.MARKS.get(verdict, ""), "fair")
        badge = f'<span class="verdict {mark}">{_text(verdict or "not measured here")}</span>'
        section += nodes.title(text=lecture.title)
        says = f"<p>{badge} {_text(lecture.says)}</p>"
        if lecture.correction:
            says += f'<p class="caution">{_text(lecture.correction)}</p>'
        body = _promised(lecture) if record is None else _shown(record)
        section += nodes.raw("", f'<div class="claim">{says}{body}</div>', format="html")
        return [section]


class OneClaim(_Base):
    """``{claim} NAME``."""

    required_arguments = 1
    optional_arguments = 0

    def run(self) -> list[nodes.Node]:
        """The claim as a section of its own."""
        return self._one(self.arguments[0])


class ClaimsOf(_Base):
    """``{claims-of} D0 [section]``: every claim whose first lecture it is, of one theme or all."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """All that the page has not shown before."""
        env = self.state.document.settings.env
        before = env.metadata[env.docname].get("claims", "").split()
        theme = self.arguments[1] if len(self.arguments) > 1 else ""
        found: list[nodes.Node] = []
        for name in CLAIMS.names():
            lecture = CLAIMS.load(name)
            fits = lecture.decks[:1] == (self.arguments[0],) and lecture.section.startswith(theme)
            if fits and name not in before:
                found += self._one(name)
        if theme and not found:
            said = f"no claim of {self.arguments[0]} is about {theme}: leave its heading out"
            raise self.error(said)
        return found


class ClaimsAlso(_Base):
    """``{claims-also} D2``: claims that this lecture shares with an earlier page, as links."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A list of links."""
        items = []
        for name in CLAIMS.names():
            lecture = CLAIMS.load(name)
            if self.arguments[0] in lecture.decks[1:]:
                link = f"{lecture.decks[0].lower()}.html#claim-{name}"
                says = _text(lecture.says)
                items.append(f'<li><a href="{link}">{_text(lecture.title)}</a>: {says}</li>')
        return [nodes.raw("", f"<ul>{''.join(items)}</ul>", format="html")] if items else []


class ClaimTable(_Base):
    """``{claim-table}``: every claim in one table, linked."""

    def run(self) -> list[nodes.Node]:
        """One row a claim, by lecture."""
        parts = []
        for deck, title in DECKS.items():
            rows = []
            for name in CLAIMS.names():
                lecture = CLAIMS.load(name)
                if lecture.decks[:1] != (deck,):
                    continue
                record = _record(self._run, name)
                verdict = "not measured here" if record is None else record.verdict
                mark = MARKS.get(drawn.MARKS.get(verdict, ""), "fair")
                link = f"{deck.lower()}.html#claim-{name}"
                rows.append(
                    f'<tr><td><a href="{link}">{_text(lecture.title)}</a></td>'
                    f"<td><code>{_text(name)}</code></td><td>{_text(lecture.section)}</td>"
                    f'<td><span class="verdict {mark}">{_text(verdict)}</span></td></tr>'
                )
            head = "<tr><th>claim</th><th>name</th><th>theme</th><th>verdict</th></tr>"
            parts.append(
                f"<h3>{_text(deck)}: {_text(title)}</h3><div class='scroll'>"
                f'<table class="numbers"><thead>{head}</thead>{"".join(rows)}</table></div>'
            )
        return [nodes.raw("", "".join(parts), format="html")]


class ClaimGallery(_Base):
    """``{claim-gallery}``: the first figure of every measured claim."""

    def run(self) -> list[nodes.Node]:
        """A grid of live figures, each with a link to its page."""
        cells = []
        for name in CLAIMS.names():
            record = _record(self._run, name)
            if record is None or not (record.charts or record.pictures):
                continue
            link = f"lectures/{record.decks[0].lower()}.html#claim-{name}"
            shown = drawn._shown(record, "")
            if shown["figures"]:
                small = dataclasses.replace(shown["figures"][0], caption="", height=280)
                inside = _figure(small)
            else:
                inside = _picture(shown["pictures"][0])
            cells.append(f'<div><a href="{link}">{_text(record.title)}</a>{inside}</div>')
        if not cells:
            cells = ["<p>No claim was measured for this build.</p>"]
        return [nodes.raw("", f'<div class="gallery">{"".join(cells)}</div>', format="html")]


def _add_scripts(app: Sphinx, page: str, template: str, context: dict, doctree: Any) -> None:
    """Plotly only where a page has figures."""
    if doctree is not None and any(
        'data-chart="' in node.astext() for node in doctree.findall(nodes.raw)
    ):
        app.add_js_file("plotly.min.js")
        app.add_js_file("figures.js", defer="defer")


def _write_plotly(app: Sphinx) -> None:
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    (static / "plotly.min.js").write_text(get_plotlyjs(), "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_config_value("claims_run", "", "env")
    for name, kind in {
        "claim": OneClaim, "claims-of": ClaimsOf, "claims-also": ClaimsAlso,
        "claim-table": ClaimTable,
        "claim-gallery": ClaimGallery,
    }.items():  # fmt: skip
        app.add_directive(name, kind)
    app.connect("builder-inited", _write_plotly)
    app.connect("html-page-context", _add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
