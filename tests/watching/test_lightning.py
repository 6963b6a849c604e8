"""The watch inside Lightning's Trainer."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own, on every start
L = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from thalweg.watching.lightning import WatchCallback  # noqa: E402


class Net(L.LightningModule):
    def __init__(self, cut=False):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        self.cut = cut

    def training_step(self, batch, batch_idx):
        x, y = batch
        h = self.net[:2](x)
        return F.cross_entropy(self.net[2](h.detach() if self.cut else h), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def fit(model, folder, callback, **options):
    torch.manual_seed(0)
    x = torch.randn(128, 8)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16)
    logger = CSVLogger(folder)
    trainer = L.Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[callback], logger=logger,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        log_every_n_steps=1, **options,
    )  # fmt: skip
    trainer.fit(model, loader)
    return (next(folder.rglob("metrics.csv"))).read_text().splitlines()[0], trainer


def test_a_healthy_fit_has_no_finding_and_its_scalars_are_in_the_log(tmp_path):
    callback = WatchCallback(every=1)
    model = Net()
    head, trainer = fit(model, tmp_path, callback)
    assert "thalweg/gradient_norm" in head
    assert "thalweg/update_ratio/net.0.weight" in head
    assert callback.findings == ()
    [w] = callback.watches
    assert w.history.losses.count == 32
    assert w.history.total == 32
    assert set(w.history.order) == {"net.0", "net.2"}
    assert not trainer.optimizers[0]._optimizer_step_post_hooks
    assert not any(m._forward_hooks for m in model.modules())


def test_a_detached_layer_is_found_and_told_once(tmp_path, caplog):
    callback = WatchCallback(every=1)
    with caplog.at_level(logging.WARNING, "thalweg.watching"):
        fit(Net(cut=True), tmp_path, callback)
    assert callback.findings[0].code == "frozen-parameters"
    assert callback.findings[0].where == "net.0.weight"
    assert len([r for r in caplog.records if r.name == "thalweg.watching"]) == 1


def test_losses_of_accumulated_batches_are_whole(tmp_path):
    callback = WatchCallback(every=1)
    fit(Net(), tmp_path, callback, accumulate_grad_batches=4)
    [w] = callback.watches
    assert 0.6 < w.history.losses.opening[0] < 0.8  # ln 2, not a quarter of it
    assert "stale-gradients" not in [f.code for f in callback.findings]
    assert w.history.steps == 8
