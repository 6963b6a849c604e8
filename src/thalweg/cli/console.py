"""Where is it printed? One kind of rich console, whose reader may leave early without a fuss."""

from __future__ import annotations

from rich.console import Console


class PipeConsole(Console):
    """A console that tells of a closed pipe instead of ending the process by itself."""

    def on_broken_pipe(self) -> None:
        """Called where the reader has gone (``| head``)."""
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    """A console on stdout or stderr that colours nothing by guesswork."""
    return PipeConsole(stderr=stderr, highlight=False)
