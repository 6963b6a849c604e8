"""Greedy pretraining and transfer: what is frozen stays, what is copied is equal, nothing leaks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from thalweg.risk import Risk
from thalweg.strategies import copy_layers, greedy, run, transfer
from thalweg.strategies.chain import Frozen, chain
from thalweg.strategies.copying import state_of
from thalweg.strategies.layerwise import Stage
from thalweg.training import Hook, train


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Watch(Hook):
    """Keeps the stages' frozen tensors before the first step and after the last."""

    def __init__(self):
        self.before, self.after, self.inputs = {}, {}, []

    def batch(self, training, step, batch):
        if isinstance(training.model, Stage) and id(training) not in self.before:
            self.before[id(training)] = state(training.model.below)
        return batch

    def after_step(self, training):
        if isinstance(training.model, Stage):
            self.after[id(training)] = state(training.model.below)


def test_a_chain_is_cut_before_layers_with_weights(task, normed):
    for owner, sizes in ((task, [2, 2, 1]), (normed, [5, 2, 1])):
        risk = Risk(owner, "cpu")
        model, x = risk.model(0).eval(), risk.feed(0, 8).batch(0)[0]
        blocks = chain(model, x)
        assert [len(block) for block in blocks] == sizes
        torch.testing.assert_close(nn.Sequential(*blocks).eval()(x), model(x))


def test_what_is_no_chain_is_refused():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return x + self.b(self.a(x))

    with pytest.raises(ValueError, match="no plain chain"):
        chain(Skip(), torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))


def test_frozen_layers_are_bit_equal_before_and_after_each_stage(task, normed):
    for owner in (task, normed):  # batch statistics too
        watch = Watch()
        greedy(owner, stage_epochs=1, epochs=1, hooks=[watch])
        assert len(watch.before) == 2
        for key, before in watch.before.items():
            assert same(before, watch.after[key])


def test_frozen_blocks_stay_in_evaluation_mode():
    frozen = Frozen(nn.BatchNorm1d(2))
    assert not frozen.train().training
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not frozen[0].training


def test_the_composition_is_the_last_stage_with_its_head(maker):
    task = maker()
    ended = greedy(task, stage_epochs=2, fine_tune=False)
    model = ended.model()
    assert [tuple(p.shape) for p in model.parameters()] == [
        tuple(p.shape) for p in task.model().parameters()
    ]
    risk = Risk(task, "cpu")
    assert risk.score(model, "selection").mean == pytest.approx(ended.held_out, abs=1e-12)
    assert ended.settings["gradients before"] == 12
    assert len(ended.notes) >= 2


def test_one_hidden_layer_greedy_is_plain_training(maker):
    task = maker((6, 8, 3))
    one = greedy(task, stage_epochs=3, fine_tune=False, seed=2)
    plain = train(task, epochs=3, seed=2)
    assert same(one.model().state_dict(), plain.model().state_dict())
    assert one.held_out == plain.held_out


def test_fine_tuning_starts_from_the_composition(maker):
    task = maker()
    composed = greedy(task, stage_epochs=2, fine_tune=False).model().state_dict()
    started: list[dict] = []

    class First(Hook):
        def batch(self, training, step, batch):
            if not isinstance(training.model, Stage) and not started:
                started.append(state(training.model))
            return batch

    ended = greedy(task, stage_epochs=2, epochs=1, hooks=[First()])
    assert same(started[0], dict(composed))
    assert not same(ended.model().state_dict(), dict(composed))


def test_greedy_goes_on_from_its_directories_to_the_same_bits(maker, tmp_path):
    task = maker()
    whole = greedy(task, stage_epochs=1, epochs=1)
    first = greedy(task, stage_epochs=1, epochs=1, run=tmp_path / "g")
    again = greedy(task, stage_epochs=1, epochs=1, run=tmp_path / "g")
    assert {p.name for p in tmp_path.iterdir()} == {"g", "g-stage-1", "g-stage-2"}
    assert first.weights == again.weights != ""
    assert same(whole.model().state_dict(), again.model().state_dict())
    with pytest.raises(ValueError, match="stage_epochs"):
        greedy(task, stage_epochs=2, epochs=1, run=tmp_path / "g")


