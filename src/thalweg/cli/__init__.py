"""The command line: one verb a file; what may go wrong is answered in one place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code.

    Args:
        words: The command line without the program's name; None: that of this process.
    """
    from thalweg.cli.door import run

    sys.exit(run(list(sys.argv[1:] if words is None else words)))
