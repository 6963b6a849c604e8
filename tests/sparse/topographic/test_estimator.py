"""The scikit-learn face of a map, and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thalweg.sparse.patches import sample_patches
from thalweg.sparse.reading import builtin
from thalweg.sparse.topographic import TopographicCoder, TopographicMap


@pytest.fixture(scope="module")
def patches():
    return sample_patches(builtin("photographs").images, 6, 1500, 0)


@pytest.fixture(scope="module")
def fitted(patches):
    return TopographicCoder((4, 6), pool_size=4, l1=0.1, steps=20, random_state=0).fit(patches)


def test_pools_and_codes_belong_together(fitted, patches):
    pools = fitted.transform(patches[:50])
    assert pools.shape == (50, 6)
    assert len(fitted.get_feature_names_out()) == 6
    codes = clone(fitted).set_params(output="codes").fit(patches).transform(patches[:50])
    assert codes.shape == (50, 24)
    weights = fitted.map_.pools.penalty(0.1).matrix(torch.zeros(1, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(pools, np.sqrt(codes**2 @ weights.T))


def test_whitening_is_part_of_it_so_contrast_and_brightness_do_not_matter(fitted, patches):
    once = fitted.transform(patches[:20])
    np.testing.assert_allclose(fitted.transform(patches[:20] + 3.0), once, atol=1e-9)
    assert fitted.components_.shape == (24, 36)
    assert fitted.map_.filters.shape == (4, 6, 6, 6)


def test_it_works_in_a_pipeline_in_float32_and_says_when_it_was_not_fitted(fitted, patches):
    small = TopographicCoder((4, 4), pool_size=2, l1=0.1, steps=3, random_state=1)
    made = make_pipeline(small, StandardScaler()).fit(patches[:300].astype(np.float32))
    assert made.transform(patches[:5].astype(np.float32)).dtype == np.float32
    with pytest.raises(NotFittedError):
        TopographicCoder().transform(patches)
    with pytest.raises(ValueError, match="output"):
        TopographicCoder(output="cells").fit(patches)
    with pytest.raises(ValueError, match="36 features"):
        fitted.transform(patches[:, :9])


def test_a_file_gives_back_the_map_and_a_flipped_bit_is_found(fitted, patches, tmp_path):
    path = fitted.map_.save(tmp_path / "map.safetensors")
    again = TopographicMap.load(path)
    assert torch.equal(again.D, fitted.map_.D)
    assert (again.pools, again.l1, again.patch) == (fitted.map_.pools, 0.1, (6, 6))
    x = again.whitening.apply(patches[:5])
    assert torch.equal(again.coder().encode(x).z, fitted.map_.coder().encode(x).z)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged"):
        TopographicMap.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable map"):
        TopographicMap.load(path)
    with pytest.raises(FileNotFoundError, match="no map"):
        TopographicMap.load(tmp_path / "none")
