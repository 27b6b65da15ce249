"""Counts by the second, for rates and for a curve of the last minutes."""

from __future__ import annotations

from typing import Final

#: Seconds that are remembered: five minutes are what fits beside a number, and what a person remembers.
SECONDS: Final = 300

#: A rate is that of so many whole seconds: batches come several times a second, so fewer would flicker.
RATE_SECONDS: Final = 10


class SecondCounts:
    """A ring of counts. Time is given in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._counts = [0] * SECONDS
        self._newest = -1
        self._first = -1

    def add(self, count: int, now: float) -> None:
        """Count something that happened now."""
        self._move(int(now))
        self._counts[self._newest % SECONDS] += count

    def history(self, now: float) -> list[int]:
        """Of each whole second so far, the newest last; at most SECONDS − 1 of them, none before the first count."""
        if self._first < 0:
            return []
        self._move(int(now))
        known = min(SECONDS - 1, self._newest - self._first)
        return [self._counts[second % SECONDS] for second in range(self._newest - known, self._newest)]

    def within(self, seconds: int, now: float) -> int:
        """What was counted in the last so many seconds (at most SECONDS), the one that runs among them."""
        if self._first < 0:
            return 0
        self._move(int(now))
        known = min(seconds, SECONDS, self._newest - self._first + 1)
        return sum(self._counts[second % SECONDS] for second in range(self._newest - known + 1, self._newest + 1))

    def per_second(self, now: float) -> float:
        """The mean of the last whole seconds; of those since the first count while they are fewer."""
        recent = self.history(now)[-RATE_SECONDS:]
        return sum(recent) / len(recent) if recent else 0.0

    def _move(self, second: int) -> None:
        if self._first < 0:
            self._first = self._newest = second
            return
        for passed in range(max(self._newest + 1, second - SECONDS + 1), second + 1):
            self._counts[passed % SECONDS] = 0
        self._newest = max(self._newest, second)
