"""How a run looks while it goes on: bars on a terminal, a line now and then elsewhere; always on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

#: Between two plain lines, in seconds: a log of an hour's run stays readable.
_LINE_SECONDS: Final = 10.0


class RunProgress:
    """Shows phases and how far each is. Use it as a context manager around the run.

    Parameters
    ----------
    quiet
        Show nothing at all: the caller prints JSON for a program.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}

    def __enter__(self) -> RunProgress:
        if self._console.is_terminal and not self._quiet:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, phase: str, done: int, total: int | None, note: str = "") -> None:
        """Say that a phase has come to `done` of `total` (None: without end)."""
        if self._quiet:
            return
        text = f"{phase} {note}".strip()
        if self._bars is None:
            self._line(phase, text, done, total)
            return
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(text, total=total)
        self._bars.update(self._tasks[phase], description=text, completed=done, total=total)

    def _line(self, phase: str, text: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._said.get(phase, -_LINE_SECONDS) < _LINE_SECONDS:
            return
        self._said[phase] = now
        of = f" of {total:,}" if total is not None else ""
        self._console.print(f"{text}: {done:,}{of}", highlight=False)
