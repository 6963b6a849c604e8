"""The centre in a file: the same arithmetic, several processes, and workers killed at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from thalweg.parallel import ElasticAveraging, FileCenter, MemoryCenter
from thalweg.parallel.centers.base import Hyper

CHILD = """
import sys, torch
from thalweg.parallel import FileCenter
center = FileCenter(sys.argv[1])
worker, kind = int(sys.argv[2]), sys.argv[3]
n = center.read().numel()
print("ready", flush=True)
for k in range(int(sys.argv[4])):
    if kind == "push":
        center.push(torch.ones(n), worker, center.sequence(worker))
    else:
        center.elastic(torch.full((n,), float(worker)), 0.5, worker)
    center.progress[worker] = k + 1
"""


def child(path, worker, kind, rounds):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(worker), kind, str(rounds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process.stdout as said:
        assert said.readline() == "ready\n"
    return process


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("average", ["none", "running", "moving"])
def test_it_answers_as_the_centre_in_memory_does(tmp_path, dtype, average) -> None:
    g = torch.Generator().manual_seed(0)
    start = torch.randn(7, generator=g, dtype=dtype)
    file = FileCenter(tmp_path / "c", start, 3, average)
    memory = MemoryCenter(start, average)
    for k in range(6):
        x = torch.randn(7, generator=g, dtype=dtype)
        assert torch.equal(file.elastic(x, 0.3, 0), memory.elastic(x, 0.3, 0))
        hyper = Hyper(0.1, 0.9) if k % 2 else None
        assert torch.equal(file.push(x, 1, k // 2, hyper), memory.push(x, 1, k // 2, hyper))
        assert torch.equal(file.mean(), memory.mean())
    again = FileCenter(tmp_path / "c")
    assert torch.equal(again.read(), memory.read())
    assert again.sequence(1) == 3
    assert again.exchanges == 6 + 3
    file.close()
    again.close()


def test_pushes_of_three_processes_all_arrive(tmp_path) -> None:
    center = FileCenter(tmp_path / "c", torch.zeros(1000, dtype=torch.float64), 4)
    team = [child(tmp_path / "c", i, "push", 400) for i in range(3)]
    assert [process.wait(60) for process in team] == [0, 0, 0]
    assert torch.equal(center.read(), torch.full((1000,), 1200.0, dtype=torch.float64))
    assert center.progress[:3].tolist() == [400, 400, 400]


def test_a_worker_killed_at_any_instant_stalls_nobody(tmp_path) -> None:
    center = FileCenter(tmp_path / "c", torch.zeros(200_000), 4)
    other = child(tmp_path / "c", 3, "elastic", 10**9)
    try:
        for k in range(3):
            victim = child(tmp_path / "c", 1, "elastic", 10**9)
            time.sleep(0.02 * k)
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            before = int(center.progress[3])
            deadline = time.monotonic() + 10
            while int(center.progress[3]) < before + 5:
                assert time.monotonic() < deadline, "the other worker stands still"
                time.sleep(0.005)
        value = center.read()
        assert bool(((value >= 0) & (value <= 3)).all())  # between the two workers' weights
    finally:
        other.kill()
        other.wait(10)


def test_strange_files_are_refused(tmp_path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="not a centre's file"):
        FileCenter(tmp_path / "text")
    FileCenter(tmp_path / "c", torch.zeros(1000)).close()
    whole = (tmp_path / "c").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:5000])
    with pytest.raises(ValueError, match="only part of one"):
        FileCenter(tmp_path / "cut")
    with pytest.raises(ValueError, match="float32 or float64"):
        FileCenter(tmp_path / "d", torch.zeros(3, dtype=torch.float16))
    with pytest.raises(FileNotFoundError):
        FileCenter(tmp_path / "nowhere")


@pytest.mark.parametrize("nesterov", [False, True])
def test_an_exchange_in_place_is_the_exchange_by_requests(tmp_path, nesterov) -> None:
    """Weights of several shapes, longer than a chunk; the centre far away knows only requests."""

    class Far:  # the same centre without the short way
        def __init__(self, center) -> None:
            self.read, self.elastic = center.read, center.elastic

    sizes = [(300, 200), (7,), (1,)]
    n = sum(torch.zeros(s).numel() for s in sizes)
    ended = []
    for far in (False, True):
        g = torch.Generator().manual_seed(1)
        center = FileCenter(tmp_path / str(far), torch.zeros(n, dtype=torch.float64), 1)
        params = [
            torch.nn.Parameter(torch.randn(s, generator=g, dtype=torch.float64)) for s in sizes
        ]
        optimizer = torch.optim.SGD(
            params, lr=0.1, momentum=0.9 if nesterov else 0.0, nesterov=nesterov
        )
        worker = ElasticAveraging(optimizer, Far(center) if far else center, 2, 0.3, start=False)
        for _ in range(5):
            for p in params:
                p.grad = torch.randn(p.shape, generator=g, dtype=torch.float64)
            worker.step()
        ended.append((worker.flat().detach(), center.read(), worker.traffic))
    torch.testing.assert_close(ended[0][0], ended[1][0], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(ended[0][1], ended[1][1], rtol=1e-14, atol=1e-14)
    assert ended[0][2] == ended[1][2]


def test_a_worker_with_nan_does_not_touch_the_centre_in_place(tmp_path) -> None:
    center = FileCenter(tmp_path / "c", torch.ones(3), 1)
    w = torch.nn.Parameter(torch.ones(3))
    worker = ElasticAveraging(torch.optim.SGD([w], lr=0.1), center, 1, 0.5)
    w.data = torch.tensor([5.0, float("nan"), 1.0])
    w.grad = torch.zeros(3)
    worker.step()
    assert worker.traffic.refused == 1
    assert torch.equal(center.read(), torch.ones(3))
    assert torch.equal(w.detach(), torch.ones(3))  # back at the centre
