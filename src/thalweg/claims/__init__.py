"""Every claim and figure of the lectures as a command: ours beside the published number.

One line a claim: its name, where it is, its title and its section of the theme. The claim itself
says its targets before it is run (``thalweg.claims.base``).
"""

from __future__ import annotations

from thalweg.registry import Registry

CLAIMS = Registry(
    "claim",
)
