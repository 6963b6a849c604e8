"""What does a person see when something goes wrong? One line, and an exit code that means it.

0 done · 1 nothing finished · 2 bad input · 3 a bug · 130 stopped by Ctrl-C · 141 broken pipe.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

import typer

OK, NOTHING, BAD_INPUT, BUG, STOPPED, PIPE = 0, 1, 2, 3, 130, 141
ADVICE = {
    errno.ENOSPC: "free some space, or choose a directory on another disk with --run",
    errno.EDQUOT: "your quota is used up: free some space, or choose another directory with --run",
    errno.EACCES: "choose a place that you may read and write, for example with --run",
    errno.EPERM: "choose a place that you may read and write, for example with --run",
    errno.EROFS: "the disk is read-only: choose another directory with --run",
    errno.ENOENT: "check the spelling of the path",
    errno.ENOTDIR: "a folder is needed there, and a file stands in its place",
    errno.EISDIR: "a file is needed there, and a folder stands in its place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def run(words: Sequence[str]) -> int:
    """Run one command line and answer with its exit code; errors become one line on stderr."""
    _survive_any_encoding()
    show = "--traceback" in words or os.environ.get("THALWEG_TRACEBACK", "") not in ("", "0")
    try:
        from thalweg.cli.verbs import build

        words = list(words) or ["--help"]
        code = build()(args=words, prog_name="thalweg", standalone_mode=False, obj=tuple(words))
        sys.stdout.flush()
        if code == STOPPED:  # typer answers Ctrl-C with a code
            say(_stopped(words))
        return code if isinstance(code, int) else OK
    except BrokenPipeError:
        return pipe_closed()
    except (KeyboardInterrupt, typer.Abort):
        say(_stopped(words))
        return STOPPED
    except Exception as error:
        if show:
            traceback.print_exc()
        code, line = explain(error, words)
        say(line)
        return code


def explain(error: Exception, words: Sequence[str]) -> tuple[int, str]:
    """The exit code of an error and the one line that is said about it."""
    if hasattr(error, "format_message"):  # of typer's own parser
        return BAD_INPUT, _usage(error, words)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename is not None else ""
        advice = ADVICE.get(error.errno or 0)
        return BAD_INPUT, f"{error.strerror}{where}{f'. {_capital(advice)}' if advice else ''}"
    if isinstance(error, ValueError | TypeError | OSError):
        return BAD_INPUT, str(error) or type(error).__name__
    return BUG, (
        f"{type(error).__name__}: {str(error) or 'no message'} (a bug in thalweg or in the task; "
        "run again with --traceback to see where)"
    )


def say(line: str) -> None:
    """One line on stderr, whatever the message holds."""
    from thalweg.report.numbers import clean

    with contextlib.suppress(OSError, ValueError):
        print(f"thalweg: {clean(' '.join(line.split()))}", file=sys.stderr, flush=True)


def pipe_closed() -> int:
    """Forget what could not be written, so that the interpreter's own flush stays quiet."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE


def repeat(words: Sequence[str], drop: Sequence[str] = ("--json", "--quiet")) -> str:
    """The command line as one would paste it again, without what only shaped its output."""
    return shlex.join(["thalweg", *(word for word in words if word not in drop)])


def _stopped(words: Sequence[str]) -> str:
    if not {"race", "demo", "train", "reproduce"} & set(words[:2]):
        return "stopped"
    again = repeat(words, drop=("--fresh", "--json", "--quiet"))
    return f"stopped; what was finished is kept, and this goes on from there: {again}"


def _usage(error: Exception, words: Sequence[str]) -> str:
    message = str(error.format_message()).rstrip(".")  # pyrefly: ignore
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "thalweg"
    if message.startswith("No such command"):
        from thalweg.cli.verbs import VERBS
        from thalweg.registry import suggest

        wanted = next((word for word in words if not word.startswith("-")), "")
        message = f"no verb {wanted!r}. {suggest(wanted, VERBS.names())}".rstrip(".")
    return f"{message}. See '{path} --help'"


def _survive_any_encoding() -> None:
    """A terminal that cannot print a sign gets an escape in its place, never a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
