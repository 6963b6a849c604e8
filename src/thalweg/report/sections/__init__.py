"""Which section of a page draws which record? One line per class of record, one file per section.

A section is ``draw(record) -> Sheet``: the title, the HTML (a template filled with plain values)
and the figures that it mentions.
"""

from __future__ import annotations

from thalweg.registry import Member, Registry

SECTIONS = Registry(
    "report section",
    Member("Race", "thalweg.report.sections.race:draw", "which optimiser, which learning rate"),
    Member("Run", "thalweg.report.sections.training:draw", "one training to the end"),
    Member(
        "SpectrumReport", "thalweg.report.sections.spectrum:draw", "the curvature at some weights"
    ),
    Member("Diagnosis", "thalweg.report.sections.diagnosis:draw", "what limits a training"),
    Member("CodesReport", "thalweg.report.sections.codes:draw", "a dictionary, or sparse codes"),
    Member(
        "FiltersReport", "thalweg.report.sections.filters:draw", "filters that slide over images"
    ),
    Member("TopographyReport", "thalweg.report.sections.topographic:draw", "a map on a torus"),
    Member("Claim", "thalweg.report.sections.claims:draw", "a claim of the lectures, measured"),
    Member("Reproduction", "thalweg.report.sections.claims:draw_all", "claims of the lectures"),
    Member("GapReport", "thalweg.report.sections.gap:draw", "an encoder against its own decoder"),
)