def test_copied_layers_are_equal_others_are_not_and_nothing_is_shared(maker):
    task = maker()
    source = train(task, epochs=1, seed=1).model()
    kept = state(source)
    model = Risk(task, "cpu").model(0)
    fresh = state(model)
    names = copy_layers(source, model, 2)
    assert names == ("layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias")
    for name, value in model.state_dict().items():
        assert torch.equal(value, (kept if name in names else fresh)[name])
        assert value.data_ptr() != source.state_dict()[name].data_ptr()
    transfer(task, source=source, layers=2, epochs=1)
    assert same(state(source), kept)


def test_frozen_copies_do_not_move_and_the_rest_does(task, normed):
    for owner, layers in ((task, 2), (normed, 2)):  # of the second: a convolution and its norm
        source = train(owner, epochs=1, seed=1)
        ended = transfer(owner, source=source, layers=layers, mode="frozen", epochs=1)
        old, new = source.model().state_dict(), ended.model().state_dict()
        moved = {name for name in old if not torch.equal(old[name], new[name])}
        copied = ended.notes[0].removeprefix("Copied ").removesuffix(".").split(", ")
        assert not moved & set(copied)
        assert {n for n, _ in ended.model().named_parameters()} - set(copied) <= moved


@pytest.mark.parametrize(
    ("optimizer", "values"),
    [("sgd", {"weight_decay": 0.01}), ("adam", {}), ("adamw", {"weight_decay": 0.1})],
)
def test_a_scaled_rate_equals_a_parameter_group(maker, optimizer, values):
    task = maker(batch_size=96)
    source = train(task, epochs=1, seed=1).model()
    ended = transfer(
        task,
        source=source,
        layers=1,
        scale=0.3,
        epochs=5,
        dtype="float64",
        optimizer=optimizer,
        hyperparameters={"lr": 0.02, **values},
    )
    model = Risk(task, "cpu").model(0).double()
    copy_layers(source, model, 1)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    momentum = {"momentum": 0.9} if optimizer == "sgd" else {}  # the recipe's
    parameters = list(model.parameters())
    other = kinds[optimizer](
        [{"params": parameters[:2], "lr": 0.02 * 0.3}, {"params": parameters[2:]}],
        lr=0.02,
        **momentum,
        **values,
    )
    x, y = task.train
    for _ in range(5):
        other.zero_grad()
        task.loss(model(x.double()), y).backward()
        other.step()
    for mine, theirs in zip(ended.model().parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


def test_what_does_not_fit_is_refused(maker):
    task, other = maker(), maker((6, 5, 3))
    source = train(other, epochs=1).model()
    with pytest.raises(ValueError, match="copy fewer layers"):
        transfer(task, source=source, layers=1)
    with pytest.raises(ValueError, match="layers is 9"):
        copy_layers(source, other.model(), 9)
    with pytest.raises(ValueError, match="known: finetune, frozen"):
        transfer(task, source=source, layers=1, mode="thaw")
    with pytest.raises(ValueError, match="do not go together"):
        transfer(other, source=source, layers=1, average="polyak", epochs=1)
    with pytest.raises(ValueError, match="hidden one"):
        greedy(maker((6, 3)))


def test_options_are_checked_by_name(task):
    with pytest.raises(ValueError, match="Did you mean 'stage_epochs'"):
        run(task, "greedy", {"stage_epoch": 1})
    with pytest.raises(ValueError, match="transfer needs source, layers"):
        run(task, "transfer")
    with pytest.raises(ValueError, match="Did you mean 'greedy'"):
        run(task, "greed")


def test_weights_come_from_a_run_its_directory_and_its_file(maker, tmp_path):
    task = maker((6, *[4] * 11, 3))  # more than ten layers: names do not sort as numbers do
    source = train(task, epochs=1, seed=1, run=tmp_path / "r")
    models = []
    for where in (source, source.model(), tmp_path / "r", tmp_path / "r" / "model.safetensors"):
        models.append(Risk(task, "cpu").model(0))
        copy_layers(state_of(where), models[-1], 11)
    for other in models[1:]:
        assert same(state(models[0]), state(other))
    assert torch.equal(models[0].layers[20].weight, source.model().layers[20].weight)
