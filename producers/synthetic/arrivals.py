"""When visits begin: a Poisson process whose intensity follows the hour and the weekday (UTC)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import log
from typing import Final

from producers.synthetic.behaviour import HOURS, WEEKDAYS

HOUR_MS: Final = 3_600_000
#: 1 January 1970 was a Thursday.
_EPOCH_WEEKDAY: Final = 3
_HOURS_MEAN: Final = sum(HOURS) / len(HOURS)
_WEEKDAYS_MEAN: Final = sum(WEEKDAYS) / len(WEEKDAYS)


def intensity(time_ms: int, *, per_hour: float) -> float:
    """Visits expected per hour in the hour of `time_ms`, where an average hour has `per_hour`."""
    return _in_hour(time_ms // HOUR_MS, per_hour)


@lru_cache(64)  # asked for every visit, and the same for all of an hour
def _in_hour(hour: int, per_hour: float) -> float:
    weekday = (hour // 24 + _EPOCH_WEEKDAY) % 7
    return per_hour * HOURS[hour % 24] / _HOURS_MEAN * WEEKDAYS[weekday] / _WEEKDAYS_MEAN


def next_arrival(time_ms: int, *, per_hour: float, uniform: Callable[[], float]) -> int:
    """Draw the next arrival after `time_ms`, exactly: a wait that crosses an hour is drawn anew from there."""
    time = float(time_ms)
    while True:
        end = (int(time) // HOUR_MS + 1) * HOUR_MS
        wait = -log(1.0 - uniform()) / intensity(int(time), per_hour=per_hour) * HOUR_MS
        if time + wait < end:
            return int(time + wait)
        time = float(end)
