"""Nested states, rows and arrays come back exactly as they went in."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from thalweg.rundir import DamagedRun
from thalweg.rundir.checkpoint import Checkpoints, pack, unpack
from thalweg.rundir.spelling import dump, load, pack_arrays, unpack_arrays

DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16,
    torch.bfloat16, torch.float32, torch.float64, torch.complex64,
)  # fmt: skip
text = st.text(st.characters(codec=None), max_size=8)  # lone surrogates too
numbers = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | text
keys = st.none() | st.booleans() | st.integers() | text | st.tuples(st.integers(), text)


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    seed = draw(st.integers(0, 99))
    bits = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed))
    made = bits.bool() if dtype is torch.bool else (bits * 3 - 1).to(dtype)
    if made.dim() > 1 and draw(st.booleans()):
        made = made.transpose(0, -1)  # not contiguous
    return made


def trees(leaves):
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=8,
    )


def same(one, two):
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and one.shape == two.shape and torch.equal(one, two)
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        pairs = zip(one.items(), two.items(), strict=True)
        return len(one) == len(two) and all(same(k, m) and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(two)) or (
            one == two and math.copysign(1, one) == math.copysign(1, two)
        )
    return one == two


@given(trees(numbers | tensors()))
@settings(max_examples=150, deadline=None)
def test_unpack_inverts_pack_through_json(tree):
    found, meta = pack(tree)
    assert same(unpack(found, json.loads(json.dumps(meta, allow_nan=False))), tree)


@given(tree=trees(tensors() | numbers))
@settings(max_examples=25, deadline=None)
def test_a_packed_state_comes_back_from_a_file(tmp_path_factory, tree):
    checkpoints = Checkpoints(tmp_path_factory.mktemp("states"))
    checkpoints.save("any name / at all", *pack(tree))
    assert same(unpack(*checkpoints.load("any name / at all")), tree)


def test_packed_tensors_are_copies_even_where_they_share_memory():
    base = torch.arange(6.0)
    found, meta = pack({"all": base, "part": base[2:4], "again": base})
    base.zero_()
    back = unpack(found, meta)
    assert back["all"].tolist() == back["again"].tolist() == [0, 1, 2, 3, 4, 5]
    assert back["part"].tolist() == [2, 3]


def test_tensors_that_share_memory_can_be_saved_without_packing(tmp_path):
    w = torch.arange(6.0).reshape(2, 3)
    Checkpoints(tmp_path).save("tied", {"a": w, "b": w, "c": w.t(), "d": w[0]}, {})
    back, _ = Checkpoints(tmp_path).load("tied")
    assert torch.equal(back["a"], w)
    assert torch.equal(back["b"], w)
    assert torch.equal(back["c"], w.t())
    assert torch.equal(back["d"], w[0])


def test_the_state_of_an_optimiser_comes_back_with_its_types():
    net = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(net.parameters(), lr=np.float64(0.01), betas=(0.9, 0.99))
    net(torch.ones(4, 3)).sum().backward()
    adam.step()
    back = unpack(*pack(adam.state_dict()))
    other = torch.optim.Adam(net.parameters())
    other.load_state_dict(back)
    assert back["param_groups"][0]["betas"] == (0.9, 0.99)
    assert same(back["state"], adam.state_dict()["state"])


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        ({"f": print}, "builtin_function"),
        ({"a": [1, {2, 3}]}, "set"),
        ({torch.ones(1): 1}, "Tensor as a key"),
        ([1 + 2j], "complex"),
        (np.arange(3), "ndarray"),
        (torch.eye(3).to_sparse(), "layout"),
    ],
)
def test_what_cannot_be_kept_is_named(tree, what):
    with pytest.raises(TypeError, match=what):
        pack(tree)


def test_numpy_floats_that_are_not_finite_are_kept_as_floats():
    back = unpack(*pack([np.float64("nan"), np.float64("-inf")]))
    assert math.isnan(back[0])
    assert back[1] == -math.inf


@pytest.mark.parametrize(
    "meta",
    [{}, {"tree": ["tensor", "9"]}, {"tree": 3}, {"tree": ["odd", 1]}, {"tree": ["list", 1]}],
)
def test_a_state_that_is_not_whole_is_damaged(meta):
    with pytest.raises(DamagedRun):
        unpack({}, meta)


payloads = st.dictionaries(
    text,
    st.recursive(
        numbers,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(payloads)
@settings(max_examples=200, deadline=None)
def test_payloads_come_back_from_strict_json(payload):
    spelled = dump(payload)
    json.loads(spelled, parse_constant=pytest.fail)  # no NaN in the file
    assert same(_sorted(load(spelled)), _sorted(payload))


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "payload", [{"~float": "nan"}, {"~float": 1, "b": 2}, {"~dict": []}, {"a": {"~dict": {}}}]
)
def test_payloads_that_look_like_marks_are_no_marks(payload):
    assert load(dump(payload)) == payload


def test_numpy_numbers_in_payloads_become_python_numbers():
    back = load(dump({"a": np.float32("inf"), "b": np.int64(3), "c": np.bool_(True), "d": (1, 2)}))
    assert back == {"a": math.inf, "b": 3, "c": True, "d": [1, 2]}


@pytest.mark.parametrize("payload", [{1: 2}, {"a": b"x"}, {"a": {2}}, {"a": {3: 1}}])
def test_payloads_that_json_would_change_are_refused(payload):
    with pytest.raises(TypeError, match="a journal row cannot hold"):
        dump(payload)


kinds = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.floating_dtypes()
    | hnp.complex_number_dtypes()
)


@given(
    st.dictionaries(
        st.text(max_size=5), hnp.arrays(kinds, hnp.array_shapes(min_dims=0, min_side=0)), max_size=3
    )
)
@settings(max_examples=150, deadline=None)
def test_arrays_come_back_with_type_shape_and_bits(arrays):
    back = unpack_arrays(pack_arrays(arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype.newbyteorder("<")
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)


def test_strided_and_transposed_arrays_keep_their_order():
    array = np.arange(24).reshape(4, 6)
    back = unpack_arrays(pack_arrays({"t": array.T[::2], "r": array[::-1]}))
    assert back["t"].tolist() == array.T[::2].tolist()
    assert back["r"].tolist() == array[::-1].tolist()


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["a"]), np.array([1], "M8[s]")])
def test_arrays_that_hold_no_numbers_are_refused(array):
    with pytest.raises(TypeError, match="an array of"):
        pack_arrays({"a": array})
