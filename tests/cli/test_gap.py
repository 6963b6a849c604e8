"""``thalweg gap``: a small autoencoder in a file, its numbers, its page, and clear refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from thalweg.records import GapReport
from thalweg.report.embed import unpack


@pytest.fixture
def files(tmp_path):
    """A tied top-4 autoencoder and 60 activations planted in its decoder."""
    g = torch.Generator().manual_seed(0)
    W = torch.randn(80, 32, generator=g)
    W /= W.norm(dim=1, keepdim=True)
    bias = 0.3 * torch.randn(32, generator=g)
    Z = torch.zeros(60, 80)
    for row in Z:
        row[torch.randperm(80, generator=g)[:4]] = 0.5 + torch.rand(4, generator=g)
    weights = {"W_enc": W.T.contiguous(), "b_enc": torch.zeros(80), "W_dec": W, "b_dec": bias}
    save_file(weights, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "topk", "k": 4}))
    np.save(tmp_path / "acts.npy", (Z @ W + bias).numpy())
    return str(tmp_path), str(tmp_path / "acts.npy")


def test_the_record_on_stdout_knows_the_planted_optimum_and_the_page_carries_it(
    thalweg, files, tmp_path
):
    page, out = tmp_path / "gap.html", tmp_path / "gap.npz"
    ended = thalweg("gap", *files, "--json", "--report", str(page), "--out", str(out))
    assert ended.code == 0
    record = GapReport.from_dict(json.loads(ended.out))
    kinds = {kind.name: kind for kind in record.kinds}
    assert record.k == "4"
    assert kinds["optimal"].fvu < 1e-9
    assert kinds["encoder"].fvu > kinds["refit"].fvu > kinds["optimal"].fvu
    assert "NP-hard" in " ".join(record.notes)
    assert unpack(page.read_text()) == [record]
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["excess"].mean(), record.excess)
        assert arrays["optimal_l0"].shape == (60,)


def test_with_a_price_the_optimum_is_certified_and_said_so(thalweg, files):
    ended = thalweg("gap", *files, "--l1", "0.05", "--samples", "20", "--quiet")
    assert (ended.code, ended.out) == (0, "")
    ended = thalweg("gap", *files, "--l1", "0.05", "--samples", "20")
    assert "certified" in ended.out
    assert "Encoder's atoms, refitted" in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--l1", "0.1", "--k", "3"), "choose one"),
        (("--k", "many"), "'same'"),
        (("--k", "0"), "at least 1"),
        (("--l1", "-1"), "above 0"),
        (("--device", "nowhere"), "cannot be used"),
        (("--report", "/nowhere/page.html"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(thalweg, files, words, message):
    ended = thalweg("gap", *files, *words)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_missing_words_and_wrong_lengths_are_explained(thalweg, files, tmp_path):
    assert "both needed" in thalweg("gap").err
    np.save(tmp_path / "short.npy", np.ones((3, 5)))
    ended = thalweg("gap", files[0], str(tmp_path / "short.npy"))
    assert ended.code == 2
    assert "length 5" in ended.err
