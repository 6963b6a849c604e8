"""What holds for every test: which ones run at all, and in which order."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--long`` also runs what takes minutes."""
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Leave out the long tests unless asked for, and put files with slow ones first.

    Files are what two processes share (``--dist loadfile``): a slow one that comes last leaves one
    of them idle. Sorting is stable, so the order within a file stays.
    """
    if not config.getoption("--long"):
        kept = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(
            items=[item for item in items if item.get_closest_marker("long")]
        )
        items[:] = kept
    slow: dict[str, int] = {}
    for item in items:
        marked = item.get_closest_marker("slow") or item.get_closest_marker("long")
        slow[str(item.path)] = slow.get(str(item.path), 0) - bool(marked)
    items.sort(key=lambda item: slow[str(item.path)])
