"""Optimisers x learning rates x seeds, raced on held-out data with honest intervals.

The package is what ``thalweg.race`` names, and it can be called: ``thalweg.race(task, ...)`` is
:func:`thalweg.race.running.race`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.records import Race


class _Callable(ModuleType):
    """A package that is also the function it is named after."""

    @property
    def race(self) -> Any:
        """The function itself, so that ``from thalweg.race import race`` gives it too."""
        from thalweg.race.running import race

        return race

    def __call__(self, *arguments: Any, **options: Any) -> Race:
        """Race a task; see :func:`thalweg.race.running.race` for the arguments."""
        from thalweg.race.running import race

        return race(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
