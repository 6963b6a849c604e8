"""The watch inside Hugging Face's Trainer, on a tiny network with random weights."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers and accelerate, on import


@pytest.fixture(scope="module")
def transformers():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
            patch.setenv(name, "1")
        yield pytest.importorskip("transformers")


def train(transformers, folder, callback, attach=False, lr=1e-3, **options):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, num_labels=2,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    tokens = torch.randint(50, (64, 8))
    rows = [{"input_ids": t, "labels": (t[0] > 25).long()} for t in tokens]
    args = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=30, per_device_train_batch_size=8, logging_steps=5,
        report_to=[], save_strategy="no", use_cpu=True, learning_rate=lr, disable_tqdm=True,
        **options,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model, args=args, train_dataset=rows, callbacks=[] if attach else [callback]
    )
    if attach:
        callback.attach(trainer)
    trainer.train()
    return trainer


@pytest.mark.parametrize("attach", [False, True])
def test_scalars_join_the_trainers_log(transformers, tmp_path, attach):
    from thalweg.watching.huggingface import WatchCallback

    callback = WatchCallback(every=1)
    trainer = train(transformers, tmp_path, callback, attach)
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert len(lines) == 6
    assert all("thalweg/gradient_norm" in line for line in lines)
    assert callback.findings == ()
    history = callback.watch.history
    assert history.losses.count == 30
    assert history.total == 30
    assert history.order[0].startswith("bert.embeddings")
    assert not any(m._forward_hooks for m in trainer.model.modules())


def test_a_rate_that_leads_nowhere_is_found(transformers, tmp_path):
    from thalweg.watching.huggingface import WatchCallback

    callback = WatchCallback(every=1)
    train(transformers, tmp_path, callback, lr=1e-9, gradient_accumulation_steps=2)
    assert "lr-too-low" in [finding.code for finding in callback.findings]
    assert callback.watch.history.losses.count == 60
