"""The optimizer contract: what training loops, schedulers and checkpoints rely on."""

from __future__ import annotations

import copy
import inspect
import io
import pickle

import pytest
import torch

from thalweg.optim import OPTIMIZERS, DeltaBarDelta, Shell
from thalweg.optim.build import defaults, make
from thalweg.optim.rule import Given

NAMES = OPTIMIZERS.names()
SCHEDULERS = torch.optim.lr_scheduler


def shell(name, params, **options):
    rule = OPTIMIZERS.load("momentum" if name == "sgd" else name)()
    if name == "sgd":
        options = {"momentum": 0.0} | options
    return Shell(params, rule, **options)


def network(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    ).to(dtype)  # fmt: skip


@pytest.fixture(autouse=True)
def _same_randomness_outside():
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)


def train(model, optimizer, steps=12, scheduler=None):
    dtype = next(model.parameters()).dtype
    x = torch.linspace(-1, 1, 32, dtype=dtype).reshape(8, 4)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - x[:, :2] ** 2).square().mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_shell_around_a_rule_trains_like_torch(name, in_place):
    a, b = network(), network()
    knobs = {"lr": 0.02} | ({"weight_decay": 0.1} if name != "delta-bar-delta" else {})
    ours = train(a, shell(name, a.parameters(), in_place=in_place, **knobs))
    theirs = train(b, make(name, b.parameters(), **knobs))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_it_is_a_torch_optimizer_with_its_groups_and_signature():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = DeltaBarDelta([w], lr=0.5)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.defaults == defaults("delta-bar-delta") | {"lr": 0.5}
    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == (
        optimizer.defaults
    )
    assert list(inspect.signature(DeltaBarDelta).parameters)[:7] == [
        "params", "lr", "kappa", "phi", "gamma", "lr_max", "lr_min",
    ]  # fmt: skip
    assert DeltaBarDelta.__doc__
    assert "DeltaBarDelta" in repr(optimizer)


@pytest.mark.parametrize("name", NAMES)
def test_hyperparameters_are_read_again_at_every_step(name):
    a, b = network(), network()
    ours, theirs = shell(name, a.parameters(), lr=0.01), make(name, b.parameters(), lr=0.01)
    for rate in (0.01, 0.05, 0.002):
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.param_groups[0]["weight_decay"] = rate
        torch.testing.assert_close(train(a, ours, 2), train(b, theirs, 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_state_holds_tensors_per_parameter(name):
    model = network()
    optimizer = shell(name, model.parameters())
    train(model, optimizer, 2)
    for p in model.parameters():
        state = optimizer.state[p]
        assert all(isinstance(value, torch.Tensor) for value in state.values())
        assert state["step"].item() == 2
        assert all(v.shape == p.shape for k, v in state.items() if k != "step")


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_training_continues_bit_for_bit(name):
    model = network()
    optimizer = shell(name, model.parameters(), lr=0.02)
    train(model, optimizer, 5)
    buffer = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], buffer)
    buffer.seek(0)
    weights, states = torch.load(buffer, weights_only=True)
    again = network(1)
    again.load_state_dict(weights)
    resumed = shell(name, again.parameters(), lr=0.5)
    resumed.load_state_dict(states)
    assert resumed.param_groups[0]["lr"] == 0.02
    assert torch.equal(train(model, optimizer, 5), train(again, resumed, 5))


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copied_optimizer_still_steps_like_the_original(copier):
    model = network()
    optimizer = shell("adam", model.parameters(), lr=0.02)
    train(model, optimizer, 3)
    pair = copier([model, optimizer])
    assert torch.equal(train(*pair), train(model, optimizer))


@pytest.mark.parametrize("name", NAMES)
def test_state_follows_the_parameters_to_another_dtype(name):
    model = network(dtype=torch.float32)
    optimizer = shell(name, model.parameters(), lr=0.02)
    train(model, optimizer, 3)
    states = copy.deepcopy(optimizer.state_dict())
    model.double()
    again = shell(name, model.parameters(), lr=0.02)
    again.load_state_dict(states)
    train(model, again, 3)
    for p in model.parameters():
        assert {v.dtype for k, v in again.state[p].items() if k != "step"} <= {torch.float64}
        assert again.state[p]["step"].item() == 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_state_follows_the_parameters_to_the_gpu_and_agrees_there(name):
    model = network()
    optimizer = shell(name, model.parameters(), lr=torch.tensor(0.02))
    train(model, optimizer, 3)
    twin = copy.deepcopy(model).cuda()
    again = shell(name, twin.parameters())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    x = torch.ones(2, 4, dtype=torch.float64)
    for m, o in ((model, optimizer), (twin, again)):
        o.zero_grad()
        m(x.to(next(m.parameters()).device)).square().sum().backward()
        o.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-10, atol=1e-12)


