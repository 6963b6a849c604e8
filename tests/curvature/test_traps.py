"""What goes silently wrong elsewhere: each trap by name, with the exact answer beside it."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from thalweg.curvature import fisher, ggn, hessian
from thalweg.linalg import eigenvalues

F64 = torch.float64
G = torch.Generator


def assert_close(found, wanted, tol=1e-9):
    assert float((found - wanted).abs().max()) <= tol * max(1.0, float(wanted.abs().max()))


def vectors(n=7, seed=0):
    g = G().manual_seed(seed)
    return torch.randn(n, 4, generator=g, dtype=F64), torch.randint(0, 3, (n,), generator=g)


def net(*layers, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), *layers, nn.Linear(5, 3)).double()


# ---------------------------------------------------------------- data and means


def test_a_smaller_last_batch_weighs_less(dense) -> None:
    model, (x, y) = net(nn.Tanh()), vectors(7)
    whole = dense(hessian(model, F.cross_entropy, (x, y)))
    assert_close(dense(hessian(model, F.cross_entropy, [(x[:5], y[:5]), (x[5:], y[5:])])), whole)
    assert_close(dense(hessian(model, F.cross_entropy, (x, y), chunk=3)), whole)
    for loader in (
        DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True),
        DataLoader(TensorDataset(x, y), batch_size=4, drop_last=True),
    ):
        assert_close(dense(hessian(model, F.cross_entropy, loader, chunk=2)), whole)


@pytest.mark.parametrize("operator", [hessian, ggn])
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.1], dtype=F64)),
        nn.CrossEntropyLoss(ignore_index=2),
        nn.CrossEntropyLoss(reduction="sum"),
    ],
    ids=["class weights", "ignored targets", "sum"],
)
def test_chunks_weigh_by_what_the_mean_runs_over(dense, operator, loss) -> None:
    model, data = net(nn.Tanh()), vectors(7)
    whole = dense(operator(model, loss, data, chunk=7))
    assert_close(dense(operator(model, loss, data, chunk=2)), whole)


def test_a_mean_over_tokens_is_weighed_by_the_users_weight(dense) -> None:
    x, y = vectors(6)
    counts = torch.tensor([1.0, 2, 3, 1, 1, 4], dtype=F64)

    def loss(output, target):
        w = target[:, 1]
        return (F.cross_entropy(output, target[:, 0].long(), reduction="none") * w).sum() / w.sum()

    data = (x, torch.stack([y.to(F64), counts], 1))
    model = net(nn.Tanh())
    alone = hessian(model, loss, data)  # one batch at once needs no warning, only a note
    assert any("cannot be taken apart" in note for note in alone.notes)
    whole = dense(alone)
    batches = [tuple(t[:4] for t in data), tuple(t[4:] for t in data)]
    with pytest.warns(UserWarning, match="not the weighted mean of its parts"):
        hessian(model, loss, batches)
    for form in (data, batches):
        found = hessian(model, loss, form, chunk=2, weight=lambda batch: batch[1][:, 1].sum())
        assert_close(dense(found), whole)


def test_data_that_answer_differently_are_refused() -> None:
    class Noisy(Dataset):
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def __len__(self):
            return 6

        def __getitem__(self, i):
            return torch.tensor(self.rng.normal(size=4)), i % 3

    with pytest.raises(ValueError, match="not deterministic"):
        hessian(net(nn.Tanh()), F.cross_entropy, Noisy())


# ---------------------------------------------------------------- the model is left alone


def state(model):
    return (
        {n: t.clone() for n, t in model.state_dict().items()},
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [id(p) for p in model.parameters()],
    )


def same(a, b):
    return (
        a[1:3] == b[1:3]
        and a[4] == b[4]
        and all(torch.equal(a[0][n], b[0][n]) for n in a[0])
        and all(
            (x is None and y is None) or torch.equal(x, y) for x, y in zip(a[3], b[3], strict=True)
        )
    )


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_and_all_random_states_stay_bit_for_bit(mode) -> None:
    model, (x, y) = net(nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5)).train(), vectors(8)
    model[0].weight.requires_grad_(False)
    model[1].eval()
    model[4].bias.grad = torch.ones(3, dtype=F64)
    before = state(model)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for operator in (hessian, ggn, fisher):
        if operator is fisher and mode == "train":
            continue
        for engine in ("graph", "split"):
            op = operator(model, F.cross_entropy, (x, y), mode=mode, engine=engine)
            op @ torch.ones(op.shape[0], 2, dtype=F64)
    assert same(before, state(model))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    assert states[2] == random.getstate()


def test_products_are_equal_although_the_model_is_in_train_mode() -> None:
    model, data = net(nn.BatchNorm1d(5), nn.Dropout(0.5)).train(), vectors(8)
    op = hessian(model, F.cross_entropy, data)
    v = torch.ones(op.shape[0], dtype=F64)
    assert torch.equal(op @ v, op @ v)
    assert_close(op @ v, hessian(model.eval(), F.cross_entropy, data) @ v, 1e-14)


def test_a_fixed_dropout_mask_is_kept_on_wish(dense) -> None:
    model, data = net(nn.Tanh(), nn.Dropout(0.5)), vectors(8)
    graph = dense(hessian(model, F.cross_entropy, data, dropout=True, engine="graph"))
    assert_close(graph, dense(hessian(model, F.cross_entropy, data, dropout=True, engine="split")))
    assert_close(graph, graph.mT)
    other = dense(hessian(model, F.cross_entropy, data, dropout=True, seed=5))
    assert float((graph - other).abs().max()) > 1e-3


def test_later_training_does_not_reach_the_operator() -> None:
    model, data = net(nn.Tanh()), vectors()
    op = hessian(model, F.cross_entropy, data)
    v = torch.ones(op.shape[0], dtype=F64)
    before = op @ v
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert torch.equal(before, op @ v)


# ---------------------------------------------------------------- what kernels and modes do


def test_unused_parameters_have_rows_of_zeros(make_net, dense) -> None:
    case = make_net("unused")
    op = hessian(case.model, case.loss, case.data)
    idle = op.layout.layers["idle"]
    matrix = dense(op)
    assert float(matrix[idle].abs().max()) == 0.0
    assert float(matrix.abs().max()) > 0


def test_fused_attention_needs_no_help_from_the_user(make_net, dense, dense_hessian) -> None:
    case = make_net("attention")
    x, y = case.data
    with torch.no_grad():
        assert_close(
            dense(hessian(case.model, case.loss, (x, y))), dense_hessian_of(dense_hessian, case)
        )


def dense_hessian_of(brute, case):
    with torch.enable_grad():
        return brute(case)


@pytest.mark.parametrize("engine", ["graph", "split"])
def test_contexts_outside_change_nothing(engine) -> None:
    model, (x, y) = net(nn.Tanh()).float(), vectors()
    data = (x.float(), y)
    op = hessian(model, F.cross_entropy, data, engine=engine)
    v = torch.ones(op.shape[0])
    plain = op @ v
    with torch.no_grad():
        assert torch.equal(op @ v, plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(op @ v, plain)
        again = hessian(model, F.cross_entropy, data, engine=engine)
        assert torch.equal(again @ v, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_copied_to_float32(dtype) -> None:
    model, (x, y) = net(nn.Tanh()).to(dtype), vectors()
    op = hessian(model, F.cross_entropy, (x.to(dtype), y))
    wide = net(nn.Tanh())
    wide.load_state_dict({n: t.float() for n, t in model.state_dict().items()})
    exact = hessian(wide.float(), F.cross_entropy, (x.to(dtype).float(), y))
    v = torch.ones(op.shape[0])
    assert op.dtype == torch.float32
    assert torch.equal(op @ v, exact @ v)
    assert next(model.parameters()).dtype == dtype


def test_kinks_of_relu_do_not_enter(make_net, dense_hessian) -> None:
    case = make_net("relu")
    exact = torch.linalg.eigvalsh(dense_hessian(case))
    found = eigenvalues(hessian(case.model, case.loss, case.data), which="smallest", tol=1e-8)
    assert float(found.values[0]) == pytest.approx(float(exact[0]), abs=1e-8)


def test_weight_norm_whose_fused_second_derivative_is_wrong_is_right_here(dense) -> None:
    class Written(nn.Module):
        def __init__(self, of):
            super().__init__()
            weights = of.parametrizations.weight
            self.bias = nn.Parameter(of.bias.detach().clone())
            self.g = nn.Parameter(weights.original0.detach().clone())
            self.v = nn.Parameter(weights.original1.detach().clone())

        def forward(self, x):
            norm = self.v.square().sum(1, keepdim=True).sqrt()
            return x @ (self.g * self.v / norm).mT + self.bias

    x, y = vectors()
    new = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3).double())
    exact = dense(hessian(Written(new), F.cross_entropy, (x, y)))
    for engine in ("graph", "split"):
        assert_close(dense(hessian(new, F.cross_entropy, (x, y), engine=engine)), exact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old = nn.utils.weight_norm(nn.Linear(4, 3).double())
    old.load_state_dict(
        {"bias": new.bias, "weight_g": new.parametrizations.weight.original0,
         "weight_v": new.parametrizations.weight.original1}
    )  # fmt: skip
    assert_close(dense(hessian(old, F.cross_entropy, (x, y))), exact)


class Wrong(torch.autograd.Function):
    """x² whose gradient is right and whose second derivative is not."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w**2

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad * w**2, grad * (2 * x * w).detach()


