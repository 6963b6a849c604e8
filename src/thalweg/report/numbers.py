"""How is a number written for a person? Short, not rounded in our favour, no bare ``nan``."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from thalweg.records import Interval

THIN = "\u00a0"  # a space at which no line breaks
MISSING = "–"


def clean(text: object, limit: int | None = None) -> str:
    """One printable line: control and direction-changing characters become visible escapes.

    Args:
        text: Anything a user may have named, from a task file or the command line.
        limit: Longest answer in characters; the middle is left out beyond it. None: no limit.
    """
    line = "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
        for c in str(text)
    )
    if limit is None or len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"


def significant(x: float, digits: int = 3, *, trim: bool = True) -> str:
    """``x`` to so many significant digits, without trailing zeros unless ``trim`` is off.

    >>> significant(0.000123456), significant(0.5), significant(1234567.0), significant(5e-7)
    ('0.000123', '0.5', '1.23e6', '5e-7')
    """
    if math.isnan(x):
        return "not a number"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == 0:
        return "0"
    mantissa, _, exponent = f"{x:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if -5 < power < 6:
        text = f"{float(f'{x:.{digits - 1}e}'):.{max(0, digits - 1 - power)}f}"
        text = text.rstrip("0").rstrip(".") if trim and "." in text else text
    else:
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}e{power}"
    return text.replace("-", "−", 1) if x < 0 else text


def rate(lr: float) -> str:
    """A learning rate in two digits: 0.0316 → ``0.032``, 1e-5 → ``1e-5``.

    >>> rate(0.03162), rate(0.3), rate(1e-5), rate(0.0001)
    ('0.032', '0.3', '1e-5', '0.0001')
    """
    return significant(lr, 2)


def count(n: float) -> str:
    """A whole number with thousands set apart: ``1,234,567``."""
    return f"{n:,.0f}" if math.isfinite(n) else significant(n)


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``0.4 s``, ``48 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}{THIN}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60}{THIN}min"


def plural(n: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``, ``2 entries``."""
    if n == 1:
        return f"1 {noun}"
    return f"{count(n)} {noun[:-1]}ies" if noun.endswith("y") else f"{count(n)} {noun}s"


@dataclass(frozen=True, slots=True)
class Criterion:
    """How the one criterion of a race is written. Records keep it *higher is better*.

    A loss is stored as its negative; people read it as a loss, so signs and bounds turn back here.
    """

    name: str

    @property
    def flipped(self) -> bool:
        """Whether the stored value is the negative of what people read."""
        return self.name == "loss"

    @property
    def label(self) -> str:
        """``held-out accuracy``, ``held-out loss`` or the metric's own name."""
        return f"held-out {clean(self.name, 60)}"

    @property
    def better(self) -> str:
        """Which direction is good, in one word."""
        return "lower" if self.flipped else "higher"

    def read(self, stored: float) -> float:
        """The number people read for a stored one."""
        return -stored if self.flipped else stored

    def show(self, stored: float | None) -> str:
        """The value with its unit: ``97.1 %`` or ``0.213``."""
        if stored is None or math.isnan(stored):
            return MISSING
        return self._written(self.read(stored))

    def spread(self, width: float | None) -> str:
        """A standard error or a difference, without its sign: ``0.4 %`` or ``0.012``."""
        if width is None or math.isnan(width):
            return MISSING
        if self.name == "accuracy":
            return f"{abs(width) * 100:.1f}{THIN}%" if math.isfinite(width) else significant(width)
        return significant(abs(width), 2)

    def points(self, difference: float | None) -> str:
        """A difference between two values: ``1.2 points`` for accuracies, else a plain number."""
        if difference is None or math.isnan(difference):
            return MISSING
        if self.name == "accuracy" and math.isfinite(difference):
            return f"{difference * 100:.1f}".replace("-", "−") + f"{THIN}points"
        return significant(difference, 2)

    def bounds(self, interval: Interval) -> str:
        """``96.2 to 97.9 %``: the lower bound as people read it comes first."""
        low, high = sorted((self.read(interval.low), self.read(interval.high)))
        if self.name == "accuracy" and math.isfinite(low) and math.isfinite(high):
            low, high = max(low, 0.0), min(high, 1.0)  # no share is outside these
            first, second = self._written(low), self._written(high)
            return f"{first.removesuffix(f'{THIN}%')} to {second}"
        return f"{self._written(low)} to {self._written(high)}"

    def _written(self, x: float) -> str:
        if self.name != "accuracy" or not math.isfinite(x):
            return significant(x)
        digits = 1
        while digits < 4 and x < 1 and f"{x * 100:.{digits}f}".startswith("100"):
            digits += 1  # 99.97 % is not 100 %
        return f"{x * 100:.{digits}f}{THIN}%"
