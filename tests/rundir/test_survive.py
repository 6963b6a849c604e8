"""A sample of ``make survive``: the same code, fewer times."""

import random

import pytest


def test_every_write_point_failed_in_turn_breaks_no_promise(tmp_path, campaign):
    faults = campaign("survive_faults")
    if faults.compiler() is None:
        pytest.skip("no C compiler to build the failing system calls with")
    found = faults.suffer(tmp_path)
    assert found["broken"] == []
    assert set(found["faults"]) >= {"row", "checkpoint", "plan", "table", "close", "creation"}
    assert sum(found["faults"].values()) > 400


def test_damaged_files_are_refused_or_harmless(tmp_path, campaign):
    found = campaign("survive_mutations").campaign(tmp_path, trials=300, seed=1)
    assert found["failures"] == []
    assert found["verdicts"]["refused"] > 30  # the damage does reach what matters
    assert found["verdicts"]["older state"] > 30


def test_rows_and_states_survive_kill_9(tmp_path, campaign):
    kills = campaign("survive_kills")
    with kills.Server() as server:
        found = kills.kill_appends(server, tmp_path, 25, random.Random(2))
    assert found["failures"] == []
    assert found["kills"] == 25
    assert found["rows"] > 25
