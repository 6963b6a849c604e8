"""How does ours stand beside the published number? In short words, for page and terminal."""

from __future__ import annotations

import math

from thalweg.records_claims import DECKS, VERDICTS, Claim, Measure, Reproduction
from thalweg.report.numbers import MISSING, THIN, clean, count, significant

SIGNS = {"at most": "≤", "at least": "≥"}


def value(number: float, digits: int = 4) -> str:
    """A measured number: whole ones whole, small rounding errors as powers of ten."""
    if math.isfinite(number) and number == round(number) and abs(number) < 1e6:
        return count(number).replace("-", "−")
    return significant(number, digits)


def ours(measure: Measure) -> str:
    """Our number, to as many digits as the comparison needs."""
    return value(measure.ours, _digits(measure)) + _unit(measure)


def published(measure: Measure) -> str:
    """The published number with its tolerance: ``59 ± 1``, ``≥ 1``, ``–`` where there is none."""
    if measure.published is None or measure.relation == "reported":
        return MISSING
    number = value(measure.published, 6)
    tolerance = value(measure.tolerance, 2)
    if measure.relation == "equal":
        number = f"{number} ± {tolerance}" if measure.tolerance else number
    else:
        number = f"{SIGNS[measure.relation]} {number}"
        if measure.tolerance:
            number += f" (± {tolerance})"
    return number.replace(" ", THIN) + _unit(measure)


def standing(measure: Measure) -> str:
    """Whether it holds, in a word."""
    if measure.relation == "reported" or measure.published is None:
        return "reported"
    return "holds" if measure.holds else "differs"


def decisive(claim: Claim) -> Measure:
    """The measure that a line about the claim shows: the first that fails, else the first."""
    judged = [m for m in claim.measures if m.published is not None and m.relation != "reported"]
    return next((m for m in judged if not m.holds), (judged or list(claim.measures))[0])


def by_deck(claims: tuple[Claim, ...]) -> list[tuple[str, list[Claim]]]:
    """Claims under the first lecture that makes them, in the order of the lectures."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        found.setdefault(claim.decks[0] if claim.decks else "", []).append(claim)
    return [(deck_title(deck), found[deck]) for deck in sorted(found)]


def deck_title(deck: str) -> str:
    """A lecture's sign and title."""
    return f"{clean(deck, 20)}: {DECKS[deck]}" if deck in DECKS else clean(deck, 20) or "no lecture"


def headline(record: Reproduction) -> str:
    """How many claims hold, in one sentence."""
    total = len(record.claims)
    if not total:
        return "No claim was measured."
    bad = record.count("not reproduced")
    noun = "claim" if total == 1 else "claims"
    verb = "holds" if total - bad == 1 else "hold"
    return f"{total - bad} of {total} {noun} of the lectures {verb}."


def tally(record: Reproduction) -> str:
    """The verdicts counted: ``40 confirmed, 8 corrected``."""
    parts = [f"{record.count(v)} {v}" for v in VERDICTS if record.count(v)]
    parts += [f"{len(record.skipped)} skipped"] if record.skipped else []
    parts += [f"{len(record.failed)} ended in an error"] if record.failed else []
    return ", ".join(parts)


def verdict_line(claim: Claim) -> str:
    """The verdict and what it means for this claim, in a sentence."""
    return {
        "confirmed": "Confirmed: every number agrees within its tolerance.",
        "corrected": "Corrected: the slide has a slip, and the right form holds.",
        "reduced": "Reduced: it holds at a smaller size than the original's.",
        "not reproduced": "Not reproduced: at least one number is outside its tolerance.",
    }.get(claim.verdict, clean(claim.verdict, 60))


def _digits(measure: Measure) -> int:
    """Enough to see the tolerance, and a difference where there is one that counts."""
    if not math.isfinite(measure.ours) or not measure.ours:
        return 4
    digits = 4
    if 0 < measure.tolerance < abs(measure.ours):
        digits = max(digits, math.ceil(math.log10(abs(measure.ours) / measure.tolerance)) + 1)
    digits = min(digits, 8)
    if measure.published is not None and not measure.holds:
        while digits < 12 and value(measure.ours, digits) == value(measure.published, digits):
            digits += 1
    return digits


def _unit(measure: Measure) -> str:
    return f"{THIN}{clean(measure.unit, 20)}" if measure.unit else ""
