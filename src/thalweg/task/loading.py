"""Which object does ``digits``, ``mine.py:task`` or ``package.module:task`` name?"""

from __future__ import annotations

import importlib
import inspect
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from thalweg.registry import suggest
from thalweg.task.builtin import TASKS
from thalweg.task.execute import describe, importable, run_file
from thalweg.task.task import Task

ENVIRONMENT = "THALWEG_DATA"


class _Source(NamedTuple):
    spec: str
    data: str | None


_SOURCES: weakref.WeakKeyDictionary[Task, _Source] = weakref.WeakKeyDictionary()


def load_task(spec: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> Task:
    """Find a task by its name.

    >>> load_task("no-such-task")
    Traceback (most recent call last):
    ValueError: unknown task 'no-such-task'. Known: digits, ...

    Args:
        spec: A built-in name (``thalweg list tasks``); ``file.py`` or ``file.py:name``; or
            ``package.module:name``. The object named is a Task, or a function that returns one; the
            function may take the keyword ``data``. Without a name the file must hold exactly one
            Task, or a function called ``task``. A file is executed anew on every call, as a module
            with a name of its own, with its folder importable while it runs.
        data: Folder with the user's data files, for functions that take it. Default: the
            environment variable ``THALWEG_DATA``.

    Returns:
        The task; ``task_source`` and ``task_data`` tell how to load it again elsewhere.

    Raises:
        ValueError: Nothing is found there, or it cannot be run: one line that says what and where.
        TypeError: What is found is neither a Task nor a function returning one.
    """
    if not isinstance(spec, str | os.PathLike):
        raise TypeError(f"load_task needs a name or a file, got a {type(spec).__name__}.")
    text = os.fspath(spec)
    folder = None if data is None else os.fspath(data)
    if text in TASKS:
        return _finish(TASKS.load(text), text, f"task '{text}'", folder, None)
    place, name = _split(text)
    if place.endswith(".py") or os.sep in place or Path(place).is_file():
        return _from_file(Path(place), name, folder)
    if name is not None:
        return _from_module(place, name, folder)
    raise ValueError(_unknown(text))


def task_source(task: Task) -> str | None:
    """The ``spec`` that loads ``task`` again in any process; None for a task made in Python.

    Files are named by absolute path, and the object is always named.
    """
    found = _SOURCES.get(task)
    return None if found is None else found.spec


def task_data(task: Task) -> str | None:
    """The data folder ``task`` was loaded with (absolute), for a second ``load_task``; or None."""
    found = _SOURCES.get(task)
    return None if found is None else found.data


def _split(text: str) -> tuple[str, str | None]:
    """``place:name`` into two; a colon before something that is no name belongs to the place."""
    place, colon, name = text.rpartition(":")
    if colon and place and all(part.isidentifier() for part in name.split(".")):
        return place, name
    return text, None


def _unknown(text: str) -> str:
    """What to say about a name that is neither built in, nor a file, nor ``module:name``."""
    if not text.strip():
        return "the task's name is empty. " + suggest(text, TASKS.names())
    if text.endswith(":"):
        return f"'{text}' ends in a colon; write file.py:name or package.module:name."
    if "." in text and all(part.isidentifier() for part in text.split(".")):
        return f"'{text}' names no object; write {text}:name, or file.py:name."
    known = suggest(text, TASKS.names())
    return f"unknown task '{text}'. {known} Your own: file.py:name or package.module:name."


def _from_file(path: Path, name: str | None, folder: str | None) -> Task:
    path = path.expanduser()
    if not path.exists():
        near = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = f" {suggest(path.name, tuple(sorted(near)[:20]))}" if near else ""
        raise ValueError(f"there is no task file {path}.{hint}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the Python file in it, as file.py:name.")
    if path.suffix != ".py":
        raise ValueError(f"{path} is not a Python file; a task file's name ends in .py.")
    path = path.resolve()
    with importable(path.parent):
        module = run_file(path)
        chosen = name or _only(module, path.name)
        found = _attribute(module, chosen, path.name)
        where = f"{path.name}:{chosen}"
        return _finish(found, f"{path}:{chosen}", where, folder, path)


def _from_module(place: str, name: str, folder: str | None) -> Task:
    if not all(part.isidentifier() for part in place.split(".")):
        raise ValueError(
            f"'{place}' is neither a Python file (.py) nor a module's dotted name; "
            "write file.py:name or package.module:name."
        )
    with importable(Path.cwd()):
        try:
            module = importlib.import_module(place)
        except (Exception, SystemExit) as error:
            absent = error.name if isinstance(error, ModuleNotFoundError) else None
            if absent and (place == absent or place.startswith(f"{absent}.")):
                raise ValueError(
                    f"there is no module '{absent}' here; install it, run in its folder, or name "
                    "the file: file.py:name."
                ) from error
            raise ValueError(f"module {place} failed to import: {describe(error)}") from error
        found = _attribute(module, name, place)
        file = getattr(module, "__file__", None)
        path = None if file is None else Path(file)
        return _finish(found, f"{place}:{name}", f"{place}:{name}", folder, path)


def _tasks(module: ModuleType) -> dict[str, Task]:
    """The public tasks of a module, each once."""
    found: dict[str, Task] = {}
    for name, value in vars(module).items():
        if isinstance(value, Task) and not name.startswith("_") and value not in found.values():
            found[name] = value
    return found


def _only(module: ModuleType, label: str) -> str:
    found = _tasks(module)
    if len(found) == 1:
        return next(iter(found))
    if found:
        raise ValueError(
            f"{label} holds {len(found)} tasks ({', '.join(found)}); say which: "
            f"{label}:{next(iter(found))}."
        )
    if inspect.isfunction(getattr(module, "task", None)):
        return "task"
    raise ValueError(
        f"{label} holds no task; write `task = thalweg.Task(...)` in it, or name a function that "
        f"returns one: {label}:name."
    )


def _attribute(module: ModuleType, name: str, label: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = tuple(key for key in vars(module) if not key.startswith("_"))
            near = suggest(name, known).split("Known:")[0].strip()
            tasks = ", ".join(_tasks(module)) or "none"
            raise ValueError(f"{label} has no '{name}'. {near} Tasks found there: {tasks}.")
        found = getattr(found, part)
    return found


def _finish(found: Any, spec: str, where: str, folder: str | None, file: Path | None) -> Task:
    """Call a function, check that a Task came out, remember how it was found."""
    used = None
    if not isinstance(found, Task):
        if inspect.isclass(found) or inspect.ismodule(found) or not callable(found):
            kind = "a class" if inspect.isclass(found) else f"a {type(found).__name__}"
            raise TypeError(f"{where} is {kind}, not a Task or a function that returns one.")
        takes = _takes_data(found, where)
        used = _folder(folder, where, takes)
        found = _call(found, {} if used is None else {"data": used}, where, file)
    elif folder is not None:
        _folder(folder, where, None)
    if not isinstance(found, Task):
        raise TypeError(f"{where} returned a {type(found).__name__}, not a Task.")
    _SOURCES[found] = _Source(spec, used)
    return found


def _takes_data(function: Callable[..., Any], where: str) -> inspect.Parameter | None:
    """The function's ``data`` parameter; an error if it needs any other."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return None
    for item in parameters:
        variadic = item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
        unnamed = item.name != "data" or item.kind is item.POSITIONAL_ONLY
        if item.default is item.empty and not variadic and unnamed:
            raise TypeError(
                f"{where} needs the argument '{item.name}'; a function that returns a task may "
                "take only the keyword 'data'."
            )
    return next((item for item in parameters if item.name == "data"), None)


def _folder(folder: str | None, where: str, takes: inspect.Parameter | None) -> str | None:
    """The data folder to hand over, absolute; None if there is none to hand over."""
    if takes is None:
        if folder is not None:
            raise ValueError(f"{where} takes no data folder; leave data= out.")
        return None
    origin = "data" if folder is not None else ENVIRONMENT
    chosen = folder if folder is not None else os.environ.get(ENVIRONMENT) or None
    if chosen is None:
        if takes.default is takes.empty:
            raise ValueError(
                f"{where} needs a folder of data; pass data=FOLDER or set {ENVIRONMENT}."
            )
        return None
    if not Path(chosen).expanduser().is_dir():
        raise ValueError(f"{where}: the data folder {chosen} (from {origin}) is not a folder.")
    return str(Path(chosen).expanduser().resolve())


def _call(
    function: Callable[..., Any], arguments: dict[str, str], where: str, file: Path | None
) -> Any:
    if file is None:  # a built-in task: its errors are ours and say it all
        return function(**arguments)
    try:
        return function(**arguments)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{where} failed: {describe(error, file)}") from error