def test_an_operation_with_a_wrong_second_derivative_is_refused_by_name() -> None:
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3) * 1.5)

        def forward(self, x):
            return Wrong.apply(self.first(x), self.scale)

    op = hessian(Odd().double(), F.cross_entropy, vectors())
    with pytest.raises(ValueError, match="wrong second derivative"):
        op @ torch.ones(op.shape[0], dtype=F64)


class Branching(nn.Module):
    """Decides by the data, in Python."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x):
        return torch.tanh(self.a(x)) if float(x.sum()) > 0 else self.a(x)


class Baked(nn.Module):
    """Decides by the data, where a record does not see it."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x):
        bent = bool(np.asarray(x.detach().tolist()).sum() > 0)
        return torch.tanh(self.a(x)) if bent else self.a(x)


@pytest.mark.parametrize("model", [Branching, Baked])
def test_control_flow_by_data_is_never_recorded_silently(dense, model) -> None:
    net_ = model().double()
    x, y = vectors(6)
    batches = [(x[:3].abs(), y[:3]), (-x[3:].abs(), y[3:])]
    exact = dense(hessian(net_, F.cross_entropy, batches, engine="graph"))
    op = hessian(net_, F.cross_entropy, batches, engine="split", chunk=3)
    try:
        assert_close(dense(op), exact)
    except ValueError as error:
        assert "engine='split' cannot be used here" in str(error)  # noqa: PT017
    assert_close(dense(hessian(net_, F.cross_entropy, batches)), exact)
