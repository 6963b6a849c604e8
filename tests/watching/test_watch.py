"""``thalweg.watch``: planted faults are found, healthy loops are not, and nothing is changed."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg.diagnose import FINDINGS
from thalweg.watching import DETECTORS

X = torch.randn(512, 12, generator=torch.Generator().manual_seed(0))
Y = (X[:, :4] * X[:, 4:8]).sum(1).gt(0).long() + X[:, 8].gt(0).long()


def network(act=nn.ReLU, width=32, depth=3):
    torch.manual_seed(1)
    sizes = [12] + [width] * depth
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def loop(model, optimizer, turns=150, *, zero=True, batch=64, y=Y, give=True, x=X, **options):
    order = torch.Generator().manual_seed(2)
    with tw.watch(model, optimizer, every=1, **options) as w:
        for _ in range(turns):
            chosen = torch.randint(len(x), (batch,), generator=order)
            if zero:
                optimizer.zero_grad()
            value = F.cross_entropy(model(x[chosen]), y[chosen])
            if give:
                w.loss(value)
            if value.requires_grad:
                value.backward()
            optimizer.step()
    return w


def sgd(model, lr=0.1, **more):
    return torch.optim.SGD(model.parameters(), lr=lr, **more)


def codes(w):
    return [finding.code for finding in w.findings]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_healthy_loop_gives_no_finding(name):
    model = network()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.05 if name == "SGD" else 2e-3)
    w = loop(model, optimizer, 400)
    assert codes(w) == [], str(w)
    assert len(w.history.looks) > 100


def test_every_code_is_known_or_new():
    new = set(DETECTORS.names()) - set(FINDINGS.names())
    assert new == {"nonfinite-values", "stale-gradients", "lost-updates"}


def test_infinite_inputs_are_named_as_the_cause():
    x = X.clone()
    x[100:300, 3] = float("nan")
    model = network()
    w = loop(model, sgd(model), 30, x=x)
    assert codes(w)[0] == "nonfinite-data"
    assert w.findings[0].severity == "error"
    assert "nonfinite-values" not in codes(w)


def test_a_diverged_loop_is_an_error_and_says_where_it_began():
    model = network(depth=2)
    w = loop(model, sgd(model, 1e6), 60)
    found = {f.code: f for f in w.findings}["nonfinite-values"]
    assert found.severity == "error"
    assert w.findings[0] is not None
    assert found.where


def test_gradients_that_are_never_cleared_are_an_error():
    model = network()
    w = loop(model, sgd(model, 0.01), 60, zero=False)
    assert codes(w)[0] == "stale-gradients"


@pytest.mark.parametrize("late", [False, True])
def test_gradient_accumulation_is_not_taken_for_stale_gradients(late):
    model, order = network(), torch.Generator().manual_seed(3)
    optimizer = sgd(model)
    with tw.watch(model, optimizer, every=1) as w:
        for _ in range(60):
            if not late:
                optimizer.zero_grad(set_to_none=False)
            for part in range(3):
                chosen = torch.randint(len(X), (32,), generator=order)
                value = F.cross_entropy(model(X[chosen]), Y[chosen]) / 3
                if late and part == 0:
                    optimizer.zero_grad()  # after the forward pass, as many do
                w.loss(value).backward()
            optimizer.step()
    assert codes(w) == []
    assert w.history.checked > 10


def test_a_detached_layer_is_an_error_that_names_it():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(12, 32), nn.Linear(32, 3)

        def forward(self, x):
            return self.second(F.relu(self.first(x)).detach())

    model = Cut()
    w = loop(model, sgd(model), 40)
    assert (w.findings[0].code, w.findings[0].where) == ("frozen-parameters", "first.weight")
    assert w.findings[0].severity == "error"


def test_a_loss_without_a_graph_is_an_error():
    model = network()
    optimizer = sgd(model)
    with tw.watch(model, optimizer, every=1) as w, torch.no_grad():
        for _ in range(20):
            w.loss(F.cross_entropy(model(X), Y))
            optimizer.step()
    assert w.findings[0].title == "No weight gets a gradient"


def test_an_optimiser_of_another_model_is_an_error():
    model, other = network(), network()
    w = loop(model, sgd(other), 40)
    assert w.findings[0].title == "The optimiser holds none of the model's weights"


def test_weights_outside_the_optimiser_that_never_move_are_named():
    model = network()
    w = loop(model, torch.optim.SGD(model[2:].parameters(), lr=0.05), 60)
    found = w.findings[0]
    assert (found.code, found.severity, found.where) == ("frozen-parameters", "warning", "0.bias")


def test_weights_that_a_second_optimiser_moves_are_not_a_finding():
    model = network()
    one = torch.optim.SGD(model[2:].parameters(), lr=0.05)
    two = torch.optim.SGD(model[:2].parameters(), lr=0.05)
    one.register_step_post_hook(lambda *_: two.step())
    w = loop(model, one, 60)
    assert "frozen-parameters" not in codes(w)


def test_weights_frozen_on_purpose_are_not_a_finding():
    model = network()
    model[0].requires_grad_(False)
    assert codes(loop(model, sgd(model), 60)) == []


@pytest.fixture
def compiled():
    """How many frames torch.compile has seen: none before the test, and none that it leaves."""
    frames = torch._dynamo.utils.counters["frames"]
    before = dict(frames)
    frames.clear()
    yield frames
    frames.clear()
    frames.update(before)


@pytest.mark.parametrize("functional", [False, True])
def test_dead_units_are_counted_exactly(functional, compiled):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.relu, self.b = nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 3)

        def forward(self, x):
            h = self.a(x)
            return self.b(F.relu(h) if functional else self.relu(h))

    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        model.a.bias[:16] = -100.0
    w = loop(model, sgd(model, 0.01), 60)
    found = w.findings[0]
    assert found.code == "dead-units"
    assert found.measured == pytest.approx(16 / 40)
    assert found.where == ("" if functional else "relu")


def test_it_is_said_that_functions_are_not_watched_where_code_was_compiled(compiled):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network()

        def forward(self, x):
            return F.relu(self.layers(x))

    def notes(model):
        return loop(model, sgd(model), 20).notes

    assert notes(Net()) == ()
    compiled["total"] += 1
    assert "F.relu" in notes(Net())[0]
    assert notes(network()) == ()  # modules only: nothing is hidden


def test_saturated_units_are_found_but_not_those_of_the_output():
    model = network(nn.Tanh)
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight *= 30
    assert "saturated-units" in codes(loop(model, sgd(model, 1e-4), 40))
    healthy = nn.Sequential(network(nn.Tanh), nn.Tanh())
    with torch.no_grad():
        healthy[0][-1].weight *= 200
    assert "saturated-units" not in codes(loop(healthy, sgd(healthy, 1e-6), 40))


def test_vanishing_and_exploding_signals_are_told_apart():
    for factor, code in ((0.2, "vanishing-gradient"), (12.0, "exploding-gradient")):
        model = network(nn.Identity, depth=6)
        with torch.no_grad():
            for layer in model[::2]:
                layer.weight *= factor
        w = loop(model, sgd(model, 1e-12), 20)
        assert code in codes(w)


def test_what_a_look_sees_equals_autograd():
    model = network()
    kept = [model[0](X)]
    for layer in model[1:]:
        kept.append(layer(kept[-1]))
    value = F.cross_entropy(kept[-1], Y)
    back = torch.autograd.grad(value, (kept[0], kept[-1]), retain_graph=True)
    norm = torch.stack([g.square().sum() for g in torch.autograd.grad(value, model.parameters())])
    weights = model[2].weight.detach().clone()
    optimizer = sgd(model)
    after = weights
    with tw.watch(model, optimizer) as w:  # the first step is looked at
        for step in range(2):
            optimizer.zero_grad()
            w.loss(F.cross_entropy(model(X), Y)).backward()
            optimizer.step()
            if step == 0:
                after = model[2].weight.detach().clone()
    [seen] = w.history.looks
    assert seen.step == 1
    assert seen.back["0"] == pytest.approx(float(back[0].norm()), rel=1e-5)
    assert seen.back["6"] == pytest.approx(float(back[1].norm()), rel=1e-5)
    assert seen.norm == pytest.approx(float(norm.sum().sqrt()), rel=1e-5)
    ratio = (after - weights).norm() / weights.norm()
    assert seen.ratios["2.weight"] == pytest.approx(float(ratio), rel=1e-4)
    assert seen.outputs["0"] == pytest.approx(kept[0].square().mean().sqrt().item(), rel=1e-5)
    assert list(seen.outputs) == ["0", "2", "4", "6"]


def test_a_rising_loss_is_a_warning():
    model = network()
    optimizer = sgd(model, 0.02)
    for group in optimizer.param_groups:
        group["maximize"] = True
    w = loop(model, optimizer, 120)
    assert {f.code: f.severity for f in w.findings}["lr-too-high"] == "warning"


def test_updates_below_the_spacing_of_bfloat16_are_lost():
    model = network().bfloat16()
    w = loop(model, sgd(model, 1e-5), 60, x=X.bfloat16())
    found = {f.code: f for f in w.findings}["lost-updates"]
    assert found.severity == "warning"
    assert "bfloat16" in found.message
    assert found.measured > 0.9


def test_a_rate_too_low_for_the_planned_steps_is_said():
    model = network()
    assert "lr-too-low" in codes(loop(model, sgd(model, 1e-6), 60, steps=60))
    assert "lr-too-low" not in codes(loop(model, sgd(model, 1e-6), 60, steps=10**9))
    model = network()
    assert "lr-too-low" not in codes(loop(model, sgd(model, 0.05), 60, steps=60))


def test_a_loss_that_stands_still_is_a_plateau():
    y = torch.arange(len(X)) % 3  # says nothing of the inputs
    model = network()
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.zero_()
    w = loop(model, sgd(model, 1e-3), 300, y=y)
    assert "plateau-or-saddle" in codes(w)


def test_noise_over_signal_equals_its_definition():
    torch.manual_seed(0)
    model = nn.Linear(40, 1, bias=False)
    signal = torch.ones(40) / 40**0.5
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    with tw.watch(model, optimizer, every=1) as w:
        for _ in range(600):
            noise = torch.randn(40) * (3 / 40**0.5)  # nine times the square of the signal
            model.weight.grad = (signal + noise)[None]
            optimizer.step()
    dots = [k.dot for k in w.history.looks]
    squares = [k.square for k in w.history.looks]
    stderr = 10 / 40**0.5 / len(dots) ** 0.5  # of g·h: |g||h| / sqrt(n), a look
    assert sum(dots) / len(dots) == pytest.approx(1.0, abs=4 * stderr)
    assert sum(squares) / len(squares) == pytest.approx(10.0, rel=0.1)


def test_hooks_are_gone_after_close_and_training_is_bit_for_bit_the_same():
    def trained(watched):
        model = network()
        model.append(nn.Dropout(0.2))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        torch.manual_seed(5)
        w = tw.watch(model, optimizer, every=1) if watched else None
        for _ in range(30):
            optimizer.zero_grad()
            value = F.cross_entropy(model(X[:64]), Y[:64])
            value.backward()
            optimizer.step()
        if w is not None:
            w.close()
            w.close()
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks
        for module in model.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
        assert all(not p._backward_hooks for p in model.parameters())
        return model.state_dict(), torch.get_rng_state()

    (plain, state), (seen, other) = trained(False), trained(True)
    assert all(torch.equal(plain[k], seen[k]) for k in plain)
    assert torch.equal(state, other)


def test_a_model_copied_or_pickled_during_a_look_carries_no_watch():
    model = network()
    optimizer = sgd(model)
    with tw.watch(model, optimizer, every=1):
        copied = copy.deepcopy(model)
        again = pickle.loads(pickle.dumps(model))
        copy.deepcopy(optimizer)
        for other in (copied, again):
            assert torch.equal(other(X), model(X))
            assert all(h.function is None for h in other[0]._forward_hooks.values())


def test_evaluation_between_steps_is_not_looked_at():
    model = network()
    optimizer = sgd(model)
    with tw.watch(model, optimizer, every=1) as w:
        for _ in range(20):
            model.eval()
            model(torch.full((3, 12), torch.nan))
            model.train()
            with torch.no_grad():
                model(torch.full((3, 12), torch.nan))
            optimizer.zero_grad()
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
    assert codes(w) == []


def test_an_exception_in_forward_leaves_no_mode_behind():
    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    model = nn.Sequential(nn.Linear(12, 3), nn.Sequential(Fails()))
    w = tw.watch(model, sgd(model))
    with pytest.raises(RuntimeError, match="no"):
        model(X)
    assert torch.overrides._get_current_function_mode_stack() == []
    w.close()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"budget": 0}, ValueError),
        ({"budget": float("nan")}, ValueError),
        ({"steps": 0}, ValueError),
        ({"logger": 3}, TypeError),
    ],
)
def test_bad_arguments_are_refused_in_one_line(change, error):
    model = network()
    with pytest.raises(error) as info:
        tw.watch(model, sgd(model), **change)
    assert "\n" not in str(info.value)


def test_what_is_no_optimiser_or_model_is_refused():
    model = network()
    with pytest.raises(TypeError, match="one watch for each"):
        tw.watch(model, [sgd(model)])
    with pytest.raises(TypeError, match="Module"):
        tw.watch(list(model.parameters()), sgd(model))


def test_scalars_go_to_writers_and_functions_and_findings_are_told_once():
    class Writer:
        def __init__(self):
            self.rows = []

        def add_scalar(self, name, value, step):
            self.rows.append((name, value, step))

    writer, lines, told = Writer(), [], []
    model = network()
    loop(model, sgd(model, 0.01), 40, zero=False, logger=writer, tell=told.append)
    assert {name for name, _, _ in writer.rows} >= {
        "thalweg/gradient_norm",
        "thalweg/finding/stale-gradients",
    }
    assert [f.code for f in told].count("stale-gradients") == 1
    model = network()
    w = loop(model, sgd(model), 40, logger=lambda step, numbers: lines.append((step, numbers)))
    assert all(isinstance(v, float) for _, row in lines for v in row.values())
    assert lines[-1][1].keys() == w.scalars().keys()
    steps = [step for step, _ in lines]
    assert steps == sorted(steps)
