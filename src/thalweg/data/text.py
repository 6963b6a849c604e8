"""How does text become samples? Characters as whole numbers, cut into windows to be continued."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thalweg.data.files import opened, read_at_most

IGNORE = -100  # target of a padded place: torch's cross_entropy leaves it out of the mean
_MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The characters a model knows; code 0 stands for every other.

    >>> letters = Vocabulary.of(["abba", "c"])
    >>> letters.encode("cab!").tolist(), len(letters)
    ([3, 1, 2, 0], 4)

    Attributes:
        characters: The known characters, sorted; the i-th has code i + 1.
    """

    characters: str

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """All characters of some texts (those of the training part)."""
        return cls("".join(sorted(set().union(*texts))))

    def __len__(self) -> int:
        """Number of codes, the one for unknown characters included."""
        return len(self.characters) + 1

    def encode(self, text: str) -> np.ndarray:
        """Codes ``(len(text),)`` int64."""
        code = {character: i for i, character in enumerate(self.characters, start=1)}
        return np.array([code.get(character, 0) for character in text], np.int64)

    def decode(self, codes: Sequence[int] | np.ndarray) -> str:
        """The text of some codes; unknown characters come back as U+FFFD."""
        table = "\N{REPLACEMENT CHARACTER}" + self.characters
        return "".join(table[int(code)] for code in codes)


def windows(codes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut one text into windows and the characters that follow each place.

    >>> windows(np.array([5, 6, 7, 8]), 2)
    (array([[5, 6],
           [7, 0]]), array([[   6,    7],
           [   8, -100]]))

    Args:
        codes: Text of T codes ``(T,)``, T >= 2.
        length: Places in a window, >= 1.

    Returns:
        Inputs and targets ``(ceil((T-1)/length), length)`` int64: every character but the first
        is a target exactly once. The last window is padded with 0 in, ``IGNORE`` out.

    Raises:
        ValueError: The text is too short or length < 1.
    """
    if length < 1 or len(codes) < 2:
        raise ValueError(f"windows of {length} cannot be cut from a text of {len(codes)} codes.")
    targets = len(codes) - 1
    rows = -(-targets // length)
    x = np.zeros(rows * length, np.int64)
    y = np.full(rows * length, IGNORE, np.int64)
    x[:targets], y[:targets] = codes[:-1], codes[1:]
    return x.reshape(rows, length), y.reshape(rows, length)


def distinct(texts: Iterable[str], length: int = 64, share: float = 0.1) -> tuple[str, ...]:
    """Leave out texts that mostly repeat earlier ones, so that held-out text is new text.

    >>> distinct(["abcdef", "cdef", "xyz"], length=2)
    ('abcdef', 'xyz')

    Args:
        texts: Any number of texts.
        length: Characters in a passage; shorter texts are one passage.
        share: A text is left out if more than this share of its passages stood in texts kept.

    Returns:
        The texts kept, in order.
    """
    kept, seen = [], set()
    for text in texts:
        passages = {text[i : i + length] for i in range(max(1, len(text) - length + 1))}
        if len(passages & seen) <= share * len(passages):
            kept.append(text)
            seen |= passages
    return tuple(kept)


def python_topics() -> tuple[str, ...]:
    """Python's own help on its language, one text a topic, sorted by topic.

    The standard library carries it as ``pydoc_data.topics`` (``help("LAMBDAS")`` prints it). It is
    the same at every call; another Python version may word it differently.

    Returns:
        About 80 texts, nearly half a million characters in all.

    Raises:
        ValueError: This Python was installed without it.
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise ValueError(
            "this Python has no pydoc_data.topics (its help texts); install the full standard "
            "library, or read a text of your own."
        ) from error
    return tuple(topics[name] for name in sorted(topics))


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file, plain or gzip.

    Args:
        path: The file, at most 256 MiB unpacked.

    Returns:
        Its text, line ends as stored.

    Raises:
        ValueError: It is missing, damaged, too large, or not UTF-8.
    """
    path = Path(path)
    with opened(path) as stream:
        body = read_at_most(stream, _MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise ValueError(f"{path} holds more than {_MOST_BYTES >> 20} MiB of text; cut it first.")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: byte {error.start} is no character.") from None
