"""Workers as tasks of a Ray cluster: the centre's actor is killed again and again, all finish."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

import thalweg as tw
from thalweg.parallel import FileCenter, train

pytest.importorskip("ray", reason="needs Ray: pip install 'thalweg[ray]'")
KILLS = int(os.environ.get("THALWEG_KILLS", "4"))  # twenty in ``make survive``
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*Ray.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TASK = """
import torch
from torch import nn
import thalweg as tw

g = torch.Generator().manual_seed(0)
x = torch.randn(900, 6, generator=g)
y = (x[:, :3].sum(1) > 0).long()
task = tw.Task(
    "half space", lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)),
    nn.functional.cross_entropy, train=(x[:600], y[:600]), held_out=(x[600:], y[600:]),
    recipe=tw.Recipe(lr=0.1, batch_size=10, epochs=6),
)
"""


@pytest.fixture(scope="module")
def cluster():
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    return tw.load_task(str(path))


def test_requests_over_ray_move_the_centre_as_requests_to_the_file_do(cluster, tmp_path) -> None:
    from thalweg.parallel.centers.over_ray import RayCenter, keep

    start = torch.arange(5.0)
    near, far = FileCenter(tmp_path / "a", start, 2), FileCenter(tmp_path / "b", start, 2)
    over = RayCenter(keep(cluster, tmp_path / "b"))
    x = torch.ones(5)
    assert torch.equal(near.elastic(x, 0.3, 0), over.elastic(x, 0.3, 0))
    for sequence in (0, 1, 1):  # the last one is asked again, and not taken again
        assert torch.equal(near.push(x, 1, sequence), over.push(x, 1, sequence))
    over.tell(1, 7, at_once=True)
    assert over.steps(1) == far.steps(1) == 7
    assert over.sequence(1) == near.sequence(1) == 2
    assert torch.equal(over.read(), near.read())
    assert torch.equal(over.mean(), far.read())


def processes(title: str) -> list[int]:
    """Ids of processes that Ray named so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(f"ray::{title}".encode()):
                found.append(int(path.parent.name))
    return found


def test_workers_finish_though_the_centres_actor_is_killed(cluster, task, tmp_path) -> None:
    """What it had taken is in the file that the next actor opens."""
    stop, killed = threading.Event(), set()

    def kill() -> None:
        while not stop.wait(0.1) and len(killed) < KILLS:
            for pid in processes("Keeper"):
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        run = train(
            task,
            "easgd",
            workers=2,
            tau=1,
            epochs=8 * KILLS,
            ray="auto",
            run_directory=tmp_path / "r",
        )
    finally:
        stop.set()
        killer.join()
    assert len(killed) == KILLS
    assert run.status == "finished"
    assert run.evaluations == 8 * KILLS * 60
    assert run.held_out > 0.9
    assert not any("brought back" in note for note in run.notes)


def test_a_worker_that_dies_is_brought_back(cluster, task, tmp_path) -> None:
    killed = []

    def kill(progress) -> None:
        running = processes("run_afar")
        if not killed and 0 < progress.done < progress.total / 2 and running:
            os.kill(running[0], signal.SIGKILL)
            killed.append(running[0])

    run = train(
        task, "downpour", workers=2, tau=4, epochs=120, ray="auto", run_directory=tmp_path / "r",
        progress=kill,
    )  # fmt: skip
    assert killed
    assert run.evaluations == 120 * 60
    assert "brought back" in " ".join(run.notes)


def test_rays_client_protocol_is_refused() -> None:
    from thalweg.cluster import connected

    with pytest.raises(ValueError, match="on a machine of the cluster"), connected("ray://host:1"):
        pass