def test_a_closure_is_called_once_with_gradients_enabled_and_its_loss_returned():
    w = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer, seen = DeltaBarDelta([w], lr=0.1), []

    def closure():
        seen.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        value = (w**2).sum()
        value.backward()
        return value

    with torch.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert seen == [True]
    assert w.item() == pytest.approx(1.6)
    assert optimizer.step() is None


@pytest.mark.parametrize("name", NAMES)
def test_lr_may_be_a_tensor(name):
    a, b = network(), network()
    rate = torch.tensor(0.02, dtype=torch.float64)
    ours = train(a, shell(name, a.parameters(), lr=rate))
    theirs = train(b, shell(name, b.parameters(), lr=0.02))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reads_no_tensor_on_the_meta_device(name):
    # meta tensors hold no numbers: any .item() or branch on a value raises here
    p = torch.nn.Parameter(torch.empty(3, device="meta"))
    lr = torch.empty((), device="meta")
    for in_place in (True, False):
        optimizer = shell(name, [p], in_place=in_place, lr=lr)
        for _ in range(2):
            p.grad = torch.empty_like(p)
            optimizer.step()
        assert optimizer.state[p]["step"].device.type == "meta"


RATES = {
    "LambdaLR": lambda o: SCHEDULERS.LambdaLR(o, lambda k: 0.9**k),
    "MultiplicativeLR": lambda o: SCHEDULERS.MultiplicativeLR(o, lambda k: 0.9),
    "StepLR": lambda o: SCHEDULERS.StepLR(o, 3),
    "MultiStepLR": lambda o: SCHEDULERS.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: SCHEDULERS.ConstantLR(o, total_iters=4),
    "LinearLR": lambda o: SCHEDULERS.LinearLR(o, total_iters=5),
    "ExponentialLR": lambda o: SCHEDULERS.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: SCHEDULERS.PolynomialLR(o, 8),
    "CosineAnnealingLR": lambda o: SCHEDULERS.CosineAnnealingLR(o, 6),
    "CosineAnnealingWarmRestarts": lambda o: SCHEDULERS.CosineAnnealingWarmRestarts(o, 4),
    "CyclicLR": lambda o: SCHEDULERS.CyclicLR(o, 0.0, 0.1, 3, cycle_momentum=False),
    "OneCycleLR": lambda o: SCHEDULERS.OneCycleLR(o, 0.1, total_steps=13, cycle_momentum=False),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.001, anneal_epochs=5),
    "ChainedScheduler": lambda o: SCHEDULERS.ChainedScheduler(
        [SCHEDULERS.ConstantLR(o, total_iters=4), SCHEDULERS.ExponentialLR(o, 0.9)]
    ),
    "SequentialLR": lambda o: SCHEDULERS.SequentialLR(
        o, [SCHEDULERS.LinearLR(o, total_iters=3), SCHEDULERS.ExponentialLR(o, 0.9)], [3]
    ),
}


def test_every_scheduler_of_torch_is_tried():
    theirs = set(SCHEDULERS.__all__) - {"LRScheduler", "ReduceLROnPlateau"}
    assert theirs | {"SWALR"} == set(RATES)


# SequentialLR steps its own schedulers with an argument that torch itself deprecates.
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("which", RATES)
def test_torch_schedulers_act_on_a_shell_as_on_torch(which):
    a, b = network(), network()
    ours = shell("sgd", a.parameters(), lr=0.05)
    theirs = torch.optim.SGD(b.parameters(), lr=0.05)
    after = train(a, ours, 12, RATES[which](ours))
    torch.testing.assert_close(
        after, train(b, theirs, 12, RATES[which](theirs)), rtol=1e-12, atol=1e-12
    )
    c = network()
    optimizer = DeltaBarDelta(c.parameters(), lr=0.05)
    assert bool(train(c, optimizer, 12, RATES[which](optimizer)).isfinite().all())
    assert optimizer.param_groups[0]["lr"] == ours.param_groups[0]["lr"]


def test_reduce_on_plateau_and_cycled_momentum_act_on_a_shell():
    model = network()
    optimizer = shell("momentum", model.parameters(), lr=0.1)
    plateau = SCHEDULERS.ReduceLROnPlateau(optimizer, patience=0)
    for _ in range(3):
        plateau.step(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)
    a, b = network(), network()
    pair = [
        (a, shell("momentum", a.parameters(), lr=0.05)),
        (b, torch.optim.SGD(b.parameters(), lr=0.05, momentum=0.9)),
    ]
    ends = [train(m, o, 8, SCHEDULERS.OneCycleLR(o, 0.1, total_steps=9)) for m, o in pair]
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


