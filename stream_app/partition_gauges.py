"""What is shown of each owned partition, and no longer when it has been given back.

Some figures are set when something happens; those that grow while nothing does, which is when they matter, are asked
for at each scrape. `observe.Observer` owns this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from prometheus_client import Gauge

from stream_app.metrics import Metrics

PARTITION_STATES: Final = ("restoring", "ready", "fenced", "stopped")


class _Waiting(Protocol):
    #: monotonic time since when Redis has been waited for; None while it answers
    waiting_since: float | None


class Owned(Protocol):
    """What is asked of a partition at each scrape: monotonic times, in seconds."""

    progress: float
    failing_since: float | None

    @property
    def behind(self) -> _Waiting: ...  # noqa: D102


class PartitionGauges:
    """The gauges by partition. `monotonic` gives seconds that never go back."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.lag_records = PerPartition(metrics.gauge("intent_lag_records"))
        self.watermark_delay = PerPartition(metrics.gauge("intent_watermark_delay_seconds"))
        self.watermark_time = PerPartition(metrics.gauge("intent_watermark_time_seconds"))
        self.open_visitors = PerPartition(metrics.gauge("intent_open_visitors"))
        self.cached_visitors = PerPartition(metrics.gauge("intent_cached_visitors"))
        self.view_queue = PerPartition(metrics.gauge("intent_view_queue_batches"))
        self._lag_seconds = PerPartition(metrics.gauge("intent_lag_seconds"))
        self._progress_age = PerPartition(metrics.gauge("intent_progress_age_seconds"))
        self._failing = PerPartition(metrics.gauge("intent_failing_seconds"))
        self._redis_wait = PerPartition(metrics.gauge("intent_redis_wait_seconds"))
        self._state = metrics.gauge("intent_partition_state")
        self._lags: dict[int, _Lag] = {}
        self._all = [value for value in vars(self).values() if isinstance(value, PerPartition)]

    def own(self, partition: int, owned: Owned) -> None:
        """A partition was given to us: ask it at each scrape from now on."""
        now = self._monotonic
        self._progress_age.ask(partition, lambda: now() - owned.progress)
        self._failing.ask(partition, lambda: _since(owned.failing_since, now()))
        self._redis_wait.ask(partition, lambda: _since(owned.behind.waiting_since, now()))

    def lag(self, partition: int, records: int, watermark_time_ms: int, now_ms: int) -> None:
        """A poll has told how many input records wait, and how far event time has come (−1: not known)."""
        self.lag_records.set(partition, records)
        self._lag_of(partition).told(records, now_ms)
        if watermark_time_ms >= 0:
            self.watermark_time.set(partition, watermark_time_ms / 1000)
            self.watermark_delay.set(partition, (now_ms - watermark_time_ms) / 1000)

    def scored_up_to(self, partition: int, received_ms: int) -> None:
        """A batch was published; the broker's time of its last event."""
        self._lag_of(partition).scored_ms = received_ms

    def longest_wait_s(self) -> float:
        """How long the oldest record that waits has waited at most, over all partitions that know; 0 when none does."""
        waits = [lag.seconds() for lag in self._lags.values()]
        return max((wait for wait in waits if not math.isnan(wait)), default=0.0)

    def state(self, partition: int, state: str) -> None:
        """A partition is in one of `PARTITION_STATES`; one that has stopped is forgotten but for that."""
        for name in PARTITION_STATES:
            self._state.labels(str(partition), name).set(name == state)
        if state == "stopped":
            # It is somebody else's: what was last known of it here is no longer so.
            self._lags.pop(partition, None)
            for gauges in self._all:
                gauges.drop(partition)

    def _lag_of(self, partition: int) -> _Lag:
        lag = self._lags.get(partition)
        if lag is None:
            lag = self._lags[partition] = _Lag(self._monotonic)
            self._lag_seconds.ask(partition, lag.seconds)
        return lag


class _Lag:
    """For how long the oldest record that waits can have waited.

    It came after the last one that was scored, and after the last moment at which none waited: the later of the two is
    the bound. Not known (NaN) while records wait and neither is known, for the moments before a first batch.
    """

    __slots__ = ("_monotonic", "_none_waited_ms", "_told", "_waiting_s", "scored_ms")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waiting_s, self._told = math.nan, math.inf
        self._none_waited_ms = self.scored_ms = 0

    def told(self, records: int, now_ms: int) -> None:
        if records < 0:
            return  # not known now
        if records == 0:
            self._none_waited_ms = now_ms
            self._waiting_s, self._told = 0.0, math.inf
            return
        since = max(self._none_waited_ms, self.scored_ms)
        self._waiting_s = max(0.0, (now_ms - since) / 1000) if since else math.nan
        self._told = self._monotonic()

    def seconds(self) -> float:
        """Now, also when nobody has looked since."""
        return self._waiting_s + max(0.0, self._monotonic() - self._told)


class PerPartition:
    """A gauge by partition, which forgets partitions that were given back."""

    __slots__ = ("_children", "_gauge")

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._children: dict[int, Gauge] = {}

    def set(self, partition: int, value: float) -> None:
        """Show a value."""
        self._child(partition).set(value)

    def ask(self, partition: int, value: Callable[[], float]) -> None:
        """Show what this says at each scrape."""
        self._child(partition).set_function(value)

    def drop(self, partition: int) -> None:
        """Show nothing any more."""
        if self._children.pop(partition, None) is not None:
            self._gauge.remove(str(partition))

    def _child(self, partition: int) -> Gauge:
        child = self._children.get(partition)
        if child is None:
            child = self._children[partition] = self._gauge.labels(str(partition))
        return child


def _since(moment: float | None, now: float) -> float:
    return 0.0 if moment is None else max(0.0, now - moment)
