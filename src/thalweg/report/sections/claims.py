"""How are lecture claims shown? Ours beside the published number, the verdict, and the figure."""

from __future__ import annotations

from typing import Any

from thalweg.records_claims import Claim, Measure, Reproduction
from thalweg.report.figures import Figure
from thalweg.report.numbers import clean, count, duration
from thalweg.report.sections import claims_figures, claims_words
from thalweg.report.sections.codes import image
from thalweg.report.sheet import Sheet, fill

MARKS = {"confirmed": "best", "corrected": "tied", "reduced": "tied", "not reproduced": "warn"}


def draw(claim: Claim) -> Sheet:
    """The section of one claim alone."""
    shown = _shown(claim, "")
    body = fill("claim.html.j2", claim=shown)
    return Sheet(clean(claim.title, 120), claims_words.verdict_line(claim), body, shown["figures"])


def draw_all(record: Reproduction) -> Sheet:
    """The section of several claims: an overview by lecture, then each of them."""
    groups = [
        (title, [_shown(claim, f"{claim.name}/") for claim in claims])
        for title, claims in claims_words.by_deck(record.claims)
    ]
    body = fill(
        "claims.html.j2",
        headline=claims_words.headline(record),
        tally=claims_words.tally(record),
        groups=groups,
        skipped=_pairs(record.skipped),
        failed=_pairs(record.failed),
        machine=_machine(record),
        seconds=duration(record.seconds),
        command=clean(record.command),
    )
    figures = tuple(f for _, group in groups for claim in group for f in claim["figures"])
    return Sheet("Claims of the lectures, measured", claims_words.headline(record), body, figures)


def _shown(claim: Claim, prefix: str) -> dict[str, Any]:
    """What the templates need of one claim."""
    first = claims_words.decisive(claim)
    figures: tuple[Figure, ...] = tuple(
        claims_figures.draw(chart, f"{clean(prefix)}chart-{place}")
        for place, chart in enumerate(claim.charts)
    )
    return {
        "name": clean(claim.name, 60),
        "title": clean(claim.title, 120),
        "decks": ", ".join(clean(deck, 20) for deck in claim.decks),
        "section": clean(claim.section, 60),
        "says": clean(claim.says, 800),
        "verdict": clean(claim.verdict, 40),
        "verdict_line": claims_words.verdict_line(claim),
        "mark": MARKS.get(claim.verdict, "warn"),
        "measures": [_row(measure) for measure in claim.measures],
        "first": _row(first),
        "correction": clean(claim.correction, 600),
        "reduced": clean(claim.reduced, 400),
        "notes": [clean(note, 600) for note in claim.notes],
        "figures": figures,
        "pictures": [image(p, max(1, round(480 / max(1, p.width)))) for p in claim.pictures],
        "effort": f"{duration(claim.seconds)}, seed {count(claim.seed)}",
        "seconds": duration(claim.seconds),
        "command": clean(claim.command),
    }


def _row(measure: Measure) -> dict[str, str]:
    return {
        "name": clean(measure.name, 160),
        "ours": claims_words.ours(measure),
        "published": claims_words.published(measure),
        "standing": claims_words.standing(measure),
        "source": clean(measure.source, 80),
    }


def _pairs(values: dict[str, str]) -> list[tuple[str, str]]:
    return [(clean(name, 60), clean(why, 400)) for name, why in values.items()]


def _machine(record: Reproduction) -> list[tuple[str, str]]:
    """Of the claim measured last: claims of one directory may come from several."""
    if not record.claims:
        return []
    return [(clean(k, 60), clean(v, 200)) for k, v in record.claims[-1].machine.items()]
