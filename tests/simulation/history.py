"""What happened in a run, in order: for people to read, and to tell that two runs were the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

#: What an observer is told at every batch or poll: too much to read.
_DULL: Final = frozenset(
    {
        "lag", "open_sessions", "cache", "behind", "examples", "example", "examples_lag", "quality", "partition_state",
        "kafka_answered", "trainer_progress", "own",
    }
)  # fmt: skip


class History:
    """Lines of (time, who, what)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.lines: list[tuple[float, str, str]] = []
        self._closed = False

    def note(self, who: str, what: str) -> None:
        """Write a line."""
        if not self._closed:
            self.lines.append((self._now(), who, what))

    def close(self) -> None:
        """The run is over: what ends with it is not part of it."""
        self._closed = True
        self._now = float  # the loop, and all that hangs on it, ends with the run

    def digest(self) -> str:
        """The same for two runs that were the same."""
        return hashlib.sha256(repr(self.lines).encode()).hexdigest()[:16]

    def tail(self, count: int) -> str:
        """The last lines, readable."""
        return "\n".join(f"{time:9.3f}  {who:<11} {what}" for time, who, what in self.lines[-count:])


class NotingObserver:
    """Stands where the `Observer` does: writes what it is told into the history, and measures nothing."""

    def __init__(self, history: History, who: str) -> None:
        self._history, self._who = history, who

    def batch(self, partition: int, effects: Any, **facts: Any) -> None:
        """A batch was published."""
        position = effects.position
        self._history.note(
            self._who,
            f"batch {position.seq} of partition {partition} to events {position.events_offset} labels "
            f"{position.labels_offset}: {len(effects.scores)} scores {len(effects.examples)} examples "
            f"{len(effects.closed)} closed {len(effects.moments)} moments, watermark {position.watermark.newest}",
        )

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name in _DULL:
            return _nothing
        return lambda *facts, **more: self._history.note(
            self._who, f"{name} {' '.join(map(_short, facts))} {' '.join(f'{k}={_short(v)}' for k, v in more.items())}"
        )


def _nothing(*facts: Any, **more: Any) -> None:
    pass


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"
