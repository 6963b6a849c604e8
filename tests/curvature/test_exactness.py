"""Every operator against dense matrices by brute force, in float64, for networks of every kind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from thalweg.curvature import fisher, ggn, gradient_covariance, hessian, layer_blocks
from thalweg.linalg import eigenvalues, spectral_density

F64 = torch.float64


def assert_close(found, wanted, tol=1e-8):
    """To ``tol`` of the largest entry."""
    assert float((found - wanted).abs().max()) <= tol * max(1.0, float(wanted.abs().max()))


@pytest.fixture
def look(net):
    """How the case is handed over."""
    return (net.model, net.loss, net.data), {"mode": net.mode}


UNTRACED = ("GRU",)  # torch's kernel changes tensors in place that others look at


def test_hessian_equals_brute_force_by_every_engine(net, look, dense, dense_hessian) -> None:
    args, options = look
    exact = dense_hessian(net)
    assert_close(dense(hessian(*args, engine="graph", **options)), exact)
    assert_close(dense(hessian(*args, engine="recompute", chunk=3, **options)), exact)
    split = hessian(*args, engine="split", **options)
    if any(type(m).__name__ in UNTRACED for m in net.model.modules()):
        with pytest.raises(ValueError, match="engine='split' cannot be used here"):
            dense(split)
        return
    assert_close(dense(split), exact)
    assert_close(torch.stack([split @ v for v in torch.eye(len(exact), dtype=F64)]), exact)
    assert_close(dense(hessian(*args, engine="split", chunk=3, memory=1, **options)), exact)


def outer_ggn(net, metric):
    """Σ Jᵀ M J with the dense Jacobian of all outputs and M found by differentiating the loss."""
    named = {n: p.detach() for n, p in net.model.named_parameters() if p.requires_grad}
    x, y = net.data

    def outputs(flat):
        parts = flat.split([p.numel() for p in named.values()])
        pairs = zip(named.items(), parts, strict=True)
        swapped = {n: part.reshape(p.shape) for (n, p), part in pairs}
        return functional_call(net.model, swapped, (x,))

    flat = torch.cat([p.reshape(-1) for p in named.values()])
    z = outputs(flat).detach()
    jacobian = torch.autograd.functional.jacobian(outputs, flat).reshape(z.numel(), -1)
    return jacobian.mT @ metric(z, y) @ jacobian


LOSSES = {
    "mlp": F.cross_entropy,
    "lenet": F.cross_entropy,
    "layernorm": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.2, 3.0], dtype=F64)),
    "relu": nn.CrossEntropyLoss(label_smoothing=0.3, weight=torch.tensor([1.0, 2.0, 0.5]).double()),
    "softmax": nn.CrossEntropyLoss(ignore_index=1),
    "tied": F.mse_loss,
    "groupnorm": nn.MSELoss(reduction="sum"),
    "switches": nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 1.0, 0.3], dtype=F64)),
    "batchnorm-eval": lambda z, y: F.nll_loss(F.log_softmax(z, 1), y) + 0.1 * z.pow(4).mean(),
}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_ggn_equals_dense_jacobians_for_every_closed_form(make_net, dense, name) -> None:
    net, loss = make_net(name), LOSSES[name]
    net.model.eval()

    def metric(z, y):
        found = torch.func.hessian(lambda t: loss(t, y))(z)
        return found.reshape(z.numel(), z.numel())

    exact = outer_ggn(net, metric)
    for engine in ("graph", "split"):
        assert_close(dense(ggn(net.model, loss, net.data, engine=engine)), exact)
    assert_close(dense(ggn(net.model, loss, net.data, chunk=2)), exact)


def test_ggn_is_the_hessian_for_a_model_linear_in_its_weights(make_net, dense) -> None:
    net = make_net("softmax")
    assert_close(
        dense(ggn(net.model, net.loss, net.data)), dense(hessian(net.model, net.loss, net.data))
    )


def test_hessian_of_a_softmax_layer_is_its_closed_form(make_net, dense) -> None:
    net = make_net("softmax")
    x, _ = net.data
    x1 = torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1)
    p = net.model(x).softmax(1).detach()
    s = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    blocks = torch.einsum("nab,nc,nd->acbd", s, x1, x1) / len(x)
    order = [*(a * 5 + c for a in range(3) for c in range(4)), *(a * 5 + 4 for a in range(3))]
    exact = blocks.reshape(15, 15)[order][:, order]
    assert_close(dense(hessian(net.model, net.loss, net.data)), exact, 1e-12)


def sample_gradients(net):
    """``(n, p)``, one backward pass a sample."""
    x, y = net.data
    net.model.eval()
    params = [p for p in net.model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(x)):
        grads = torch.autograd.grad(net.loss(net.model(x[i : i + 1]), y[i : i + 1]), params)
        rows.append(torch.cat([g.reshape(-1) for g in grads]))
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["mlp", "lenet", "tied", "embedding", "attention", "switches"])
def test_empirical_fisher_and_covariance_equal_loops_over_samples(make_net, dense, name) -> None:
    net = make_net(name)
    g = sample_gradients(net)
    args = (net.model, net.loss, net.data)
    for options in ({}, {"chunk": 2}, {"engine": "split", "chunk": 3}):
        assert_close(dense(fisher(*args, **options)), g.mT @ g / len(g))
    centred = g - g.mean(0)
    assert_close(dense(gradient_covariance(*args, chunk=2)), centred.mT @ centred / len(g))


@pytest.mark.parametrize("name", ["mlp", "tied", "switches"])
def test_monte_carlo_fisher_is_ggn_on_average(make_net, dense, name) -> None:
    net = make_net(name)
    exact = dense(ggn(net.model, net.loss, net.data))
    draws = torch.stack(
        [
            dense(fisher(net.model, net.loss, net.data, kind="monte-carlo", draws=40, seed=s))
            for s in range(30)
        ]
    )
    stderr = draws.std(0) / 30**0.5
    scale = float(exact.abs().max())
    assert float(((draws.mean(0) - exact).abs() / (stderr + 1e-6 * scale)).max()) < 5.5
    again = fisher(net.model, net.loss, net.data, kind="monte-carlo", draws=40, seed=3)
    assert_close(dense(again), draws[3])
    split = fisher(net.model, net.loss, net.data, kind="monte-carlo", draws=40, seed=3,
                   engine="split")  # fmt: skip
    assert_close(dense(split), draws[3])


@pytest.mark.parametrize("name", ["mlp", "lenet", "lstm"])
def test_layer_blocks_are_the_diagonal_blocks(make_net, dense, dense_hessian, name) -> None:
    net = make_net(name)
    exact, op = dense_hessian(net), hessian(net.model, net.loss, net.data)
    blocks = layer_blocks(op)
    assert list(blocks) == list(op.layout.layers)
    for layer, block in blocks.items():
        place = op.layout.layers[layer]
        assert_close(dense(block), exact[place, place])


@pytest.mark.parametrize("name", ["mlp", "lenet", "transformer"])
def test_moments_of_the_density_lie_within_their_error_bars(make_net, dense_hessian, name) -> None:
    net = make_net(name)
    exact = torch.linalg.eigvalsh(dense_hessian(net))
    found = spectral_density(hessian(net.model, net.loss, net.data), probes=30, steps=20)
    for power in (1, 2, 3):
        value, stderr = found.mean(lambda x, k=power: x**k)
        assert abs(value - float((exact**power).mean())) <= 4 * stderr
    for x in (1e-3, 1e-2, 1e-1):
        low, high = found.fraction_within(x)
        assert low <= float((exact.abs() < x).double().mean()) <= high


def test_extreme_eigenvalues_equal_the_dense_ones(net, look, dense_hessian) -> None:
    args, options = look
    exact = torch.linalg.eigvalsh(dense_hessian(net)).flip(0)
    op = hessian(*args, **options)
    scale = float(exact.abs().max())
    top = eigenvalues(op, k=10, tol=1e-7)
    bottom = eigenvalues(op, k=5, which="smallest", tol=1e-7)
    assert float((top.values - exact[:10]).abs().max()) <= 1e-6 * scale
    assert float((bottom.values - exact.flip(0)[:5]).abs().max()) <= 1e-6 * scale
    for found in (top, bottom):
        distance = (found.values[:, None] - exact).abs().min(1).values
        assert bool((distance <= found.residuals).all())
