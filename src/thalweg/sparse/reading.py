"""Which signals or images does a path hold? Arrays, pictures, folders and two built-in sets."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.sparse.patches import grey

PICTURES = (".png", ".jpg", ".jpeg")
BUILTIN = ("photographs", "digits")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What was read: signals in rows, or grey images.

    Attributes:
        name: For people.
        signals: ``(b, n)``, or None where there are images.
        images: Grey images, each ``(height, width)``.
        names: One for each image.
        shape: ``(height, width)`` where every signal is a small image of that shape.
    """

    name: str
    signals: np.ndarray | None = None
    images: tuple[np.ndarray, ...] = ()
    names: tuple[str, ...] = ()
    shape: tuple[int, int] | None = None


def builtin(name: str) -> Source:
    """scikit-learn's two photographs (grey), or its 1797 digits of 8 x 8 pixels.

    Raises:
        ValueError: For any other name.
    """
    if name == "photographs":
        from sklearn.datasets import load_sample_images

        found = load_sample_images()
        names = tuple(Path(file).stem for file in found.filenames)
        return Source(name, images=tuple(grey(image) for image in found.images), names=names)
    if name == "digits":
        from sklearn.datasets import load_digits

        found = load_digits(return_X_y=True)[0]
        return Source(name, signals=np.asarray(found) / 16, shape=(8, 8))
    raise ValueError(f"no built-in signals {name!r}; there are {' and '.join(BUILTIN)}")


def read_source(paths: Sequence[str], as_images: bool = False) -> Source:
    """Read arrays (.npy, .npz, file.npz:key), pictures (.png, .jpg), folders and globs of them.

    Args:
        paths: What to read. One array, or any number of pictures.
        as_images: Take a two-dimensional array for one grey image, not for signals in rows.

    Raises:
        ValueError: Nothing there, mixed kinds, or an array of no use; says which and what to do.
    """
    files = [file for path in paths for file in _expand(path)]
    if not files:
        raise ValueError("no file was given; name arrays (.npy, .npz) or pictures (.png, .jpg)")
    name = Path(files[0]).name if len(files) == 1 else f"{len(files)} files"
    arrays = [file for file in files if not file.lower().endswith(PICTURES)]
    if not arrays:
        images = tuple(_picture(file) for file in files)
        return Source(name, images=images, names=tuple(Path(file).stem for file in files))
    if len(files) > 1:
        raise ValueError(
            f"give one array or any number of pictures, got {len(files)} files ({arrays[0]} is no "
            "picture); join arrays with numpy.concatenate first"
        )
    return _from_array(_array(files[0]), files[0], name, as_images)


def _from_array(values: np.ndarray, path: str, name: str, as_images: bool) -> Source:
    if values.dtype.kind not in "iubf":
        raise ValueError(f"{path} holds {values.dtype}; real numbers are needed")
    if 0 in values.shape:
        raise ValueError(f"{path} is empty: its array has the shape {values.shape}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{path} holds NaN or infinite values; remove or replace them")
    if values.ndim == 2 and not as_images:
        return Source(name, signals=values)
    stack = values[None] if values.ndim == 2 else values
    if stack.ndim == 3 and values.ndim == 3 and values.shape[2] in (3, 4) and len(values) > 4:
        stack = values[None]  # one colour image
    if stack.ndim not in (3, 4):
        raise ValueError(
            f"{path} has shape {values.shape}; wanted signals (b, n), grey images (b, height, "
            "width) or colour images (b, height, width, 3)"
        )
    names = tuple(f"{Path(path).stem} {i}" for i in range(len(stack)))
    return Source(name, images=tuple(grey(image) for image in stack), names=names)


def _expand(path: str) -> list[str]:
    """A folder's or a glob's pictures, or the path itself."""
    if Path(path).is_dir():
        found = sorted(str(p) for p in Path(path).iterdir() if p.suffix.lower() in PICTURES)
        if not found:
            raise ValueError(f"the folder {path} holds no picture ({', '.join(PICTURES)})")
        return found
    if Path(path).exists() or not glob.has_magic(path):
        return [path]
    found = sorted(glob.glob(path))
    if not found:
        raise ValueError(f"no file matches {path}")
    return found


def _array(path: str) -> np.ndarray:
    file, key = path, ""
    if not Path(path).exists() and ".npz:" in path:
        file, _, key = path.rpartition(":")
    if not Path(file).is_file():
        raise ValueError(f"there is no file {file}")
    if Path(file).suffix.lower() not in (".npy", ".npz"):
        kinds = ", ".join((".npy", ".npz", *PICTURES))
        raise ValueError(f"{file}: cannot read this kind of file; it reads {kinds}")
    try:
        found: Any = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        # numpy answers to what it does not know by advising to unpickle it: not repeated here
        why = "it is no .npy file, or holds objects" if "pickle" in str(error) else str(error)
        raise ValueError(f"{file} is not a readable array of numbers: {why}") from error
    if isinstance(found, np.ndarray):
        return found
    with found as archive:
        keys = [key] if key else list(archive.files)
        if len(keys) != 1 or keys[0] not in archive.files:
            wrong = f"has no array {key!r}" if key else f"holds {len(keys)} arrays"
            raise ValueError(
                f"{file} {wrong}; name one of {', '.join(archive.files)}, as in {file}:"
                f"{archive.files[0] if archive.files else 'NAME'}"
            )
        try:
            return archive[keys[0]]
        except ValueError as error:
            raise ValueError(f"{file}:{keys[0]} is not an array of numbers: {error}") from error


def _picture(path: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):  # 16 bits and more: a scale of their own
                    values = np.asarray(image, dtype=np.float64)
                    return values / max(float(np.abs(values).max()), 1.0)
                return grey(np.asarray(image.convert("RGB")))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from error
