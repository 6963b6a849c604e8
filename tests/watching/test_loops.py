"""The watch in loops that are not plain: compiled, scaled, with closures, wrapped, in pieces."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import thalweg as tw

X = torch.randn(128, 12, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )


def run(model, optimizer, step=None, turns=24):
    def plain(w):
        optimizer.zero_grad()
        w.loss(F.cross_entropy(model(X), Y)).backward()
        optimizer.step()

    with tw.watch(model, optimizer, every=1) as w:
        for _ in range(turns):
            (step or plain)(w)
    assert torch.overrides._get_current_function_mode_stack() == []
    assert [f.code for f in w.findings] == [], str(w)
    return w


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.fixture
def plain():
    model = network()
    return run(model, sgd(model))


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.parametrize("way", ["wrapped", "in place"])
def test_a_compiled_model_is_watched_without_its_layers_and_that_is_said(plain, dynamo, way):
    model = network()
    if way == "wrapped":
        compiled = torch.compile(model, backend="eager")
    else:
        model.compile(backend="eager")
        compiled = model
    w = run(compiled, sgd(model))
    assert "layers are not watched" in w.notes[0]
    assert w.history.looks[-1].norm == pytest.approx(plain.history.looks[-1].norm, rel=1e-4)
    assert dynamo.utils.counters["frames"]["total"] <= 1  # looks compile nothing anew


@pytest.mark.filterwarnings("ignore")  # dynamo's own, on compiling a step
def test_a_compiled_step_calls_no_hook_and_that_is_said(dynamo):
    model = network()
    optimizer = sgd(model)
    compiled = torch.compile(optimizer.step, backend="eager")

    def step(w):
        optimizer.zero_grad()
        w.loss(F.cross_entropy(model(X), Y)).backward()
        compiled()

    w = run(model, optimizer, step)
    assert w.history.looks == []
    assert "compiled" in w.notes[0]


def test_closures_are_read_after_the_step(plain):
    model = network()
    optimizer = sgd(model)

    def step(w):
        def closure():
            optimizer.zero_grad()
            value = F.cross_entropy(model(X), Y)
            w.loss(value).backward()
            return value

        optimizer.step(closure)

    w = run(model, optimizer, step)
    assert [k.norm for k in w.history.looks] == [k.norm for k in plain.history.looks]
    assert [k.ratios for k in w.history.looks] == [k.ratios for k in plain.history.looks]


def test_lbfgs_is_watched():
    model = network()
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.3, max_iter=3, line_search_fn="strong_wolfe"
    )

    def step(w):
        def closure():
            optimizer.zero_grad()
            value = F.cross_entropy(model(X), Y)
            w.loss(value).backward()
            return value

        optimizer.step(closure)

    w = run(model, optimizer, step, 8)
    assert w.history.checked > 0


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_are_read_unscaled_and_skipped_steps_do_no_harm(fused):
    def norms(scale):
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)

        def step(w):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                value = F.cross_entropy(model(X), Y)
            w.loss(value)
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()

        return run(model, optimizer, step, 40).history

    one, two = norms(1.0), norms(2.0**10)
    assert two.looks[0].norm == pytest.approx(one.looks[0].norm, rel=1e-2)  # float16 backward
    if not fused:  # a fused step is called even where it is skipped
        assert 10 < norms(2.0**36).steps < 40


def test_checkpointed_layers_are_read_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net[4](checkpoint(self.net[:4], x, use_reentrant=False))

    model = Net()
    w = run(model, sgd(model))
    assert w.history.order == ("net.0", "net.2", "net.4")


def test_models_called_in_pieces_groups_and_tensor_rates():
    torch.manual_seed(0)
    body, head = nn.TransformerEncoderLayer(12, 2, 32, batch_first=True), nn.Linear(12, 2)
    model = nn.ModuleList([body, head])
    optimizer = torch.optim.AdamW(
        [{"params": body.parameters(), "lr": torch.tensor(1e-3)},
         {"params": head.parameters(), "lr": 1e-2}]
    )  # fmt: skip

    def step(w):
        optimizer.zero_grad()
        w.loss(F.cross_entropy(head(body(X[:, None])[:, 0]), Y)).backward()
        optimizer.step()

    w = run(model, optimizer, step)
    assert w.history.order[-1] == "1"
    assert w.history.looks[-1].lr == pytest.approx(1e-3)


def test_sparse_and_complex_and_empty_weights():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(50, 8, sparse=True)
            self.turn = nn.Parameter(torch.randn(8, 2, dtype=torch.complex64) * 0.3)
            self.scale = nn.Parameter(torch.tensor(1.0))
            self.nothing = nn.Parameter(torch.zeros(0, 3))

        def forward(self, x):
            return self.scale * (self.table(x).mean(1).to(torch.complex64) @ self.turn).abs()

    model = Net()
    optimizer = sgd(model)
    tokens = torch.randint(50, (64, 5), generator=torch.Generator().manual_seed(1))
    y = (tokens[:, 0] > 25).long()
    kept = []

    def step(w):
        optimizer.zero_grad()
        w.loss(F.cross_entropy(model(tokens), y)).backward()
        squares = [p.grad.to_dense().abs().square().sum() for p in model.parameters()
                   if p.grad is not None]  # fmt: skip
        kept.append(float(sum(squares)) ** 0.5)
        optimizer.step()

    w = run(model, optimizer, step)
    assert w.history.looks[0].norm == pytest.approx(kept[0], rel=1e-5)


def test_a_model_under_ddp_is_named_without_its_wrapper(plain, tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(network())
        w = run(model, sgd(model))
        assert w.history.order == ("0", "2", "4")
        assert w.history.looks[-1].norm == pytest.approx(plain.history.looks[-1].norm, rel=1e-5)
        del model
    finally:
        torch.distributed.destroy_process_group()


def test_losses_are_kept_sparsely_and_in_bounded_memory_where_steps_are_short():
    from thalweg.watching import watcher

    class Waiting(torch.Tensor):
        """As on a device that is not waited for."""

        is_cpu = False

        def __new__(cls, value):
            return torch.tensor(value).as_subclass(cls)

    model = network()
    w = tw.watch(model, sgd(model), every=10**9)
    for value in range(3 * watcher.HELD):
        w._keep(Waiting(float(value)))
    assert len(w._losses) < watcher.HELD
    w.close()
    assert w.history.losses.quarter()[0] > w.history.losses.start()[0]
