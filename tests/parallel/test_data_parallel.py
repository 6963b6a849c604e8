"""Shards combined are the whole batch; ranks under torchrun agree with one process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.parallel import data_parallel_gradient
from thalweg.parallel.data_parallel import shard_weights

RANKS = """
import os, sys, torch, torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from thalweg.parallel.data_parallel import rank_weight
from thalweg.parallel.elastic import synchronous_update
from thalweg.parallel.synchronous import synchronous_step

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
x, y = torch.randn(8, 4), torch.randn(8, 2)
model = nn.Linear(4, 2)
whole = torch.autograd.grad(F.mse_loss(model(x), y), list(model.parameters()))
ddp = nn.parallel.DistributedDataParallel(model)
mine = slice(0, 3) if rank == 0 else slice(3, 8)
loss = F.mse_loss(ddp(x[mine]), y[mine]) * rank_weight(len(x[mine]))
loss.backward()
for p, g in zip(model.parameters(), whole):
    torch.testing.assert_close(p.grad, g, atol=1e-6, rtol=1e-6)

workers, centre = torch.stack([torch.full((3,), 1.0 + i) for i in range(size)]), torch.zeros(3)
w, c = [nn.Parameter(workers[rank].clone())], centre.clone()
for _ in range(4):
    workers, centre = synchronous_update(workers, centre, 0.3)
    synchronous_step(w, c, 0.3)
torch.testing.assert_close(w[0].detach(), workers[rank])
torch.testing.assert_close(c, centre)
seen = [torch.zeros(3) for _ in range(size)]
dist.all_gather(seen, c)
assert torch.equal(seen[0], seen[1])
dist.destroy_process_group()
print("agreed", flush=True)
"""


def test_unequal_shards_give_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(16, 4, dtype=torch.float64), torch.randint(3, (16,))
    loss = lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
    shards = [((a, b), len(a)) for a, b in zip(x.split([5, 3, 8]), y.split([5, 3, 8]), strict=True)]
    found = data_parallel_gradient(loss, model, shards)
    whole = torch.autograd.grad(loss(model, (x, y)), list(model.parameters()))
    for ours, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    assert all(p.grad is None for p in model.parameters())


def test_with_batch_statistics_shards_differ_from_the_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 1)).double()
    x = torch.randn(16, 4, dtype=torch.float64)
    loss = lambda m, batch: m(batch).square().mean()  # noqa: E731
    found = data_parallel_gradient(loss, model, [(a, len(a)) for a in x.split([5, 3, 8])])
    whole = torch.autograd.grad(loss(model, x), list(model.parameters()))
    assert float((found[0] - whole[0]).abs().max()) > 1e-3


def test_two_processes_agree_with_one(tmp_path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            str(script),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("agreed") == 2


def test_impossible_shards_are_refused() -> None:
    assert shard_weights([4, 0]) == [2.0, 0.0]
    for sizes in ([], [0, 0], [3, -1]):
        with pytest.raises(ValueError, match="shards need sizes"):
            shard_weights(sizes)
