"""Every system of the lectures has an oracle test and a claim: none is missing, all exist."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import pytest

from thalweg.claims import CLAIMS

TESTS = Path(__file__).parent.parent
SYSTEMS = json.loads((Path(__file__).parent / "systems.json").read_text("utf-8"))
LABELS = {  # theme: letter and numbers of its systems
    "gradient": ("g", range(1, 13)),
    "momentum": ("m", range(1, 9)),
    "curvature": ("k", range(2, 11)),
    "conditioning": ("c", range(1, 7)),
    "architectures": ("a", range(1, 11)),
    "generative": ("v", range(1, 5)),
    "sparse": ("s", range(1, 11)),
    "flat-minima": ("f", (1, 2, 4, 5, 6, 8)),
    "curriculum": ("p", range(1, 7)),
}
EVERY = [f"{letter}{n}" for letter, numbers in LABELS.values() for n in numbers]


@cache
def oracles_in(file: str) -> dict[str, ast.FunctionDef]:
    """The test functions of a file, by name."""
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {node.name: node for node in functions if node.name.startswith("test_")}


def test_no_system_is_missing_and_none_is_unknown() -> None:
    assert len(EVERY) == 71
    assert set(SYSTEMS) == set(EVERY)


@pytest.mark.parametrize("label", EVERY)
def test_its_oracle_tests_exist_and_assert_something(label) -> None:
    oracles = SYSTEMS[label]["oracles"]
    assert oracles
    for oracle in oracles:
        file, _, name = oracle.partition("::")
        assert (TESTS / file).is_file(), file
        assert name in oracles_in(file), f"{file} has no {name}"
        text = ast.unparse(oracles_in(file)[name])
        assert any(word in text for word in ("assert", "gradcheck", "raises")), oracle


def test_no_oracle_is_skipped_or_expected_to_fail() -> None:
    for system in SYSTEMS.values():
        for oracle in system["oracles"]:
            file, _, name = oracle.partition("::")
            marks = " ".join(ast.unparse(d) for d in oracles_in(file)[name].decorator_list)
            assert "xfail" not in marks
            assert "mark.skip(" not in marks


@pytest.mark.parametrize("label", EVERY)
def test_a_claim_measures_it(label) -> None:
    theme = next(name for name, (letter, _) in LABELS.items() if letter == label[0])
    assert any(member.reference == f"{theme}#{label}" for member in CLAIMS), f"{theme}#{label}"
