"""States that a naive packing would change without a word."""

import json
from typing import NamedTuple

import pytest
import torch

from thalweg.rundir.checkpoint import Checkpoints, pack, unpack


class Moments(NamedTuple):
    first: int
    second: int


def test_named_tuples_are_refused_for_they_would_come_back_as_plain_ones():
    with pytest.raises(TypeError, match="a checkpoint cannot hold Moments"):
        pack({"state": Moments(1, 2)})


def test_double_complex_numbers_come_back_conjugated_views_too(tmp_path):
    z = torch.complex(torch.arange(6.0).double(), -torch.arange(6.0).double()).reshape(2, 3)
    tree = {
        "z": z,
        "conj": z.conj(),
        "t": z.t(),
        "one": z[1, 2],
        "none": z[:0],
        "imag": z.conj().imag,
    }
    Checkpoints(tmp_path).save("z", *pack(tree))
    back = unpack(*Checkpoints(tmp_path).load("z"))
    for name, tensor in tree.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(back[name], tensor)


def test_tensors_without_numbers_are_refused():
    with pytest.raises(TypeError, match="without numbers"):
        pack([torch.empty(2, device="meta")])


def test_ordered_dictionaries_come_back_as_plain_ones_in_their_order():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    found, meta = pack(net.state_dict())
    back = unpack(found, json.loads(json.dumps(meta)))
    assert type(back) is dict
    assert list(back) == list(net.state_dict())
    other = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    other.load_state_dict(back)
    assert all(torch.equal(t, other.state_dict()[k]) for k, t in net.state_dict().items())


def test_bits_of_nan_and_minus_zero_survive_a_file(tmp_path):
    bits = torch.tensor([0x7FC00001, -0x400000 + 5, -(2**31), 1, 0x7F800000], dtype=torch.int32)
    Checkpoints(tmp_path).save("bits", *pack({"w": bits.view(torch.float32)}))
    back = unpack(*Checkpoints(tmp_path).load("bits"))
    assert torch.equal(back["w"].view(torch.int32), bits)
