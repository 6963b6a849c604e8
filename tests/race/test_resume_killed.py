"""A sample of ``make survive``: races killed at random instants, restarted until they are done."""

import random
import tempfile
from pathlib import Path

import pytest

SAMPLE = ("digits-mlp, auto, culled", "dropout from a file", "quadratic, rates that diverge")


@pytest.mark.slow
def test_killed_races_end_with_the_same_table_and_no_row_lost_or_twice(quick_disk, campaign):
    kills = campaign("survive_kills")
    assert len(kills.RACES) >= 10
    with kills.Server() as server:
        for name in SAMPLE:
            asked = kills.RACES[name] | {"engine": "looped"}
            with tempfile.TemporaryDirectory(dir=quick_disk) as place:
                found = kills.kill_race(server, Path(place), asked, 4, random.Random(name))
            assert found["failures"] == []
            assert found["kills"] >= 4
            assert found["acknowledged"] >= 16
