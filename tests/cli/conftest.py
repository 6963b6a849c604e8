"""Commands whose races are made up: what they ask and answer is in a test's hand."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from thalweg.cli import main
from thalweg.records import Entry, Interval, Progress, Race, SeedResult, Sensitivity, Trace


def _entry(optimizer: str, lr: float, score: float, **changes: Any) -> Entry:
    seeds = tuple(
        SeedResult(s, "finished", score, 0.2, 0.1, 90, Trace((0, 90), (2.0, 0.1), (0.1, score)))
        for s in range(3)
    )
    name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
    line = f"torch.optim.{name}(model.parameters(), lr={lr!r})"
    values = {"settings": {"batch_size": 64}, "seeds": seeds, "line": line} | changes
    return Entry(optimizer, {"lr": lr}, held_out=score, stderr=0.005, loss=1 - score, **values)


@pytest.fixture(scope="session")
def race() -> Race:
    """Four entries: winner, tie, default, diverged."""
    seen = Interval(0.95, 0.005, 0.94, 0.96)
    return Race(
        task="digits",
        criterion="accuracy",
        table=(
            _entry("adam", 0.0031622776601683794, 0.96, confirmed=0.95, confirmation=seen),
            _entry("sgd", 0.1, 0.958, tied=True, behind=Interval(0.002, 0.004, -0.006, 0.01)),
            _entry("adam", 0.001, 0.91, default=True, behind=Interval(0.05, 0.004, 0.042, 0.058)),
            _entry("sgd", 10.0, float("nan"), status="diverged"),
        ),
        sensitivity=(Sensitivity("adam", 0.0032, 0.96, 0.001, 0.01, 1.0, None),),
        seeds=3,
        samples={"train": 1257, "selection": 270, "confirmation": 270},
        budget={"asked": {}, "evaluations": {"64": 90}, "epochs": {"64": 4.5}},
        executed=1080,
        seconds=2.5,
        plan={"engine": "looped"},
        machine={"cores": "2"},
        command="",
    )


@dataclass
class Stage:
    """The race that will be 'run': its answer (a record or an error) and what it was asked."""

    answer: Race | BaseException
    progress: tuple[Progress, ...] = ()
    asked: dict[str, Any] = field(default_factory=dict)

    def __call__(self, task: Any, **arguments: Any) -> Race:
        """Stand in for ``thalweg.race.running.race``."""
        self.asked = {"task": task, **arguments}
        for progress in self.progress:
            if arguments["progress"] is not None:
                arguments["progress"](progress)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def stage(race, monkeypatch, tmp_path) -> Stage:
    """No training: races answer with what the test puts on the stage; the folder is a fresh one."""
    found = Stage(
        race,
        (
            Progress("probing learning rates", 0, 0, 0.1, None, (), "sgd up to 10"),
            Progress("racing", 500, 1000, 1.0, 1.5, race.table[:2], "", "accuracy"),
        ),
    )
    module = types.ModuleType("thalweg.race.running")
    module.race = found  # pyrefly: ignore
    monkeypatch.setitem(sys.modules, "thalweg.race.running", module)
    monkeypatch.chdir(tmp_path)
    return found


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def thalweg(capfd) -> Callable[..., Ended]:
    """Run one command line in this process."""

    def run(*words: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(words)
        written = capfd.readouterr()
        return Ended(int(ended.value.code or 0), written.out, written.err)

    return run


@pytest.fixture
def diverged(race) -> Race:
    """A race of which nothing is left."""
    lost = race.table[-1]
    return replace(race, table=(lost,), sensitivity=())
