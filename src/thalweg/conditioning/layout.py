"""Which numbers of an input are the variables, and which are further samples of them?"""

from __future__ import annotations

from torch import Tensor

LAYOUTS = ("auto", "feature", "channel", "last")


def resolve_layout(per: str, x: Tensor, mixes: bool) -> str:
    """Turn ``"auto"`` into a layout by the number of axes of ``x``, and check the others.

    Args:
        per: ``"feature"``: each number of a sample is a variable. ``"channel"``: axis 1 counts
            variables, as in ``(n, channels, rows, columns)``. ``"last"``: the last axis does, as
            in ``(n, time, variables)``. ``"auto"``: feature for vectors; for images with four axes
            channel, or feature where variables are mixed (whitening decorrelates the pixels).
        x: Inputs ``(n, ...)``.
        mixes: Whether the conditioning mixes variables.

    Raises:
        TypeError: ``x`` is not of a floating type.
        ValueError: Unknown layout, no second axis, or an ambiguous number of axes.
    """
    if per not in LAYOUTS:
        raise ValueError(f"per is {per!r}; known: {', '.join(LAYOUTS)}.")
    if not x.is_floating_point():
        raise TypeError(
            f"inputs are {str(x.dtype).removeprefix('torch.')}; means and variances need floating "
            "numbers. Convert measurements and images with .float(); codes of words or categories "
            "have no scale to condition."
        )
    if x.ndim < 2:
        raise ValueError(
            f"inputs have shape {tuple(x.shape)}; give one row a sample: (n, variables), or "
            "x[:, None] for a single variable."
        )
    if per != "auto":
        return per
    if x.ndim == 2:
        return "feature"
    if x.ndim == 4:
        return "feature" if mixes else "channel"
    raise ValueError(
        f"inputs have shape {tuple(x.shape)}; say what the variables are: per='feature' (every "
        "number of a sample), per='channel' (axis 1) or per='last' (the last axis)."
    )


def to_rows(x: Tensor, per: str) -> Tensor:
    """Inputs as rows of variables ``(rows, d)``."""
    if per == "feature":
        return x.flatten(1)
    if per == "channel":
        x = x.movedim(1, -1)
    return x.reshape(-1, x.shape[-1])


def from_rows(rows: Tensor, x: Tensor, per: str) -> Tensor:
    """Undo :func:`to_rows` for inputs shaped like ``x``; ``rows`` may have fewer variables."""
    width = rows.shape[-1]
    if per == "feature":
        return rows.reshape(x.shape) if width == x[0].numel() else rows
    if per == "last":
        return rows.reshape(*x.shape[:-1], width)
    moved = (x.shape[0], *x.shape[2:], width)
    return rows.reshape(moved).movedim(-1, 1)


def width_of(x: Tensor, per: str) -> int:
    """How many variables ``x`` has under this layout."""
    if per == "feature":
        return x.shape[1:].numel()
    return x.shape[1] if per == "channel" else x.shape[-1]
