"""Measuring: exposures and orders become outcomes, outcomes become figures, and the bandit learns from them.

    events, labels ─► orders ─┐
    exposures ────────────────┴─► Settling ─► discount.outcomes.v1 ─► Figures ─► metrics, report, the bandit's choices

Every process reads every partition, without a group, so that all have the same figures. An outcome is written when the
window after a visitor's first exposure and a delay for late words of orders are over, and only what stands in the log
counts: what a process holds in memory besides are visitors whose window is still open. A restart reads all outcomes and
exposures again, which are few, and the events and labels since the oldest open exposure, less the delay.

Several processes settle the same visitors, and come to the same outcomes. Each waits for a moment of its own choice and
leaves out what another has written by then; what two write all the same counts once.

Time is that of the events (`settling_clock.py`). It is moved on only when everything that exposures and labels held at
that time has been read as well (`_Barrier`), so a slow partition delays outcomes and falsifies none.

It runs beside the loop that makes offers (`beside.py`). What that one asks for are the bandit's choices, under a lock
that is held for one record or one choice at a time; metrics may be set from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Final, NamedTuple

from aiokafka import TopicPartition

from stream_app import topics
from stream_app.backends.clients import KafkaClients
from stream_app.backends.ports import LogError
from stream_app.core.codec import check_key
from stream_app.core.watermark import VISITORS_ASKED
from stream_app.discounts.core.bandit import Choice
from stream_app.discounts.core.deciding import Chooser
from stream_app.discounts.core.figures import ExperimentFigures, Figures
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.records import Exposure, Outcome, decode
from stream_app.discounts.core.settling import Due, Settling
from stream_app.discounts.following import Following, Records
from stream_app.discounts.measuring_observer import MeasuringObserver
from stream_app.discounts.orders import order_of_event, order_of_label, time_of_event
from stream_app.discounts.outcome_log import OutcomeLog
from stream_app.discounts.settling_clock import SettlingClock
from stream_app.settings import Settings

#: Of the moment that each process waits before it writes, in seconds.
_LAG_S_MAX: Final = 10.0

#: Between two looks at how far everything was read, in seconds.
_CHECK_S: Final = 1.0

#: Pause before everything is read again after Kafka failed.
_RETRY_S: Final = 1.0


class _Barrier(NamedTuple):
    """An event time, and the ends that exposures and labels had when the events were read that far."""

    time_ms: int
    ends: Mapping[TopicPartition, int]


class Measuring:
    """Settles and measures until stopped.

    Parameters
    ----------
    policy
        The policy in force: its margins make profits, its experiment's bandit is the one that chooses.
    lag_s
        How long an outcome is left to other processes before it is written; by default up to ten seconds, by chance.
    """

    def __init__(
        self,
        settings: Settings,
        observer: MeasuringObserver,
        *,
        policy: Callable[[], Policy],
        clients: KafkaClients | None = None,
        lag_s: float | None = None,
    ) -> None:
        self.figures = Figures()
        #: held while the figures that are shown change, and while a choice is made from them
        self._lock = Lock()
        self._settings, self._observer, self._policy = settings, observer, policy
        self._clients = clients or KafkaClients(settings)
        self._lag_s = random.uniform(0.0, _LAG_S_MAX) if lag_s is None else lag_s
        self._settling, self._clock = self._anew()
        #: (monotonic time, outcome) still left to others
        self._waiting: deque[tuple[float, Due]] = deque()
        #: partitions of which records may have been deleted unread, until their first kept one is seen
        self._short: set[TopicPartition] = set()
        self._barrier: _Barrier | None = None
        #: of the events: with several, a record's key says which of them it is on
        self._partitions = 1
        self._checked = 0.0
        self._quiet = False
        self._measured = self._level = False
        self._stopping = asyncio.Event()

    @property
    def chooser(self) -> Chooser | None:
        """The bandit of the policy's experiment, with its exploration; None until its outcomes were read."""
        return self._choose if self._measured else None

    def _choose(self, context: str, percents: Sequence[float], draw: float) -> Choice:
        """See `LevelBandit.choose`; from any thread."""
        policy = self._policy()
        with self._lock:
            figures = self.figures.experiments.get(policy.experiment.id)
            if figures is None:
                # Nobody was exposed so far: it knows nothing, and chooses evenly.
                figures = ExperimentFigures(policy.experiment.id)
            if figures.exploration != policy.levels.explore:
                figures.explore(policy.levels.explore)
            return figures.bandit.choose(context, percents, draw)

    def ready(self) -> tuple[bool, str]:
        """Whether there are figures, and what is still to be read, in words."""
        if not self._measured:
            return False, "reads outcomes and exposures"
        return True, "measures" if self._level else "measures; events are still to be read, outcomes wait for that"

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    async def run(self) -> None:
        """Follow the topics until stopped; Kafka's failures are told and waited out."""
        while not self._stopping.is_set():
            following = Following(
                self._settings, self._clients, (topics.OUTCOMES, topics.EXPOSURES, topics.LABELS, topics.EVENTS)
            )
            log = OutcomeLog(self._settings, self._clients)
            try:
                await following.start()
                self._partitions = following.partitions(topics.EVENTS)
                await self._begin(following)
                while not self._stopping.is_set():
                    await self._step(following, log)
            except LogError as error:
                self._observer.failed(error)
                self._level = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _RETRY_S)
            finally:
                await log.stop()
                await following.stop()

    def _anew(self) -> tuple[Settling, SettlingClock]:
        settings = self._settings
        settling = Settling(window_ms=settings.discount_window_ms, delay_ms=settings.discount_delay_ms)
        return settling, SettlingClock(grace_ms=settings.grace_ms)

    async def _begin(self, following: Following) -> None:
        """Read what was found out so far; the rest is followed from the oldest open exposure on."""
        figures = Figures()
        self._settling, self._clock = self._anew()
        self._waiting.clear()
        self._barrier, self._level = None, False
        async for _, records in following.to_ends(topics.OUTCOMES):
            for record in records:
                self._outcome(figures, record.value)
        oldest_ms = int(time.time() * 1000)
        async for place, records in following.to_ends(topics.EXPOSURES):
            for record in records:
                open_units = self._settling.open
                self._exposure(figures, record.value, place.partition)
                if self._settling.open > open_units:
                    oldest_ms = min(oldest_ms, record.timestamp)
        since_ms = oldest_ms - self._settings.discount_delay_ms
        self._short = set()
        for topic in (topics.EVENTS, topics.LABELS):
            self._short |= await following.seek_time(topic, since_ms)
        following.follow(topics.EVENTS, topics.LABELS)
        self.figures, self._measured = figures, True
        self._observer.show(figures, self._settling)

    async def _step(self, following: Following, log: OutcomeLog) -> None:
        """Take what is new; once a second, see how far everything was read, and settle what is due."""
        found = await following.poll()
        for place, records in found.items():
            self._take(following.topic(place), place, records)
        # Others in this event loop are to have their turn while a backlog is read.
        await asyncio.sleep(0)
        now = time.monotonic()
        if now - self._checked < _CHECK_S:
            return
        await self._check(following, now)
        due = []
        while self._waiting and self._waiting[0][0] <= now:
            outcome = self._waiting.popleft()[1]
            exposure = outcome.outcome.exposure
            if not self.figures.is_settled(exposure.experiment, exposure.visitor_id):
                due.append(outcome)
        if due:
            await log.write(due)
        self._observer.show(self.figures, self._settling)

    async def _check(self, following: Following, now: float) -> None:
        ends = await following.ends(topics.EVENTS)
        unread = [place.partition for place, end in ends.items() if not following.at(place, end)]
        self._level = not unread
        if self._quiet and self._level and self._checked:
            self._clock.idle(round(1000.0 * (now - self._checked)))
        self._quiet, self._checked = True, now
        policy = self._policy()
        self._settling.reckon(policy.money.margin, policy.money.margin_by_category)
        barrier = self._barrier
        if barrier is not None and following.reached(barrier.ends):
            self._waiting.extend((now + self._lag_s, due) for due in self._settling.advance(barrier.time_ms))
            barrier = None
        if barrier is None and (time_ms := self._clock.time(unread=unread)) is not None:
            barrier = _Barrier(time_ms, await following.ends(topics.EXPOSURES, topics.LABELS))
        self._barrier = barrier

    def _take(self, topic: str, place: TopicPartition, records: Records) -> None:
        if topic == topics.OUTCOMES:
            for record in records:
                self._outcome(self.figures, record.value)
        elif topic == topics.EXPOSURES:
            for record in records:
                self._exposure(self.figures, record.value, place.partition)
        else:
            if place in self._short:
                self._begins(topic, place, records)
            keyed = self._partitions > 1
            for record in records:
                read = order_of_event if topic == topics.EVENTS else order_of_label
                order = read(record.value, record_time_ms=record.timestamp)
                # Under another key the engine does not take it either: it may be on any partition.
                if order is not None and (not keyed or check_key(record.key, order.visitor_id) is None):
                    self._settling.checkout(order)
            if topic == topics.EVENTS:
                self._quiet = False
                self._observe(place.partition, records)

    def _observe(self, partition: int, records: Records) -> None:
        """Move the clock by the last ones, as many as it asks for agreement: the others are about as late."""
        for record in records[-VISITORS_ASKED:]:
            told = time_of_event(record.value, record_time_ms=record.timestamp)
            if told is not None:
                self._clock.observe(partition, told, received=record.timestamp)

    def _begins(self, topic: str, place: TopicPartition, records: Records) -> None:
        """Records before these were deleted: units whose orders may have been among them are left out, aloud."""
        self._short.discard(place)
        # A label tells of an order before it; an event of what has just happened, on a clock that may be last year's.
        first = records[0]
        told = time_of_event(first.value, record_time_ms=first.timestamp) if topic == topics.EVENTS else None
        before_ms = told.event_time if told is not None else first.timestamp
        units = self._settling.incomplete(place.partition, before_ms)
        if units:
            self._observer.incomplete(topic, place.partition, units)

    def _exposure(self, figures: Figures, value: bytes | None, partition: int) -> None:
        exposure = decode(Exposure, value)
        if isinstance(exposure, Exposure):
            with self._lock:
                figures.expose(exposure)
            if not figures.is_settled(exposure.experiment, exposure.visitor_id):
                self._settling.expose(exposure, partition)
        else:
            self._observer.unreadable(topics.EXPOSURES, exposure)

    def _outcome(self, figures: Figures, value: bytes | None) -> None:
        outcome = decode(Outcome, value)
        if isinstance(outcome, Outcome):
            with self._lock:
                figures.settle(outcome)
            self._settling.told(outcome)
        else:
            self._observer.unreadable(topics.OUTCOMES, outcome)
