"""What happens in the collector, said once: each event becomes its log line and its metrics here.

As in `stream_app/observe.py`: WARNING is recovered, ERROR is for a person; nothing is written for every request, and no
line has a write key, an address or anything that was sent.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector

from stream_app import __version__
from stream_app.collect.core.reading import Kind, Letter, Reading
from stream_app.collect.core.refusal import OUTCOMES, TAKEN
from stream_app.core.codec import REJECT_REASONS
from stream_app.door_findings import DoorFindings
from stream_app.log_lines import Line
from stream_app.metrics import Metrics

_LOG: Final = logging.getLogger("stream_app")

#: Between two lines about rejected events, in seconds: a broken page is opened by many.
_REJECTED_LINE_S: Final = 60.0


class CollectObserver:
    """Takes note of everything. One per process; `registry` is where the metrics are shown."""

    def __init__(self, registry: CollectorRegistry, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        metrics = Metrics(registry, collector=True)
        ProcessCollector(namespace="intent", registry=registry)
        metrics.gauge("intent_build_info").labels(__version__, platform.python_version(), "python", "").set(1)
        self._monotonic = monotonic
        self._ready = metrics.gauge("intent_ready")
        self._requests = metrics.counter("intent_collect_requests_total")
        self._events = metrics.counter("intent_collect_events_total")
        self._rejected = metrics.counter("intent_collect_rejected_total")
        self._moved = metrics.counter("intent_collect_times_corrected_total")
        self._door = DoorFindings(metrics)
        self._seconds = metrics.histogram("intent_collect_seconds").labels()
        self._acknowledged = metrics.histogram("intent_collect_acknowledge_seconds").labels()
        self._group = metrics.histogram("intent_collect_group_records").labels()
        self._waiting = metrics.gauge("intent_collect_waiting_bytes")
        self._kafka_errors = metrics.counter("intent_kafka_errors_total").labels("collect")
        self._failing = False
        self._lines = _OnceAMinute(monotonic)
        # Series that begin with their first count would hide it from a rate.
        for outcome in OUTCOMES:
            self._requests.labels(outcome)
        for kind in get_args(Kind):
            for outcome in ("accepted", "rejected", "ignored"):
                self._events.labels(kind, outcome)
        for reason in REJECT_REASONS:
            self._rejected.labels(reason)

    def readiness(self, ready: Callable[[], tuple[bool, str]]) -> None:
        """Ask at each scrape."""
        self._ready.labels("collector").set_function(lambda: float(ready()[0]))

    def waiting(self, count: Callable[[], int]) -> None:
        """Ask at each scrape for the bytes of requests in hand."""
        self._waiting.set_function(lambda: float(count()))

    def listening(self, url: str, *, keys: int, origins: int) -> None:
        """The port answers."""
        _LOG.info(Line("collecting", url=url, write_keys=keys, origins=origins))

    def taken(self, reading: Reading, seconds: float, *, source: str, received_ms: int) -> None:
        """A request was taken, under this write key: all of it is acknowledged."""
        self._requests.labels(TAKEN).inc()
        self._seconds.observe(seconds)
        for result in reading.results:
            self._events.labels(reading.kind, result.outcome).inc()
            if result.outcome == "rejected":
                self._rejected.labels(result.reason).inc()
        self._moved.inc(reading.moved)
        for event in reading.events:
            self._door.event(source, event, received_ms=received_ms)
        self._door.unknown_types(source, reading.unknown_types)
        self._door.wrong_clock(source, reading.moved, behind_ms=reading.behind_ms)
        if reading.letters:
            self._told_rejected(reading.letters, reading.kind)

    def refused(self, outcome: str) -> None:
        """A request was refused, for one of `OUTCOMES`."""
        self._requests.labels(outcome).inc()

    def failed(self, error: BaseException | None) -> None:
        """A request met a mistake of ours; its sender is told, and may repeat it."""
        self._requests.labels("failed").inc()
        _LOG.error(Line("collect_failed", error=type(error).__name__), exc_info=error)

    def acknowledged(self, records: int, seconds: float) -> None:
        """Kafka has acknowledged a group of records of one partition."""
        self._acknowledged.observe(seconds)
        self._group.observe(records)

    def kafka_error(self, error: Exception) -> None:
        """Kafka could not be reached or written to; senders are told to repeat."""
        self._kafka_errors.inc()
        if not self._failing:
            _LOG.warning(
                Line("kafka_error", op="collect", error=type(error).__name__, detail=str(error), next="tried again")
            )
        self._failing = True

    def connected(self, seconds: float) -> None:
        """Connected, so many seconds after the connection was lost."""
        if self._failing:
            _LOG.info(Line("back", server="kafka", partition=-1, seconds=round(seconds, 3)))
        self._failing = False

    def _told_rejected(self, letters: Sequence[Letter], kind: str) -> None:
        for letter in letters:
            reason = letter.rejected.reason
            since = self._lines.due(f"{kind} {reason}")
            if since is not None:
                _LOG.warning(Line("collect_rejected", kind=kind, reason=reason, since_the_last_line=since))


class _OnceAMinute:
    """Which of many equal events are worth a line: the first, then one a minute that counts them."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        #: what → when its last line was, and how many there have been since
        self._last: dict[str, tuple[float, int]] = {}

    def due(self, what: str) -> int | None:
        """How many there were since the last line, this one included; None while it is too early for another."""
        now = self._monotonic()
        last, count = self._last.get(what, (now - _REJECTED_LINE_S, 0))
        if now - last < _REJECTED_LINE_S:
            self._last[what] = last, count + 1
            return None
        self._last[what] = now, 0
        return count + 1
