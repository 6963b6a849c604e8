"""Where do the numbers go besides the record? TensorBoard, if it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Log = Callable[[int, dict[str, float]], None]


@contextmanager
def scalars(folder: str | Path | None) -> Iterator[Log | None]:
    """A ``log`` for :func:`thalweg.training.train` that writes TensorBoard's event files.

    Args:
        folder: Where to; None logs nothing.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    if folder is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "TensorBoard is not installed: pip install 'thalweg[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(folder))

    def log(at: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, at)
        writer.flush()

    try:
        yield log
    finally:
        writer.close()
