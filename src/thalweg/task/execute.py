"""How is a task file run? As a module under a name of its own, with its folder importable."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_COUNT = itertools.count(1)
_FOLDERS: set[Path] = set()  # folders of all task files run so far


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put ``folder`` first on the import path for a while, as Python does for a script."""
    _forget_namesakes(folder)
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()  # a file written a moment ago must be seen
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file may have cleaned the path itself
            sys.path.remove(entry)
        _FOLDERS.add(folder)


def _forget_namesakes(folder: Path) -> None:
    """Drop modules imported beside another task file that would hide this folder's own.

    Without this, ``a/mine.py`` and ``b/mine.py`` that both say ``import net`` would share a's net.
    """
    others = _FOLDERS - {folder}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or "." in name or name.startswith("_thalweg_task_"):
            continue
        home = Path(file).parent
        home = home.parent if Path(file).name == "__init__.py" else home
        own = (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()
        if own and home in others:
            for loaded in [key for key in sys.modules if key.split(".")[0] == name]:
                del sys.modules[loaded]


def run_file(path: Path) -> ModuleType:
    """Execute a Python file and return it as a module.

    Args:
        path: Absolute path of an existing file.

    Returns:
        The module, registered under a unique name (so its classes can be inspected).

    Raises:
        ValueError: It cannot be read, has a syntax error, or raises: with the line number.
    """
    try:
        # compiled from the source each time: cached bytecode can be stale within a second
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        reason = getattr(error, "msg", None) or str(error)
        raise ValueError(f"{path.name} has a syntax error{where}: {_one_line(reason)}.") from error
    stem = re.sub(r"\W", "_", path.stem)
    name = f"_thalweg_task_{next(_COUNT)}_{stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ValueError(f"{path} cannot be loaded as a Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path.name} failed: {describe(error, path)}") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def describe(error: BaseException, file: Path | None = None) -> str:
    """One line: the exception, its message, and the line (of ``file`` if it passed through it)."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if file is not None and frame.filename == str(file)]
    message = _one_line(str(error))
    text = type(error).__name__ + (f": {message}" if message else "")
    if inside:
        return f"{text} (line {inside[-1].lineno})"
    if isinstance(error, SyntaxError):
        return f"{text} ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = [frame for frame in frames if "importlib" not in frame.filename]
    last = frames[-1] if frames else None
    return f"{text} ({Path(last.filename).name}, line {last.lineno})" if last else text


def _one_line(text: str) -> str:
    return " ".join(text.split())
