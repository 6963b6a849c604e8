"""Write the README's table of what is in: from the registries, so that it cannot be wrong.

python docs/readme.py           # rewrite README.md
python docs/readme.py --check   # exit 1 if it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

from thalweg.claims import CLAIMS
from thalweg.cli.listing import FAMILIES
from thalweg.cli.verbs import VERBS

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- what is in: written by docs/readme.py -->\n", "<!-- end -->\n"
UNSHOWN = {"claims", "optimizers"}  # too many for a table; part of "methods"


def table() -> str:
    """Two tables in Markdown: the verbs, and every family with its members."""
    lines = ["| command | |", "| --- | --- |"]
    for verb in VERBS:
        also = f" {len(CLAIMS.names())} of them." if verb.name == "reproduce" else ""
        lines.append(f"| `thalweg {verb.name}` | {verb.summary}{also} |")
    lines += ["", "| family | members |", "| --- | --- |"]
    for family in FAMILIES:
        if family.name not in UNSHOWN:
            names = " ".join(f"`{name}`" for name in family.load().names())
            lines.append(f"| {family.name}: {family.summary} | {names} |")
    return "\n".join(lines) + "\n"


def rewritten(text: str) -> str:
    """The README with the tables of today."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after


def main() -> int:
    """Rewrite the file, or say whether it is up to date."""
    text = README.read_text()
    new = rewritten(text)
    if "--check" not in sys.argv:
        README.write_text(new)
        return 0
    if new != text:
        print("README.md is out of date: run python docs/readme.py")
    return int(new != text)


if __name__ == "__main__":
    sys.exit(main())
