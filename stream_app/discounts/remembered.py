"""What a partition's owner knows of sessions and visitors: who had a decision, who is over, who was exposed when.

Made from the topics when the partition is taken over, and kept up by what the owner itself writes. By 64-bit hashes: of
a million sessions two are mistaken for one another with probability 3e-8, and then one is not offered anything.

It is bounded, and what is forgotten is never decided again: sessions that began before `since_ms` are not known, so
all of them count as decided. A session lasts for a day at most (it is ended at a bound), so that none is that old in
practice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from stream_app.discounts.core.records import Exposure, Moment

#: Sessions with a decision, sessions that are over, and visitors, each of one partition: some 120 MB in all at most.
SESSIONS_MAX: Final = 500_000
VISITORS_MAX: Final = 500_000

#: The longest session, in ms: the workers end it then, whatever its visitor does.
SESSION_MS_MAX: Final = 24 * 3_600_000


class _Times:
    """Hashes with a time each, in the order in which they were put in; the oldest makes room."""

    def __init__(self, most: int, dropped: Callable[[int], None]) -> None:
        self._most, self._dropped = most, dropped
        self._times: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, hashed: int) -> bool:
        return hashed in self._times

    def get(self, hashed: int) -> int | None:
        return self._times.get(hashed)

    def put(self, hashed: int, time_ms: int) -> None:
        known = self._times.pop(hashed, time_ms)
        self._times[hashed] = max(known, time_ms)
        if len(self._times) > self._most:
            self._dropped(self._times.pop(next(iter(self._times))))

    def forget(self, before_ms: int) -> None:
        """Drop those at the front that are older."""
        while self._times and self._times[oldest := next(iter(self._times))] < before_ms:
            del self._times[oldest]


class Remembered:
    """Of one partition. Times are in ms on the clock of the decisions."""

    def __init__(self, *, since_ms: int, sessions_max: int = SESSIONS_MAX, visitors_max: int = VISITORS_MAX) -> None:
        #: sessions that began before it are not known
        self.since_ms = since_ms
        self._crowded_out = 0
        self._decided = _Times(sessions_max, self._session_dropped)
        self._over = _Times(sessions_max, self._session_dropped)
        self._exposed = _Times(visitors_max, self._visitor_dropped)

    def decide(self, exposure: Exposure) -> None:
        """A session has had its decision."""
        self._decided.put(_hash(exposure.visitor_id, exposure.session_id), exposure.decided_at)
        self._exposed.put(_hash(exposure.visitor_id), exposure.decided_at)

    def end(self, visitor_id: str, session_id: str, now_ms: int) -> None:
        """A session has bought, or is closed."""
        self._over.put(_hash(visitor_id, session_id), now_ms)

    def decided(self, moment: Moment) -> bool:
        """Whether the moment's session has had its decision, or may have had it before what is known."""
        return _began(moment) < self.since_ms or _hash(moment.visitor_id, moment.session_id) in self._decided

    def over(self, moment: Moment) -> bool:
        """Whether the moment's session has bought or is closed."""
        return _hash(moment.visitor_id, moment.session_id) in self._over

    def exposed_at(self, visitor_id: str) -> int | None:
        """When a visitor was exposed last; None is not known."""
        return self._exposed.get(_hash(visitor_id))

    def forget(self, now_ms: int, *, visitors_ms: int) -> None:
        """Drop sessions that are over for certain, and visitors exposed longer ago than `visitors_ms`."""
        horizon = now_ms - 2 * SESSION_MS_MAX
        if horizon > self.since_ms:
            self.since_ms = horizon
            self._decided.forget(horizon)
            self._over.forget(horizon)
        self._exposed.forget(now_ms - visitors_ms)

    def take_crowded_out(self) -> int:
        """Visitors dropped since this was asked last, because there were too many: their cool-down ends early."""
        crowded_out, self._crowded_out = self._crowded_out, 0
        return crowded_out

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Sessions decided, sessions over, visitors."""
        return len(self._decided), len(self._over), len(self._exposed)

    def _session_dropped(self, time_ms: int) -> None:
        self.since_ms = max(self.since_ms, time_ms + 1)

    def _visitor_dropped(self, time_ms: int) -> None:
        self._crowded_out += 1


def _began(moment: Moment) -> float:
    """When its session began, at the earliest, in ms."""
    age = moment.features.get("age")
    # The feature is ln(1 + s), in whole ms at best.
    return moment.event_time - (SESSION_MS_MAX if age is None else 1000.0 * math.expm1(min(age, 20.0)) + 1.0)


def _hash(*ids: str) -> int:
    told = b"".join(len(part).to_bytes(4, "big") + part for part in (each.encode() for each in ids))
    return int.from_bytes(blake2b(told, digest_size=8, person=b"discounts").digest(), "big")
