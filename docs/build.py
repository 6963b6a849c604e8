"""Build the documentation: measure what is quick, write the reference, run Sphinx, check links.

    python docs/build.py                    every quick claim is measured first (about five minutes)
    python docs/build.py --claims 20        those that take up to a second each, and twenty at most
    python docs/build.py --claims 0         none: pages show what was measured, or the targets

Records are kept in ``docs/_build/claims``; a claim is measured once. The pages are in
``docs/_build/html``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).parent
BUILD = HERE / "_build"
PUBLIC = (
    "thalweg", "thalweg.diagnose", "thalweg.watching", "thalweg.race", "thalweg.training",
    "thalweg.strategies",
    "thalweg.parallel", "thalweg.optim", "thalweg.steps", "thalweg.curvature",
    "thalweg.conditioning", "thalweg.linalg", "thalweg.mechanics", "thalweg.sparse",
    "thalweg.data",
)  # fmt: skip


def measure(most: int | None) -> None:
    """Run quick claims into the build folder; one that fails is shown as such by the verb."""
    from thalweg.claims import CLAIMS

    lectures = [CLAIMS.load(name) for name in CLAIMS.names()]
    quick = [x for x in lectures if x.quick and not x.needs]
    if most is not None:
        quick = [x for x in quick if x.seconds <= 1][:most]
    names = [x.name for x in quick]
    if names:
        command = [sys.executable, "-m", "thalweg", "reproduce", *names]
        subprocess.run([*command, "--run", str(BUILD / "claims"), "--quiet"], check=False)


def reference() -> None:
    """One page a public package, from its ``__all__``."""
    import importlib
    import inspect

    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    pages = []
    for name in PUBLIC:
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        public = [n for n in getattr(package, "__all__", []) if not n.isupper()]
        lines = [f"# {name}", "", (package.__doc__ or "").strip(), ""]
        for item in sorted(public, key=str.lower):
            found = getattr(package, item)
            kind = "class" if inspect.isclass(found) else "function"
            if not inspect.isclass(found) and not inspect.isroutine(found):
                continue
            members = ["   :members:", "   :show-inheritance:"] if kind == "class" else []
            body = [f".. auto{kind}:: {name}.{item}", *members]
            lines += [f"## {item}", "", "```{eval-rst}", *body, "```", ""]
        (folder / f"{name}.md").write_text("\n".join(lines), "utf-8")
        pages.append(name)
    listing = "\n".join(pages)
    (folder / "index.md").write_text(
        f"# Reference\n\nFrom the docstrings.\n\n```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n",
        "utf-8",
    )


def commands() -> None:
    """What every command of the shell says of itself."""
    from thalweg.cli.verbs import VERBS

    lines = ["# Commands", ""]
    for name in VERBS.names():
        shown = subprocess.run(
            [sys.executable, "-m", "thalweg", name, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
        )
        lines += [f"## thalweg {name}", "", "```text", shown.stdout.strip(), "```", ""]
    (HERE / "reference" / "commands.md").write_text("\n".join(lines), "utf-8")
    index = HERE / "reference" / "index.md"
    index.write_text(index.read_text("utf-8").replace("\n\nthalweg\n", "\n\ncommands\nthalweg\n"))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what is pointed at, and what can be."""
        for key, value in attrs:
            if value and ((tag == "a" and key == "href") or (key == "src")):
                self.links.append(value)
            if value and key in ("id", "name"):
                self.anchors.add(value)


def dead_links(site: Path) -> list[str]:
    """Links inside the site that lead nowhere; those outside cannot be looked at from here."""
    pages = {}
    for path in site.rglob("*.html"):
        parser = _Links()
        parser.feed(path.read_text("utf-8"))
        pages[path.resolve()] = parser
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("data:"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors
            ):
                dead.append(f"{path.relative_to(site.resolve())}: {link} (no such place)")
    return dead


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--claims", type=int, default=None, metavar="N")
    asked = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    measure(asked.claims)
    reference()
    commands()
    site = BUILD / "html"
    environment = os.environ | {"THALWEG_DOCS_CLAIMS": str(BUILD / "claims")}
    command = [sys.executable, "-m", "sphinx", "-E", "-b", "html", "-q", "-W", "--keep-going"]
    built = subprocess.run([*command, str(HERE), str(site)], env=environment, check=False)
    if built.returncode:
        return built.returncode
    dead = dead_links(site)
    for line in dead:
        print(f"dead link: {line}", file=sys.stderr)
    print(f"documentation: {site / 'index.html'}")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
