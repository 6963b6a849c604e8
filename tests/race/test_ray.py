"""A race on a Ray cluster of two machines: the same rows, whoever dies."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

import thalweg as tw
from thalweg.rundir.journal import Journal

pytest.importorskip("ray", reason="needs Ray: pip install 'thalweg[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*Ray.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RACE = {
    "optimizers": ["sgd", "adam"],
    "lrs": [0.001, 0.01, 0.1],
    "seeds": 2,
    "evaluations": 240,
    "workers": 2,
    "engine": "looped",
}


@pytest.fixture
def machines():
    """A cluster of two nodes, both on this machine; the first one holds the driver."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, other
    ray.shutdown()
    cluster.shutdown()


def rows(folder: Path) -> dict[tuple[str, int], str]:
    """The journal's rows, arrays as bytes."""
    found = Journal.read(folder / "journal.sqlite")
    return {
        (r.member, r.segment): repr((r.payload, {k: a.tobytes() for k, a in r.arrays.items()}))
        for r in found
    }


def test_rows_are_those_of_processes_though_one_of_two_machines_is_lost(
    machines, tmp_path: Path, monkeypatch
) -> None:
    from thalweg.race.executors.ray_pool import RayPool

    cluster, other = machines
    buried, bury = [], RayPool._bury
    monkeypatch.setattr(RayPool, "_bury", lambda *told: buried.append(1) or bury(*told))
    task = tw.load_task("digits-mlp")
    here = tw.race(task, **RACE, run=tmp_path / "here")
    lost = []

    def lose(progress) -> None:
        if not lost and progress.done > progress.total / 4:
            lost.append(progress.done)
            with contextlib.suppress(Exception):
                cluster.remove_node(other, allow_graceful=False)

    there = tw.race(task, **RACE, ray="auto", run=tmp_path / "there", progress=lose)
    assert lost
    assert buried  # a worker was there
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert [e.held_out for e in there.table] == [e.held_out for e in here.table]


def test_a_task_that_other_machines_cannot_load_is_refused() -> None:
    import dataclasses

    task = dataclasses.replace(tw.load_task("digits-mlp"), name="mine")
    with pytest.raises(ValueError, match=r"ray='auto'.*was made in Python"):
        tw.race(task, ray="auto")
