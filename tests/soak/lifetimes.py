"""Each process' life in samples of memory and open files, and whether they are flat.

A process is young for `WARM_UP_S`: imports, the first batches of every size, caches that fill. From then on its memory
may still take steps: a catch-up or a rebuild that needs more than any before it leaves the heap larger, as allocators
give little back. Such steps are rare, and what they add up to is held to a ceiling. A leak is in every minute: hence
the median of what the memory rises within a minute. Lives too short for that are held to the ceiling alone.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any, Final, NamedTuple

#: In seconds: by then the caches are full (`traffic.VISITORS` have all come) and every code path has been taken.
WARM_UP_S: Final = 120.0

#: In seconds after the warm-up: below it a median says more about the last faults than about the process.
SPAN_S_MIN: Final = 300.0

#: What a life's memory may rise in its median minute, in MiB. A leak of 100 bytes an event would be 0.6 MiB for a
#: worker that scores 100 events/s: it has half of a soak's at the least.
MINUTE_RISE_MB_MAX: Final = 0.5
_MINUTE_S: Final = 60.0

#: No process may ever be larger, in MiB: see the table in docs/soak.md for what adds up to it.
RSS_MB_MAX: Final = 400.0

#: The fewest open files of a life's last third, less the most of its first third. Partitions that come bring
#: connections of their own along; a file left open at every reconnection would pass this after a few outages.
FDS_RISE_MAX: Final = 4


class Sample(NamedTuple):
    """At an age in seconds."""

    age_s: float
    rss_mb: float
    fds: int


class Lifetime:
    """One process from its start to its end; a trainer that is elected begins another life."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._born = time.monotonic()
        self.samples: list[Sample] = []

    def add(self, rss_mb: float, fds: int) -> None:
        """Take a sample now."""
        self.samples.append(Sample(time.monotonic() - self._born, rss_mb, fds))


class Flatness(NamedTuple):
    """What became of a life. None: it was too short to be warm, or for a median."""

    name: str
    seconds: float
    rss_warm_mb: float | None
    rss_max_mb: float
    rss_last_mb: float
    minute_rise_mb: float | None
    fds_first: int
    fds_last: int
    problems: list[str]

    def as_json(self) -> dict[str, Any]:
        """For the summary."""
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in self._asdict().items()}


def flatness(life: Lifetime) -> Flatness:
    """Judge a life; it has at least one sample."""
    samples = life.samples
    problems: list[str] = []
    peak = max(sample.rss_mb for sample in samples)
    if peak > RSS_MB_MAX:
        problems.append(f"{life.name}: got {peak:.0f} MiB at its largest, expected at most {RSS_MB_MAX:g}")
    grown = [sample for sample in samples if sample.age_s >= WARM_UP_S]
    minute_rise = None
    fds_first, fds_last = samples[0].fds, samples[-1].fds
    if grown and (span := grown[-1].age_s - grown[0].age_s) >= SPAN_S_MIN:
        minute_rise = statistics.median(_minute_rises(grown))
        if minute_rise > MINUTE_RISE_MB_MAX:
            problems.append(
                f"{life.name}: got a rise of {minute_rise:.2f} MiB in the median minute of {span:.0f} s, expected at "
                f"most {MINUTE_RISE_MB_MAX:g}"
            )
        third = len(grown) // 3
        fds_first = max(sample.fds for sample in grown[:third])
        fds_last = min(sample.fds for sample in grown[-third:])
        if fds_last - fds_first > FDS_RISE_MAX:
            problems.append(
                f"{life.name}: got never fewer than {fds_last} open files in its last third, expected at most "
                f"{FDS_RISE_MAX} more than the {fds_first} of its first third"
            )
    return Flatness(
        life.name, samples[-1].age_s, grown[0].rss_mb if grown else None, peak, samples[-1].rss_mb, minute_rise,
        fds_first, fds_last, problems,
    )  # fmt: skip


def _minute_rises(samples: list[Sample]) -> list[float]:
    """What the memory rose in each minute, from its first sample to the next one's."""
    firsts: dict[int, float] = {}
    for sample in samples:
        firsts.setdefault(int(sample.age_s / _MINUTE_S), sample.rss_mb)
    return [later - earlier for earlier, later in pairwise(firsts.values())]
