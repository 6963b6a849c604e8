"""Text: codes and windows lose nothing; Python's help is where it is said to be."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.text import IGNORE, Vocabulary, distinct, python_topics, read_text, windows


@given(st.text(max_size=50), st.text(max_size=50))
def test_known_characters_come_back_and_others_are_marked(known, text):
    vocabulary = Vocabulary.of([known])
    codes = vocabulary.encode(text)
    assert codes.dtype == np.int64
    assert all(0 <= code < len(vocabulary) for code in codes)
    expected = "".join(c if c in known else "\ufffd" for c in text)
    assert vocabulary.decode(codes) == expected


@given(st.lists(st.integers(1, 90), min_size=2, max_size=80), st.integers(1, 20))
def test_every_character_but_the_first_is_a_target_once(codes, length):
    x, y = windows(np.array(codes), length)
    assert x.shape == y.shape == (-(-(len(codes) - 1) // length), length)
    real = y.reshape(-1) != IGNORE
    assert y.reshape(-1)[real].tolist() == codes[1:]
    assert x.reshape(-1)[real].tolist() == codes[:-1]
    assert (y != IGNORE).any(axis=1).all()  # no window without a target: its mean would be 0/0


@pytest.mark.parametrize(("codes", "length"), [([1], 3), ([], 3), ([1, 2], 0)])
def test_windows_refuse_what_cannot_be_cut(codes, length):
    with pytest.raises(ValueError, match="cannot be cut"):
        windows(np.array(codes, np.int64), length)


def test_python_topics_are_the_texts_of_its_help():
    from pydoc_data.topics import topics

    found = python_topics()
    assert len(found) == len(topics) > 50
    assert found[sorted(topics).index("lambda")] == topics["lambda"]
    assert found == python_topics()


def test_text_file_is_read_plain_or_gzip_and_must_be_utf8(tmp_path):
    path = tmp_path / "text"
    for body in ("größe\n".encode(), gzip.compress("größe\n".encode())):
        path.write_bytes(body)
        assert read_text(path) == "größe\n"
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match="byte 2"):
        read_text(path)
    with pytest.raises(ValueError, match="no file"):
        read_text(tmp_path / "absent")


def test_distinct_leaves_out_repeats_but_not_quotations():
    long, other = "".join(map(chr, range(100, 300))), "".join(map(chr, range(400, 600)))
    quoting = other + long[:70]  # 7 of its passages of 64 stand in the first text
    assert distinct([long, long[20:150], quoting, "short", "short"]) == (long, quoting, "short")
