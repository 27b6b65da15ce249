"""Each process' life in samples of memory and open files, and whether they are flat.

A process is young for `WARM_UP_S`: imports, the first batches of every size, caches that fill. From then on its memory
goes up and down (partitions come and go, a view is rebuilt) but it must not climb: a line is fitted, and what it rises
from one end of the life to the other is bounded. Lives too short for a line are only held to the ceiling.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Final, NamedTuple

#: In seconds: by then the caches are full (`traffic.VISITORS` have all come) and every code path has been taken.
WARM_UP_S: Final = 120.0

#: In seconds after the warm-up: below it a line says more about the last fault than about the process.
SPAN_S_MIN: Final = 300.0

#: What the fitted line may rise over a life, in MiB. Heaps fragment while views are rebuilt, by some MiB; a leak of
#: 100 bytes an event would be 23 MiB in twenty minutes of 200 events/s, the half of a soak that one worker scores.
RISE_MB_MAX: Final = 16.0

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
    """What became of a life. None: it was too short to be warm, or for a line."""

    name: str
    seconds: float
    rss_warm_mb: float | None
    rss_max_mb: float
    rss_last_mb: float
    slope_mb_per_hour: float | None
    rise_mb: float | None
    fds_first: int
    fds_last: int
    problems: list[str]

    def as_json(self) -> dict[str, Any]:
        """For the summary."""
        return {
            name: round(value, 2) if isinstance(value, float) else value for name, value in self._asdict().items()
        }


def flatness(life: Lifetime) -> Flatness:
    """Judge a life; it has at least one sample."""
    samples = life.samples
    problems: list[str] = []
    peak = max(sample.rss_mb for sample in samples)
    if peak > RSS_MB_MAX:
        problems.append(f"{life.name}: got {peak:.0f} MiB at its largest, expected at most {RSS_MB_MAX:g}")
    grown = [sample for sample in samples if sample.age_s >= WARM_UP_S]
    slope = rise = None
    fds_first, fds_last = samples[0].fds, samples[-1].fds
    if len(grown) > 2 and (span := grown[-1].age_s - grown[0].age_s) >= SPAN_S_MIN:
        line = statistics.linear_regression([s.age_s for s in grown], [s.rss_mb for s in grown])
        slope, rise = line.slope * 3600, line.slope * span
        if rise > RISE_MB_MAX:
            problems.append(
                f"{life.name}: its memory rose by {rise:.1f} MiB in {span:.0f} s, expected at most {RISE_MB_MAX:g}"
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
        life.name, samples[-1].age_s, grown[0].rss_mb if grown else None, peak, samples[-1].rss_mb, slope, rise,
        fds_first, fds_last, problems,
    )  # fmt: skip