def test_two_groups_have_their_own_hyperparameters():
    model = network()
    first, last = list(model[0].parameters()), list(model[2].parameters())
    optimizer = DeltaBarDelta(
        [{"params": first, "lr": 0.01}, {"params": last, "kappa": 0.5}], lr=0.3
    )
    assert [g["lr"] for g in optimizer.param_groups] == [0.01, 0.3]
    assert [g["kappa"] for g in optimizer.param_groups] == [None, 0.5]
    w = torch.nn.Parameter(torch.zeros(1))
    optimizer.add_param_group({"params": [w], "phi": 0.5})
    assert optimizer.param_groups[2]["phi"] == 0.5
    for p in [*model.parameters(), w]:
        p.grad = torch.ones_like(p)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    moved = [
        (b - p.detach()).mean().item() for b, p in zip(before, model.parameters(), strict=True)
    ]
    assert moved == pytest.approx([0.01, 0.01, 0.3, 0.3])
    assert w.item() == pytest.approx(-0.3)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_scalar_and_unused_parameters_are_fine(name):
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    scalar = torch.nn.Parameter(torch.tensor(2.0))
    unused = torch.nn.Parameter(torch.ones(3))
    optimizer = shell(name, [frozen, scalar, unused], lr=0.1)
    (scalar**2).backward()
    optimizer.step()
    assert torch.equal(frozen, torch.ones(2))
    assert torch.equal(unused, torch.ones(3))
    assert scalar.item() < 2.0
    assert scalar.shape == ()
    assert unused not in optimizer.state


def test_a_parameter_that_gets_gradients_later_starts_then():
    late, other = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimizer = shell("adam", [late, other], lr=0.1)
    other.grad = torch.ones(1)
    optimizer.step()
    late.grad = torch.ones(1)
    optimizer.step()
    assert (optimizer.state[late]["step"].item(), optimizer.state[other]["step"].item()) == (1, 2)
    assert late.item() == pytest.approx(0.9)


def test_sparse_gradients_are_refused_clearly():
    table = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = DeltaBarDelta(table.parameters(), lr=0.1)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="DeltaBarDelta does not support sparse gradients"):
        optimizer.step()


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"lr": -1.0}, "lr must be a number in"),
        ({"lr": torch.ones(2)}, "lr must hold one number"),
        ({"phi": 1.0}, "phi must be"),
        ({"gamma": float("nan")}, "gamma must be"),
        ({"kappa": "fast"}, "kappa must be"),
        ({"lr_max": 1e-13}, "lr_max=1e-13 is below lr_min=1e-12"),
    ],
)
def test_bad_hyperparameters_are_refused_at_the_door(knobs, words):
    w = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=words):
        DeltaBarDelta([w], **knobs)
    optimizer = DeltaBarDelta([w])
    with pytest.raises(ValueError, match=words):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], **knobs})
    assert len(optimizer.param_groups) == 1


def test_unknown_hyperparameters_complex_parameters_and_greedy_rules_are_refused():
    w = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=r"Adam has no hyperparameter 'momentum'\. Known: lr"):
        shell("adam", [w], momentum=0.9)
    with pytest.raises(ValueError, match="takes real parameters"):
        DeltaBarDelta([torch.nn.Parameter(torch.ones(1, dtype=torch.complex64))])

    class Greedy:
        needs = ("grad", "hvp")
        hyperparameters = ()

    with pytest.raises(TypeError, match="Greedy asks its oracle for grad, hvp"):
        Shell([w], Greedy())


@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_step_equals_the_plain_one(name):
    a, b = network(), network()
    plain, compiled = shell(name, a.parameters(), lr=0.02), shell(name, b.parameters(), lr=0.02)
    torch.compiler.reset()
    step = torch.compile(compiled.step, backend="eager")
    for i in range(4):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            p.grad = torch.full_like(p, (-1.0) ** i * (0.1 + i))
            q.grad = p.grad.clone()
        plain.step()
        step()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_bfloat16_parameters_train():
    model = network(dtype=torch.bfloat16)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    after = train(model, DeltaBarDelta(model.parameters(), lr=0.1))
    assert after.dtype == torch.bfloat16
    assert bool(after.isfinite().all())
    assert not torch.equal(before, after)


def test_step_hooks_of_torch_are_called():
    w, calls = torch.nn.Parameter(torch.ones(1)), []
    optimizer = DeltaBarDelta([w], lr=0.1)
    optimizer.register_step_pre_hook(lambda o, a, k: calls.append("before"))
    optimizer.register_step_post_hook(lambda o, a, k: calls.append("after"))
    w.grad = torch.ones(1)
    optimizer.step()
    assert calls == ["before", "after"]


def test_an_oracle_of_given_gradients_answers_at_any_point():
    stored = {"w": torch.ones(2)}
    assert Given(stored).grad({"w": torch.zeros(2)}) is stored
