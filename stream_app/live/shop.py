"""The aggregate behind the live page: what every batch adds to it, and what is read of batches while somebody looks.

    take      after every batch, whoever looks: adds up a few counts, and keeps the score records as they are
    look      somebody looks now
    catch_up  reads what was kept, some at a time; to be called while `watched`

A record is read only while somebody looks, at about 3 µs; the newest that were kept unread make a page full at once.
Where more come than can be read, visitors are sampled by a hash of their ids, whole, and the page says so.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence, Set
from typing import Any, Final
from zlib import crc32

from stream_app.core.effects import Effects, Keyed
from stream_app.live.checkouts import Checkouts
from stream_app.live.names import VisitorNames
from stream_app.live.reading import TOLD_BY_LABEL, read_closed, read_score, read_told
from stream_app.live.seconds import SecondCounts
from stream_app.live.sessions import LiveSession, LiveSessions

#: Score records kept unread, 450 bytes each: about 10 MB. In a shop of 20 events a second they reach back a quarter of
#: an hour.
UNREAD_MAX: Final = 20_000

#: Unread records from which on half of the visitors are left out. Above what a page finds when it is opened.
CROWD: Final = 30_000
#: What is kept while somebody looks; past it the oldest are passed over.
UNREAD_WATCHED_MAX: Final = 60_000

#: What reading may cost a worker, in records read per second: some 35 ms of each second.
READ_PER_SECOND_MAX: Final = 10_000

#: Seconds without a crowd after which twice as many visitors are followed again.
CALM_S: Final = 20.0

#: Sampled one in this many at most.
ONE_IN_MAX: Final = 64

#: For so long after the last look the sessions are kept: a reload finds them.
LINGER_S: Final = 60.0

#: A record of a visitor left out costs this part of one that is read.
_PASSED_COST: Final = 0.15


class _Unread:
    """The records of one batch, read from the front."""

    __slots__ = ("closed", "examples", "left", "partition", "scores", "started")

    def __init__(self, partition: int, effects: Effects, examples: Sequence[Keyed]) -> None:
        self.partition = partition
        self.scores: Iterator[Keyed] = iter(effects.scores)
        self.left = len(effects.scores)
        self.closed = effects.closed
        self.examples = examples
        self.started = False


class LiveShop:
    """One worker's partitions. Times are seconds of one clock that does not go back."""

    def __init__(self, names: VisitorNames) -> None:
        self.names = names
        self.sessions = LiveSessions(names.name)
        self.checkouts = Checkouts()
        #: (event type, outcome) → events, label outcome → labels, band → scores: since the start
        self.events: Counter[tuple[str, str]] = Counter()
        self.labels: Counter[str] = Counter()
        self.bands: Counter[str] = Counter()
        self.scored = self.opened = self.closed = 0
        #: of the events topic; 0 before the first batch
        self.partitions = 0
        self.scored_by_second, self.rejected_by_second = SecondCounts(), SecondCounts()
        #: partition → visitors with an open session
        self._open_visitors: dict[int, int] = {}
        self._unread: deque[_Unread] = deque()
        self._unread_records = 0
        self._looked = -float("inf")
        self._watched = False
        self._crowded = -float("inf")
        #: visitors are sampled, one in this many (a power of two)
        self.one_in = 1
        #: records passed over because reading did not keep up: events are then missing from sessions
        self.passed_over = 0

    # ---- what happens -----------------------------------------------------------------------------------------------

    def take(self, effects: Effects, partition: int, *, now: float) -> None:
        """A batch was carried out."""
        count = len(effects.scores)
        for (event_type, outcome), number in effects.events.items():
            self.events[event_type, outcome] += number
            if event_type == "unknown":
                self.rejected_by_second.add(number, now)
        if effects.labels:
            self.labels.update(effects.labels)
        self.bands.update(effects.bands)
        self.scored += count
        self.opened += effects.sessions_opened
        self.closed += effects.sessions_closed
        self.scored_by_second.add(count, now)
        self.partitions = effects.position.partitions or self.partitions
        if effects.position.open_visitors >= 0:
            self._open_visitors[partition] = effects.position.open_visitors
        if count or effects.closed or (self._watched and effects.examples):
            self._unread.append(_Unread(partition, effects, effects.examples if self._watched else ()))
            self._unread_records += count
            self._bound(UNREAD_WATCHED_MAX if self._watched else UNREAD_MAX)

    def own(self, partitions: Set[int]) -> None:
        """The partitions that are this worker's now: what is known of others is another's to tell."""
        if self._open_visitors.keys() - partitions:
            self._open_visitors = {p: n for p, n in self._open_visitors.items() if p in partitions}
            self.sessions.keep(lambda session: session.partition in partitions)
            kept = deque(unread for unread in self._unread if unread.partition in partitions)
            self._unread, self._unread_records = kept, sum(unread.left for unread in kept)

    # ---- somebody looks ---------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Somebody looks."""
        self._looked = now
        self._watched = True

    def watched(self, now: float) -> bool:
        """Whether somebody has looked lately; what was read is forgotten when not."""
        if self._watched and now - self._looked > LINGER_S:
            self._watched = False
            self.sessions.clear()
            self.one_in = 1
            self._bound(UNREAD_MAX)
        return self._watched

    def forget(self) -> None:
        """Forget sessions and what is unread; the counts stay."""
        self.sessions.clear()
        self._unread.clear()
        self._unread_records = 0

    def catch_up(self, records: float, *, now: float) -> float:
        """Read up to so many records, the oldest first; how many were not needed, 0 when there is more to read."""
        self._sample(now)
        while self._unread:
            batch = self._unread[0]
            records = self._read_scores(batch, records)
            if batch.left:
                return 0.0
            for _, value in batch.closed:
                self.sessions.end(read_closed(value).session_id)
            for _, value in batch.examples:
                if TOLD_BY_LABEL in value:
                    self.checkouts.told(read_told(value), self.sessions)
            records -= _PASSED_COST * (len(batch.closed) + len(batch.examples))
            self._unread.popleft()
            if records <= 0:
                return 0.0
        return records

    def _read_scores(self, batch: _Unread, records: float) -> float:
        follows, one_in, bought = self._follows, self.one_in, self.checkouts.bought
        for key, value in batch.scores:
            batch.left -= 1
            self._unread_records -= 1
            if one_in > 1 and not follows(key):
                records -= _PASSED_COST
            else:
                records -= 1.0
                score = read_score(value)
                session = self.sessions.add(score, batch.partition)
                if session is not None and score.event_type == "purchase":
                    bought(session)
            if records <= 0:
                break
        return records

    def _follows(self, key: bytes) -> bool:
        return not crc32(key) & (self.one_in - 1)

    def _sample(self, now: float) -> None:
        """Follow fewer visitors in a crowd, and more again when it has been calm."""
        if self._unread_records > CROWD:
            # Once a second at most: what the last time has brought is to show first.
            if now - self._crowded >= 1.0:
                self._crowded = now
                self.one_in = min(2 * self.one_in, ONE_IN_MAX)
                self.sessions.keep(lambda session: self._follows(session.visitor_id.encode()))
        elif self.one_in > 1 and now - self._crowded > CALM_S:
            cost = self.scored_by_second.per_second(now) * (2.0 / self.one_in + _PASSED_COST)
            if cost < 0.8 * READ_PER_SECOND_MAX:
                self._crowded = now
                self.one_in //= 2

    def _bound(self, most: int) -> None:
        while len(self._unread) > 1 and (self._unread_records > most or len(self._unread) > most):
            gone = self._unread.popleft()
            self._unread_records -= gone.left
            if self._watched:
                self.passed_over += gone.left
                # That they are over must not be missed.
                for _, value in gone.closed:
                    self.sessions.end(read_closed(value).session_id)

    # ---- what is shown ----------------------------------------------------------------------------------------------

    @property
    def open_visitors(self) -> int:
        """Visitors with an open session, of all of this worker's partitions."""
        return sum(self._open_visitors.values())

    def events_by_outcome(self) -> dict[str, int]:
        """Outcome → events; those that were rejected are counted in `rejected`."""
        found: Counter[str] = Counter()
        for (event_type, outcome), number in self.events.items():
            if event_type != "unknown":
                found[outcome] += number
        return dict(found)

    def rejected(self) -> dict[str, int]:
        """Reason → events that could not be read."""
        return {reason: number for (kind, reason), number in self.events.items() if kind == "unknown"}

    def stats(self, *, now: float) -> dict[str, Any]:
        """Counts since the start and rates of now, as JSON values; see docs/live-page.md."""
        return {
            "events": {
                "scored": self.scored,
                "per_second": round(self.scored_by_second.per_second(now), 2),
                "per_second_history": self.scored_by_second.history(now),
                "by_outcome": self.events_by_outcome(),
                "rejected": self.rejected(),
                "rejected_per_second": round(self.rejected_by_second.per_second(now), 2),
            },
            "bands": {band: self.bands[band] for band in ("unlikely", "on_the_fence", "likely")},
            "labels": dict(self.labels),
            "sessions": {
                "open_visitors": self.open_visitors,
                "opened": self.opened,
                "closed": self.closed,
                "followed": len(self.sessions),
                "one_in": self.one_in,
                "passed_over": self.passed_over,
                "unread": self._unread_records,
            },
            "histogram": list(self.sessions.histogram),
        }

    def find(self, name: str) -> LiveSession | None:
        """The session with the visitor's newest event."""
        return self.sessions.of_visitor(name)
