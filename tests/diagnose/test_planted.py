"""A sample of the planted set: cheap cases over all faults, and healthy ones."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

CHEAP = ("wine", "diabetes", "cancer", "digits-relu")
HEALTHY = 10
FAULTY = 30


@pytest.fixture(scope="module")
def campaign():
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("diagnose_campaign")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def rows(campaign):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    known = [case for base in CHEAP for case in campaign.cases() if case[1] == base]
    first = {case[2].name: case for case in reversed(known) if case[2] is not None}
    healthy = [case for case in known if case[2] is None][:: max(1, 40 // HEALTHY)][:HEALTHY]
    try:
        return [campaign.run(*case) for case in (*list(first.values())[:FAULTY], *healthy)]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_most_planted_faults_are_found_by_name_and_no_healthy_training_is_warned_of(rows, campaign):
    faulty = [r for r in rows if r["fault"] and campaign.harmful(r)]
    found = [r for r in faulty if r.get("codes")]
    right = [r for r in faulty if set(r.get("codes", [])[:2]) & set(r["right"])]
    alarms = [r for r in rows if not r["fault"] and r["codes"]]
    assert len(faulty) >= 15
    assert len(found) >= 0.9 * len(faulty), [r["name"] for r in faulty if r not in found]
    assert len(right) >= 0.8 * len(faulty), [(r["name"], r["codes"]) for r in faulty]
    assert len(alarms) <= 1, [(r["name"], r["codes"]) for r in alarms]
    assert not [r["error"] for r in rows if "error" in r]


def test_every_code_of_a_finding_is_planted(campaign):
    from thalweg.diagnose import FINDINGS

    planted = {code for fault in campaign.FAULTS for code in fault.right}
    last = {"below-reference"}  # what no other finding names
    assert set(FINDINGS.names()) - last <= planted
