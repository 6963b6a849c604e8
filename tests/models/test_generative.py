"""Autoencoders, variational bounds, energies and the adversarial game beside their closed forms."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional as F

from thalweg.models import gan
from thalweg.models.autoencoder import (
    Autoencoder,
    LinearAutoencoder,
    largest_angle,
    pca_reference,
    undercomplete,
)
from thalweg.models.latent_energy import LatentEnergyModel, mean_free_energy
from thalweg.models.vae import VAE, gaussian_kl, linear_elbo, negative_elbo


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def seeded(build, *arguments, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments, **options).double()


def correlated(n=80, d=7):
    return normal(n, d) @ normal(d, d, seed=1) + 2


# ---------------------------------------------------------------- autoencoders


def test_pca_reference_equals_scikit_learn():
    x = correlated()
    found, theirs = pca_reference(x, 3), PCA(3).fit(x.numpy())
    back = (x - found.mean) @ found.basis @ found.basis.T + found.mean
    expected = torch.from_numpy(theirs.inverse_transform(theirs.transform(x.numpy())))
    torch.testing.assert_close(back, expected, atol=1e-10, rtol=0)
    assert found.tail == pytest.approx(float((x - back).square().sum()), rel=1e-10)


@pytest.mark.parametrize("tied", [False, True])
def test_a_linear_autoencoder_at_the_components_attains_the_eckart_young_bound(tied):
    x, k = correlated(), 3
    pca = pca_reference(x, k)
    model = seeded(LinearAutoencoder, 7, k, tied=tied)
    with torch.no_grad():
        model.encoder.weight.copy_(pca.basis.T)
        model.encoder.bias.copy_(-pca.basis.T @ pca.mean)
        if tied:
            model.shift.copy_(pca.mean)
        else:
            model.decoder.weight.copy_(pca.basis)
            model.decoder.bias.copy_(pca.mean)
    loss = F.mse_loss(model(x), x, reduction="sum")
    assert float(loss.detach()) == pytest.approx(pca.tail, rel=1e-10)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-9  # it is a critical point
    torch.testing.assert_close(model.projection().detach(), pca.basis @ pca.basis.T)


def test_a_linear_autoencoder_trained_by_lbfgs_spans_the_components():
    x = correlated() - correlated().mean(0)
    pca = pca_reference(x, 3)
    model = seeded(LinearAutoencoder, 7, 3, bias=False)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=2000,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), x)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert largest_angle(model.decoder.weight.detach(), pca.basis) < 1e-6
    torch.testing.assert_close(
        model.projection().detach(), pca.basis @ pca.basis.T, atol=1e-6, rtol=0
    )


def test_the_angle_between_spans_is_a_sine():
    a = torch.eye(3, 2).double()
    rows = [[1.0, 0], [0, math.cos(0.3)], [0, math.sin(0.3)]]
    tilt = torch.tensor(rows, dtype=torch.float64)
    assert largest_angle(a, tilt @ normal(2, 2)) == pytest.approx(math.sin(0.3), rel=1e-10)


def test_an_undercomplete_autoencoder_is_decoder_after_encoder():
    model, x = seeded(undercomplete, 6, 5, 2), normal(3, 6)
    assert model.encoder(x).shape == (3, 2)
    torch.testing.assert_close(model(x), model.decoder(model.encoder(x)))
    assert isinstance(model, Autoencoder)
    with pytest.raises(ValueError, match="9 units for 6"):
        LinearAutoencoder(6, 9)


# ---------------------------------------------------------------- variational


def linear_vae(d=6, latent=2, **options):
    return seeded(
        VAE, nn.Linear(d, 2 * latent), nn.Linear(latent, d), latent, "gaussian", **options
    )


def test_kl_equals_torchs():
    mean, log_variance = normal(5, 3), normal(5, 3, seed=1)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(q, p).sum(-1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected, atol=1e-12, rtol=0)


def marginal(model, x):
    w, b = model.decoder.weight, model.decoder.bias
    covariance = w @ w.T + torch.eye(len(w)).double() * model.log_variance.exp()
    return torch.distributions.MultivariateNormal(b, covariance).log_prob(x)


def test_bounds_stand_in_their_order():
    model, x = linear_vae(), normal(7, 6, seed=3)
    with torch.no_grad():
        many = x.repeat(2000, 1)
        exact, closed = marginal(model, x), linear_elbo(model, x)
        bounds = [closed]
        for draws, found in ((1, model.elbo), (5, model.iwae), (50, model.iwae)):
            values = found(many, normal(draws, len(many), 2, seed=draws)).reshape(2000, 7)
            error = 4.5 * values.std(0) / math.sqrt(2000)
            assert (values.mean(0) < exact + error).all()
            assert (values.mean(0) > bounds[-1] - error).all()  # more draws, tighter
            bounds.append(values.mean(0))
    assert ((bounds[1] - closed).abs() < 0.3).all()
    assert (exact - bounds[3] < 0.5 * (exact - closed)).all()


def test_the_bound_is_the_likelihood_where_the_posterior_is_exact():
    model, x = linear_vae(), normal(7, 6, seed=3)
    with torch.no_grad():
        w, b = model.decoder.weight, model.decoder.bias
        u, s, _ = torch.linalg.svd(w, full_matrices=False)
        w.copy_(u * s)  # columns at right angles: the posterior's covariance is diagonal
        noise = float(model.log_variance.exp())
        precision = (w.T @ w) / noise + torch.eye(2).double()
        gain = torch.linalg.solve(precision, w.T) / noise
        model.encoder.weight[:2] = gain
        model.encoder.bias[:2] = -gain @ b
        model.encoder.weight[2:] = 0
        model.encoder.bias[2:] = -precision.diagonal().log()
        torch.testing.assert_close(linear_elbo(model, x), marginal(model, x), atol=1e-10, rtol=0)


def test_noise_is_fresh_in_training_and_common_in_evaluation():
    model, x = linear_vae(), normal(7, 6)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]))
        torch.testing.assert_close(negative_elbo(model, x), -model(x).mean())


def test_reparameterised_gradient_of_a_square_is_its_closed_form():
    mean, log_sd = torch.tensor(0.7, requires_grad=True), torch.tensor(-0.4, requires_grad=True)
    half = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    noise = torch.cat([half, -half])  # antithetic: the odd moments are 0
    noise = noise / noise.square().mean().sqrt()
    value = (mean + log_sd.exp() * noise).square().mean()
    by_mean, by_log_sd = torch.autograd.grad(value, (mean, log_sd))
    assert float(by_mean) == pytest.approx(2 * 0.7, rel=1e-4)
    assert float(by_log_sd) == pytest.approx(2 * math.exp(-0.8), rel=1e-4)


def test_bernoulli_likelihood_is_torchs():
    model = seeded(VAE, nn.Linear(6, 4), nn.Linear(2, 6), 2)
    x, z = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)).double(), normal(1, 3, 2)
    found = model.log_likelihood(x, z)[0]
    p = model.decoder(z[0]).sigmoid()
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum(1)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="known: bernoulli"):
        VAE(nn.Linear(2, 2), nn.Linear(1, 2), 1, "poisson")
    with pytest.raises(ValueError, match="linear decoder"):
        linear_elbo(model, x)


# ---------------------------------------------------------------- energy


def test_inference_finds_the_minimum_of_a_quadratic_energy():
    model = seeded(
        LatentEnergyModel, nn.Linear(5, 3), nn.Linear(3, 5), prediction=0.7, steps=400, lr=0.3
    )
    y = normal(4, 5)
    with torch.no_grad():
        w, b = model.decoder.weight, model.decoder.bias
        h = w.T @ w + 0.7 * torch.eye(3).double()
        exact = torch.linalg.solve(h, ((y - b) @ w + 0.7 * model.encoder(y)).T).T
    torch.testing.assert_close(model.infer(y), exact, atol=1e-10, rtol=0)


def test_sparse_codes_satisfy_their_optimality_conditions():
    model = seeded(
        LatentEnergyModel, nn.Linear(5, 8), nn.Linear(8, 5), 0.5, l1=0.3, steps=600, lr=0.2
    )
    y = normal(4, 5)
    z = model.infer(y)
    slope = torch.func.grad(lambda c: model._smooth(y, c, model.encoder(y)).sum())(z).detach()
    assert 0.2 < float((z == 0).double().mean()) < 0.9
    on = z != 0
    torch.testing.assert_close(slope[on], -0.3 * z[on].sign(), atol=1e-8, rtol=0)
    assert (slope[~on].abs() <= 0.3 + 1e-8).all()


def test_gradient_of_the_free_energy_is_that_of_its_weights_alone():
    model = seeded(LatentEnergyModel, nn.Linear(5, 3), nn.Linear(3, 5), steps=300, lr=0.2)
    y, h = normal(4, 5), 1e-5
    loss = mean_free_energy(model, y)
    (gradient,) = torch.autograd.grad(loss, model.decoder.weight)
    moved = []
    for sign in (1, -1):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            twin.decoder.weight[1, 2] += sign * h
        moved.append(float(mean_free_energy(twin, y).detach()))
    assert float(gradient[1, 2]) == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-6)


def test_without_inference_it_is_the_autoencoder():
    model = seeded(LatentEnergyModel, nn.Linear(5, 3), nn.Linear(3, 5), steps=0)
    y = normal(4, 5)
    expected = 0.5 * (y - model.decoder(model.encoder(y))).square().sum(1)
    torch.testing.assert_close(model(y), expected)
    torch.autograd.grad(model(y).sum(), model.encoder.weight)  # reached through the decoder
    with pytest.raises(ValueError, match="lr"):
        LatentEnergyModel(nn.Linear(5, 3), nn.Linear(3, 5), lr=0)


# ---------------------------------------------------------------- adversarial


def test_value_at_the_ideal_discriminator_is_minus_log_4_plus_twice_jensen_shannon():
    for seed in range(5):
        p, q = normal(9, seed=seed).softmax(0), normal(9, seed=seed + 9).softmax(0)
        best = gan.ideal_discriminator(p, q)
        divergence = gan.jensen_shannon(p, q)
        assert 0 < divergence < math.log(2)
        value = gan.game_value(p, q, best)
        assert value == pytest.approx(-math.log(4) + 2 * divergence, abs=1e-12)
        for other in (best * 0.99, best * 0.9 + 0.05):
            assert gan.game_value(p, q, other) < value
    assert gan.game_value(p, p, gan.ideal_discriminator(p, p)) == pytest.approx(-gan.LOG4)


def test_ideal_discriminator_of_two_gaussians_is_a_sigmoid():
    x = torch.linspace(-4, 6, 101).double()
    wide = torch.tensor(0.8, dtype=torch.float64)
    densities = [torch.distributions.Normal(m, wide) for m in (2.0 + 0 * wide, -1.0 + 0 * wide)]
    p, q = (d.log_prob(x).exp() for d in densities)
    expected = torch.sigmoid((3.0 * x - (4.0 - 1.0) / 2) / 0.64)
    torch.testing.assert_close(gan.ideal_discriminator(p, q), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "slope"), [("minimax", 0.01), ("nonsaturating", 0.99)])
def test_slopes_of_the_generators_losses_where_the_discriminator_is_sure(kind, slope):
    logit = torch.tensor([math.log(0.01 / 0.99)], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(gan.generator_loss(logit, kind).sum(), logit)
    assert abs(float(found)) == pytest.approx(slope, rel=1e-10)
    with pytest.raises(ValueError, match="known: nonsaturating"):
        gan.generator_loss(logit.detach(), "wasserstein")


def test_discriminator_loss_is_minus_the_value():
    real, fake = normal(6), normal(6, seed=1)
    value = real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(gan.discriminator_loss(real, fake), -value)


@pytest.mark.parametrize("kind", gan.LOSSES)
def test_the_simultaneous_gradient_is_that_of_each_networks_own_loss(kind):
    from thalweg.models.tasks.adversarial import pair

    model = seeded(pair, 1, 3, 5, kind).eval()
    x, z = normal(6, 1), normal(6, 3, seed=1)
    gan.simultaneous_loss(model, (x, z)).backward()
    fake = model.generator(z)
    own = {
        "discriminator": gan.discriminator_loss(model.logits(x), model.logits(fake.detach())),
        "generator": gan.generator_loss(model.logits(fake), kind),
    }
    for part, loss in own.items():
        weights = list(model.get_submodule(part).parameters())
        for weight, expected in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            torch.testing.assert_close(weight.grad, expected, atol=1e-12, rtol=0)


def test_energy_distance_is_zero_for_equal_distributions_and_known_for_two_points():
    class Given(gan.AdversarialPair):
        def forward(self, z):
            return z

    model = Given(nn.Identity(), nn.Linear(1, 1), 1)
    model.generator = nn.Identity()
    a, b = torch.zeros(4, 1), torch.full((4, 1), 3.0)
    assert gan.minus_energy_distance(model, (a, b)) == pytest.approx(-6.0)
    x, y = normal(4000, 1), normal(4000, 1, seed=1)
    assert abs(gan.minus_energy_distance(model, (x, y))) < 0.01
