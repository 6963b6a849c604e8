"""Claims on slips and on numbers stated with the lectures: verdicts, and wrong numbers show."""

from __future__ import annotations

import pytest

from thalweg.claims import (
    elastic_bounds,
    entropy_errata,
    second_moments,
    shared_work,
    shrinkage,
    valleys,
)

VERDICTS = {
    "local-entropy-limit": "corrected",
    "gibbs-signs": "corrected",
    "entropy-sgd-step": "corrected",
    "entropy-sgd-runaway": "corrected",
    "easgd-beyond-bound": "corrected",
    "easgd-synchronous": "confirmed",
    "smooth-shrinkage": "corrected",
    "ista-overcomplete": "confirmed",
    "second-moment": "corrected",
    "batch-norm-variance": "corrected",
    "data-parallel": "confirmed",
    "downpour": "confirmed",
    "coordinate-codes": "confirmed",
    "long-valley": "confirmed",
}
MODULES = (elastic_bounds, entropy_errata, second_moments, shared_work, shrinkage, valleys)


def test_every_claim_of_these_files_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(*MODULES)) == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_the_slip_gives_its_verdict(name, judged) -> None:
    claim = judged(name)
    assert claim.verdict == VERDICTS[name], claim.measures


@pytest.mark.parametrize("name", VERDICTS)
def test_one_number_beyond_its_tolerance_is_not_reproduced(name, judged, verdict_with) -> None:
    claim = judged(name)
    for measure in claim.measures:
        if measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced", measure.name
