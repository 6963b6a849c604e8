"""Weights in the layouts of SAELens and sparsify: small files made here, encoders by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from thalweg.sparse.amortisation import load_autoencoder, read_activations

N, M = 4, 6


def tensors(*names, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (N, M), "W_dec": (M, N), "encoder.weight": (M, N), "b_dec": (N,)}
    return {name: torch.randn(shapes.get(name, (M,)), generator=g) for name in names}


def saelens(folder, config, *names, **more):
    t = tensors("W_enc", "W_dec", "b_dec", *names) | more
    save_file(t, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": N, "d_sae": M} | config))
    return t, load_autoencoder(folder)


X = torch.randn(9, N, generator=torch.Generator().manual_seed(7))


def test_saelens_standard(tmp_path):
    t, sae = saelens(tmp_path, {"architecture": "standard"}, "b_enc")
    torch.testing.assert_close(
        sae.encode(X), torch.relu((X - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    )
    z = sae.encode(X)
    torch.testing.assert_close(sae.decode(z), z @ t["W_dec"] + t["b_dec"])
    assert sae.layout == "SAELens"
    assert sae.k is None


def test_saelens_without_the_bias_on_its_input(tmp_path):
    t, sae = saelens(tmp_path, {"apply_b_dec_to_input": False}, "b_enc")
    torch.testing.assert_close(sae.encode(X), torch.relu(X @ t["W_enc"] + t["b_enc"]))


def test_saelens_jumprelu_is_zero_up_to_its_threshold(tmp_path):
    t, sae = saelens(
        tmp_path, {"architecture": "jumprelu"}, "b_enc", threshold=torch.full((M,), 0.8)
    )
    a = (X - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    torch.testing.assert_close(sae.encode(X), torch.where(a > 0.8, a, 0.0))


def test_saelens_gated_shares_its_weights_between_gate_and_magnitude(tmp_path):
    t, sae = saelens(tmp_path, {"architecture": "gated"}, "b_gate", "b_mag", "r_mag")
    x = X - t["b_dec"]
    gate = x @ t["W_enc"] + t["b_gate"] > 0
    size = torch.relu(x @ (t["W_enc"] * t["r_mag"].exp()) + t["b_mag"])
    torch.testing.assert_close(sae.encode(X), gate * size)


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "topk", "k": 2},
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}},
    ],
)
def test_saelens_topk_of_two_versions(tmp_path, config):
    t, sae = saelens(tmp_path, config, "b_enc")
    a = torch.relu((X - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    z = sae.encode(X)
    assert sae.k == 2
    assert bool(((z != 0).sum(1) <= 2).all())
    torch.testing.assert_close(z.amax(1), a.amax(1))
    torch.testing.assert_close(z.sum(1), a.topk(2).values.sum(1))


def test_saelens_norms_of_the_decoder_fold_without_changing_the_reconstruction(tmp_path):
    t, sae = saelens(
        tmp_path, {"architecture": "topk", "k": 2, "rescale_acts_by_decoder_norm": True}, "b_enc"
    )
    norms = t["W_dec"].norm(dim=1)
    a = ((X - t["b_dec"]) @ t["W_enc"] + t["b_enc"]) * norms
    top = a.topk(2)
    z = torch.zeros_like(a).scatter(1, top.indices, torch.relu(top.values))
    torch.testing.assert_close(sae.decode(sae.encode(X)), (z / norms) @ t["W_dec"] + t["b_dec"])


def test_saelens_normalises_activations_as_the_configuration_says(tmp_path):
    sae = saelens(tmp_path, {"normalize_activations": "constant_norm_rescale"}, "b_enc")[1]
    torch.testing.assert_close(sae.prepare(X).norm(dim=1), torch.full((9,), N**0.5))
    sae = saelens(tmp_path, {"normalize_activations": "layer_norm"}, "b_enc")[1]
    torch.testing.assert_close(sae.prepare(X).mean(1), torch.zeros(9), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="Fold the scale"):
        saelens(tmp_path, {"normalize_activations": "expected_average_only_in"}, "b_enc")


def sparsify(folder, config, **more):
    t = tensors("encoder.weight", "encoder.bias", "W_dec", "b_dec") | more
    save_file(t, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": N, "k": 2} | config))
    return t, load_autoencoder(folder)


def test_sparsify_topk_and_groupmax(tmp_path):
    t, sae = sparsify(tmp_path, {})
    a = torch.relu((X - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"])
    top = a.topk(2)
    torch.testing.assert_close(
        sae.encode(X), torch.zeros_like(a).scatter(1, top.indices, top.values)
    )
    sae = sparsify(tmp_path, {"activation": "groupmax"})[1]
    z = sae.encode(X).unflatten(1, (2, 3))
    torch.testing.assert_close(z.sum(2), a.unflatten(1, (2, 3)).amax(2))


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ({"transcode": True}, {}, "transcoder"),
        ({"skip_connection": True}, {}, "skip"),
        ({}, {"W_skip": torch.zeros(N, N)}, "skip"),
        ({"k": None}, {}, "--k"),
        ({"k": 99}, {}, "between 1 and 6"),
        ({"activation": "softmax"}, {}, "unknown activation"),
    ],
)
def test_what_sparsify_saves_but_has_no_gap_is_refused(tmp_path, config, more, message):
    with pytest.raises(ValueError, match=message):
        sparsify(tmp_path, config, **more)


@pytest.mark.parametrize(
    ("config", "names", "message"),
    [
        ({"architecture": "temporal"}, ("b_enc",), "not known here"),
        ({"activation_fn_str": "tanh-relu"}, ("b_enc",), "only relu"),
        ({"architecture": "jumprelu"}, ("b_enc",), "lacks threshold"),
        ({"architecture": "topk"}, ("b_enc",), "does not say k"),
    ],
)
def test_unknown_saelens_encoders_are_refused(tmp_path, config, names, message):
    with pytest.raises(ValueError, match=message):
        saelens(tmp_path, config, *names)


def test_damaged_or_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="should hold"):
        load_autoencoder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no weights"):
        load_autoencoder(tmp_path / "nothing")
    (tmp_path / "sae.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(FileNotFoundError, match=r"cfg\.json"):
        load_autoencoder(tmp_path)
    (tmp_path / "cfg.json").write_text("[")
    with pytest.raises(ValueError, match="not JSON"):
        load_autoencoder(tmp_path)
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(ValueError, match="not a readable safetensors"):
        load_autoencoder(tmp_path)
    save_file({"other": torch.zeros(2)}, tmp_path / "sae.safetensors")
    with pytest.raises(ValueError, match="expected SAELens"):
        load_autoencoder(tmp_path)


def test_bfloat16_weights_are_widened(tmp_path):
    t = {k: v.bfloat16() for k, v in tensors("W_enc", "W_dec", "b_dec", "b_enc").items()}
    save_file(t, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text("{}")
    assert load_autoencoder(tmp_path / "sae_weights.safetensors").W_enc.dtype == torch.float32


def test_activations_from_each_kind_of_file_are_the_same(tmp_path):
    array = X.numpy().reshape(3, 3, N)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", one=array, two=array + 1)
    save_file({"only": X}, tmp_path / "a.safetensors")
    for name in ("a.npy", "a.npz:one", "a.safetensors"):
        torch.testing.assert_close(read_activations(str(tmp_path / name)), X)
    some = read_activations(str(tmp_path / "a.npy"), samples=4, seed=1)
    assert some.shape == (4, N)
    assert all(bool((row == X).all(1).any()) for row in some)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: np.save(p / "a.npy", np.ones(3)), "samples, inputs"),
        (lambda p: np.save(p / "a.npy", np.full((2, 2), np.inf)), "in 2 of 2"),
        (lambda p: np.save(p / "a.npy", np.ones((2, 2), int)), "floating-point"),
        (lambda p: (p / "a.npy").write_bytes(b"nothing"), r"a\.npy"),
    ],
)
def test_bad_activations_are_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        read_activations(str(tmp_path / "a.npy"))
