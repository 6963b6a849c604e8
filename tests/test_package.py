"""The package as a whole: light to import, true to its README."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import thalweg as tw

README = (Path(__file__).parent.parent / "README.md").read_text()
SECONDS_BEYOND_TORCH = 0.15


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


def test_importing_thalweg_loads_nothing_heavy():
    loaded = python("import sys, thalweg; print(*sys.modules)")
    heavy = {"torch", "numpy", "scipy", "sklearn", "numba", "plotly", "typer", "rich"}
    assert heavy.isdisjoint(loaded)


def test_importing_thalweg_after_torch_takes_a_moment():
    clock = "time.perf_counter()"
    code = f"import torch, time; t = {clock}; import thalweg; print({clock} - t)"
    assert min(float(python(code)[0]) for _ in range(3)) <= SECONDS_BEYOND_TORCH


@pytest.mark.parametrize("name", [n for n in tw.__all__ if n != "__version__"])
def test_every_public_name_resolves(name):
    assert getattr(tw, name) is not None
    assert name in dir(tw)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rase'"):
        tw.rase  # noqa: B018


def snippets(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_races_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = next(s for s in snippets("python") if "tw.race(" in s)
    g = torch.Generator().manual_seed(0)
    X, Xv = torch.randn(120, 4, generator=g), torch.randn(80, 4, generator=g)
    names = {
        "Net": lambda: nn.Linear(4, 2),
        "model": nn.Linear(4, 2),
        "X": X,
        "y": (X[:, 0] > 0).long(),
        "Xv": Xv,
        "yv": (Xv[:, 0] > 0).long(),
    }
    exec(compile(code, "README.md", "exec"), names)
    assert isinstance(names["optimizer"], torch.optim.Optimizer)
    assert names["answer"].best.confirmed > 0.8
    assert (tmp_path / "mine.html").stat().st_size > 100_000
    assert (tmp_path / "runs/mine/race.json").exists()


def test_the_readme_codes_as_it_says():
    code = next(s for s in snippets("python") if "encode(" in s)
    names = {"X": torch.randn(300, 16, generator=torch.Generator().manual_seed(0)).numpy()}
    exec(compile(code, "README.md", "exec"), names)
    assert names["codes"].gap.max() <= 1e-6
    assert names["codes"].z.shape == (300, 256)


def test_the_readme_measures_and_trains_as_it_says():
    code = next(s for s in snippets("python") if "tw.spectrum(" in s)
    g = torch.Generator().manual_seed(0)
    X = torch.randn(200, 4, generator=g)
    data = (X[:120], X[:120, 0].gt(0).long()), (X[120:], X[120:, 0].gt(0).long())
    loss = nn.functional.cross_entropy
    task = tw.Task(
        name="t", model=lambda: nn.Linear(4, 2), loss=loss, train=data[0], held_out=data[1]
    )
    names = {"tw": tw, "task": task}
    exec(compile(code, "README.md", "exec"), names)
    assert names["found"].seeds >= 2
    assert names["surface"].largest[0] > 0
    assert names["run"].confirmed > 0.5


def test_every_command_of_the_readme_exists():
    shell = "\n".join(snippets("sh"))
    verbs = set(re.findall(r"^thalweg (\w+)", shell, flags=re.MULTILINE))
    targets = set(re.findall(r"^make (\w+)", shell, flags=re.MULTILINE))
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    known = python("from thalweg.cli.verbs import VERBS; print(*VERBS.names())")
    assert verbs
    assert verbs <= set(known)
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_table_of_the_readme_is_that_of_the_registries():
    script = Path(__file__).parent.parent / "docs" / "readme.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
