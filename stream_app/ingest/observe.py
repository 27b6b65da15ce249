"""What happens while a raw topic is taken in, said once: each event its log line and its metrics.

What it has in common with a worker — lag, failures, dead letters, states of partitions — is the worker's observer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

import numpy as np
from prometheus_client import CollectorRegistry

from stream_app.door_findings import DoorFindings
from stream_app.ingest.adapting import Batch
from stream_app.log_lines import Line
from stream_app.observe import Observer
from stream_app.partition_gauges import PerPartition

_LOG: Final = logging.getLogger("stream_app")

#: Between two lines that say what came, in seconds.
_TOLD_S: Final = 60.0


class Watched(Protocol):
    """What is asked of a partition at each scrape: monotonic times, in seconds."""

    progress: float
    failing_since: float | None


class IngestObserver(Observer):
    """Takes note of everything. One per process; `registry` is where the metrics are shown."""

    def __init__(self, registry: CollectorRegistry, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(
            registry, guarantee="exactly_once", worker=False, trainer=False, ingest=True, monotonic=monotonic
        )
        metrics = self._metrics
        self._records = metrics.counter("intent_ingest_records_total")
        for outcome in ("events", "ignored", "rejected"):
            self._records.labels(outcome)
        self._taken_in = metrics.counter("intent_ingest_events_total")
        self._ignored = metrics.counter("intent_ingest_ignored_total")
        self._door = DoorFindings(metrics)
        self._seconds = metrics.histogram("intent_ingest_seconds").labels()
        self._schemas = metrics.counter("intent_ingest_schemas_total")
        for outcome in ("found", "unknown", "away"):
            self._schemas.labels(outcome)
        self._progress_age = PerPartition(metrics.gauge("intent_progress_age_seconds"))
        self._failing = PerPartition(metrics.gauge("intent_failing_seconds"))
        self._came_since, self._came = monotonic(), {"records": 0, "events": 0, "rejected": 0, "ignored": 0}

    def format_told(self, topic: str, name: str, why: str) -> None:
        """The format of the topic's records is known, and how."""
        _LOG.info(Line("ingest_format", topic=topic, format=name, why=why))

    def schema(self, number: int, outcome: Literal["found", "unknown"], what: str) -> None:
        """The schema registry was asked for a schema: of records called so, or of none that can be read; or unknown."""
        self._schemas.labels(outcome).inc()
        if outcome == "found":
            _LOG.info(Line("ingest_schema", id=number, what=what))
        else:
            self._lines.warning("ingest_schema", lambda: Line(
                "ingest_schema", id=number, what="unknown to the registry", consequence="its records are dead letters",
            ))  # fmt: skip

    def registry_error(self, partition: int, error: Exception) -> None:
        """The schema registry gave no answer of use; it is asked again until it does, and the partition waits."""
        self._schemas.labels("away").inc()
        self._failed("schema_registry_error", f"partition {partition}", error)

    def watch(self, partition: int, watched: Watched) -> None:
        """A partition was given to us; it is asked at each scrape how it does."""
        self._progress_age.ask(partition, lambda: self._monotonic() - watched.progress)
        self._failing.ask(
            partition,
            lambda: 0.0 if watched.failing_since is None else self._monotonic() - watched.failing_since,
        )

    def partition_state(self, partition: int, state: str) -> None:
        """A partition is in one of `PARTITION_STATES`."""
        super().partition_state(partition, state)
        if state == "stopped":
            self._progress_age.drop(partition)
            self._failing.drop(partition)

    def stage(self, stage: Literal["adapt", "publish"], seconds: float) -> None:
        """A batch has passed a stage."""
        self._stages.of(stage).observe(seconds)

    def written(self, partition: int, batch: Batch, *, topic: str, now_ms: int) -> None:
        """A batch of the raw topic was committed, at this time."""
        for event, received_ms in batch.taken:
            self._door.event(topic, event, received_ms=received_ms)
        self._door.unknown_types(topic, batch.unknown_types)
        for outcome, count in batch.outcomes.items():
            self._records.labels(outcome).inc(count)
        for event_type, count in batch.types.items():
            self._taken_in.labels(event_type).inc(count)
        self._ignored.inc(batch.ignored)
        self._batch_records.observe(batch.records)
        for letter in batch.letters:
            self.dead_letter(letter)
        if batch.received_ms:
            self._seconds.observe_many(np.maximum(now_ms - np.asarray(batch.received_ms), 0) / 1000.0)
            self._partitions.scored_up_to(partition, batch.received_ms[-1])
        found = (batch.records, batch.types.total(), len(batch.letters), batch.ignored)
        for name, count in zip(self._came, found, strict=True):
            self._came[name] += count
        self.tell()

    def tell(self) -> None:
        """Say what came in the last minute, if it is over and something did."""
        seconds = self._monotonic() - self._came_since
        if seconds < _TOLD_S:
            return
        if self._came["records"]:
            rate = self._came["records"] / seconds
            _LOG.info(Line("ingested", **self._came, seconds=round(seconds), records_per_second=round(rate, 1)))
        self._came_since, self._came = self._monotonic(), dict.fromkeys(self._came, 0)
