"""What happens, said once: each internal event becomes its log line and its metrics here and nowhere else.

Log lines (`log_lines.py`) go to the logger `stream_app`. WARNING: recovered, nothing lost. ERROR: something is
lost, or a person must act. Nothing that happens for every event is above DEBUG, and a kind of line that repeats is cut
off after some a minute, with one line at the minute's end that says how many there were.

Metrics are those of `metrics.py`. Children of labelled families are looked up once and kept: a batch of 2,000 events
and 250 sessions that end costs about 550 µs here. One event loop calls all of this; nothing is locked.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, Counter, ProcessCollector

from stream_app import __version__
from stream_app.checkouts_told import checkouts_told
from stream_app.core.drift import Alarm
from stream_app.core.effects import DeadLetter, Effects
from stream_app.core.records import Example
from stream_app.histogram import Histogram, HistogramSeries
from stream_app.log_lines import Line
from stream_app.metrics import Metrics
from stream_app.partition_gauges import Owned, PartitionGauges
from stream_app.quality import QualityGauges
from stream_app.shop_gauges import ShopGauges
from stream_app.topics import EVENTS, LABELS

if TYPE_CHECKING:
    # With it come all models and their libraries: two seconds, and 150 MB, for those who have no use for them.
    from stream_app.core.learner import Learner

#: Lines of one kind in a minute: enough to see what is wrong, and a flood of bad input leaves the log readable.
LINES_PER_MINUTE_MAX: Final = 20

TRAINER_STATES: Final = ("standby", "restoring", "learning", "stopped")

#: What was being done when a server failed, by who does it: each has its series from the beginning.
RedisOp = Literal["partition", "view"]
WorkerOp = Literal["assignment", "group", "hand-over", "partition", "snapshots", "worker"]
TrainerOp = Literal["trainer"]
IngestOp = Literal["ingest"]
KafkaOp: TypeAlias = WorkerOp | TrainerOp | IngestOp

_MINUTE_S: Final = 60.0
#: Between two looks at the quality: it costs 5 to 15 ms.
_QUALITY_S: Final = 5.0
_LOG: Final = logging.getLogger("stream_app")


class _Length(msgspec.Struct, gc=False):
    """What is looked at of a closed session's record."""

    events: int
    duration_ms: int


_LENGTH_DECODER: Final = msgspec.json.Decoder(_Length)


class Observer:
    """Takes note of everything. One per process, on a registry of its own.

    Parameters
    ----------
    registry
        Where the metrics are registered; nothing else may have registered them.
    engine, guarantee
        Who folds and what is promised, for `intent_build_info`.
    worker, trainer, ingest
        What runs in this process: of what does not, there is nothing to show.
    monotonic
        Seconds that never go back; tests give their own.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        engine: str = "",
        guarantee: str = "",
        worker: bool = True,
        trainer: bool = True,
        ingest: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics = Metrics(registry, trainer=trainer, ingest=ingest)
        ProcessCollector(namespace="intent", registry=registry)
        metrics.gauge("intent_build_info").labels(__version__, platform.python_version(), engine, guarantee).set(1)
        self._monotonic = monotonic
        self._lines = _Lines(monotonic)
        # input
        self._events = _Counters(metrics.counter("intent_events_total"))
        self._labels = _Counters(metrics.counter("intent_labels_total"))
        self._dead_letters = _Counters(metrics.counter("intent_dead_letters_total"))
        self._partitions = PartitionGauges(metrics, monotonic)
        self._last_checkout = metrics.gauge("intent_last_checkout_time_seconds")
        self._ahead = metrics.counter("intent_events_ahead_total")
        self._bot_events = metrics.counter("intent_bot_events_total")
        self._bot_sessions = metrics.counter("intent_bot_sessions_total")
        self._strays = _Counters(metrics.counter("intent_stray_visitors_total"))
        # scores
        self._scores = _Counters(metrics.counter("intent_scores_total"))
        self._moments = _Counters(metrics.counter("intent_moments_total"))
        self._score = metrics.histogram("intent_score").labels()
        #: Public for the demo, which shows quantiles of it.
        self.end_to_end = metrics.histogram("intent_end_to_end_seconds").labels()
        self._stages = _Series(metrics.histogram("intent_stage_seconds"))
        self._batch_records = metrics.histogram("intent_batch_records").labels()
        # sessions and their state
        self._opened = metrics.counter("intent_sessions_opened_total")
        self._closed = _Counters(metrics.counter("intent_sessions_closed_total"))
        self._examples = metrics.counter("intent_examples_total")
        self._session_events = metrics.histogram("intent_session_events").labels()
        self._session_seconds = metrics.histogram("intent_session_seconds").labels()
        self._state_bytes = metrics.histogram("intent_state_bytes").labels()
        self._restore_seconds = _Series(metrics.histogram("intent_restore_seconds"))
        self._restored_visitors = _Counters(metrics.counter("intent_restored_visitors_total"))
        self._view_waits = _Counters(metrics.counter("intent_view_waits_total"))
        self._views_lost = metrics.counter("intent_views_lost_total")
        #: Public for the live page, which reads what it shows.
        self.shop = ShopGauges(metrics, monotonic)
        # failures
        self._ready = metrics.gauge("intent_ready")
        self._redis_seconds = _Series(metrics.histogram("intent_redis_seconds"))
        self._kafka_seconds = _Series(metrics.histogram("intent_kafka_seconds"))
        self._trainer_progress = metrics.gauge("intent_trainer_progress_age_seconds")
        self._trainer_progress.set(math.nan)
        of_worker, of_trainer = get_args(WorkerOp) if worker else (), get_args(TrainerOp) if trainer else ()
        self._redis_errors = _Counters(metrics.counter("intent_redis_errors_total"))
        self._redis_errors.begin(get_args(RedisOp) if worker else ())
        self._kafka_errors = _Counters(metrics.counter("intent_kafka_errors_total"))
        self._kafka_errors.begin((*of_worker, *of_trainer, *(get_args(IngestOp) if ingest else ())))
        self._fenced = metrics.counter("intent_fenced_total")
        self._unusable = metrics.counter("intent_unusable_total")
        # the model that serves
        self._model_version = metrics.gauge("intent_model_version")
        self._model_updates = metrics.gauge("intent_model_updates")
        self._model_cold = metrics.gauge("intent_model_cold")
        self._model_cold.set(1)
        self._snapshot_published = float("nan")
        metrics.gauge("intent_snapshot_age_seconds").set_function(self._snapshot_age)
        self._snapshot_bytes = metrics.gauge("intent_snapshot_bytes")
        self._followed = metrics.counter("intent_snapshots_followed_total")
        self._refused = _Counters(metrics.counter("intent_snapshots_refused_total"))
        self._was_cold = True
        # learning
        self._learned = metrics.counter("intent_examples_learned_total")
        self._checkouts = metrics.counter("intent_checkouts_learned_total")
        self._repeated = metrics.counter("intent_examples_repeated_total")
        self._outcomes = _Counters(metrics.counter("intent_outcomes_total"))
        self._examples_lag = metrics.gauge("intent_examples_lag_records")
        self._held = metrics.gauge("intent_examples_held")
        self._label_delay = metrics.histogram("intent_label_delay_seconds").labels()
        self._trainer_cold = metrics.gauge("intent_trainer_cold")
        self._trainer_was_cold = True
        self._trainer_state = metrics.gauge("intent_trainer_state")
        self._published = metrics.counter("intent_snapshots_published_total")
        self._published_version = metrics.gauge("intent_snapshot_published_version")
        self._published_bytes = metrics.counter("intent_snapshot_published_bytes_total")
        self._published_entries = metrics.counter("intent_snapshot_published_entries_total")
        self._publish_seconds = metrics.histogram("intent_snapshot_publish_seconds").labels()
        self._model_errors = metrics.counter("intent_model_errors_total")
        self._gauges = QualityGauges(metrics)
        self._gauges_set = -math.inf
        #: whose quality changed since it was shown last
        self._unshown: Learner | None = None
        #: alarms of drift and changes of champion that were told, None before the first look
        self._told: tuple[int, int] | None = None

    # ---- the worker -------------------------------------------------------------------------------------------------

    def batch(
        self,
        partition: int,
        effects: Effects,
        *,
        records: int,
        received_ms: Sequence[int],
        now_ms: int,
        stages: dict[str, float],
        first_offset: int = -1,
    ) -> None:
        """A batch was published.

        Parameters
        ----------
        partition, effects, records
            Whose batch it was, what it came to, and how many records it had.
        received_ms
            Broker timestamps of the events in it.
        now_ms
            When its outputs had been acknowledged.
        stages
            Stage → seconds.
        first_offset
            Of the first event: the one that waited longest, to which the latency's exemplar leads.
        """
        for (event_type, outcome), count in effects.events.items():
            if event_type != "unknown":  # those are the dead letters, counted with their topic below
                self._events.add(count, event_type, outcome)
        for outcome, count in effects.labels.items():
            self._labels.add(count, outcome)
        for band, count in effects.bands.items():
            self._scores.add(count, band)
        for kind, count in effects.moments_told.items():
            self._moments.add(count, kind)
        self._score.observe_many(effects.score_values)
        for letter in effects.dead_letters:
            self.dead_letter(letter)
        self._opened.inc(effects.sessions_opened)
        self._closed.add(effects.sessions_closed - effects.sessions_bound, "gap")
        self._closed.add(effects.sessions_bound, "bound")
        self._ahead.inc(effects.ahead)
        self._bot_events.inc(effects.bot_events)
        self._bot_sessions.inc(effects.bot_sessions)
        if effects.strays:
            self._strayed(partition, effects.strays)
        self._examples.inc(len(effects.examples))
        self._checkouts_told(effects, now_ms)
        self._sizes(effects)
        if records:
            self._batch_records.observe(records)
        if received_ms:
            self.end_to_end.observe_many(np.maximum(now_ms - np.asarray(received_ms), 0) / 1000.0)
            if first_offset >= 0:
                # Where to look, never who it was.
                where = {"partition": str(partition), "offset": str(first_offset), **_trace_of(effects)}
                self.end_to_end.point_at(max(now_ms - received_ms[0], 0) / 1000.0, where, time_s=now_ms / 1000)
            self._partitions.scored_up_to(partition, received_ms[-1])
        for stage, seconds in stages.items():
            self._stages.of(stage).observe(seconds)
        if _LOG.isEnabledFor(logging.DEBUG):
            shown = {stage: round(seconds, 6) for stage, seconds in stages.items()}
            _LOG.debug(Line("batch", partition=partition, seq=effects.position.seq, records=records, **shown))

    def _checkouts_told(self, effects: Effects, now_ms: int) -> None:
        """Remember when somebody last told of a checkout: a source that falls silent is seen by nothing else."""
        for source in checkouts_told(effects):
            self._last_checkout.labels(source).set(now_ms / 1000)

    def _sizes(self, effects: Effects) -> None:
        """How long the sessions were that ended, and how large the states are that were written."""
        if effects.closed:
            lengths = [_LENGTH_DECODER.decode(record) for _, record in effects.closed]
            self._session_events.observe_many(np.array([float(length.events) for length in lengths]))
            self._session_seconds.observe_many(np.array([length.duration_ms / 1000 for length in lengths]))
        if effects.states:
            sizes = [len(blob) for blob in effects.states.values() if blob is not None]
            self._state_bytes.observe_many(np.array(sizes, dtype=np.float64))

    def own(self, partition: int, owned: Owned) -> None:
        """A partition was given to this process; it is asked at each scrape how it does."""
        self._partitions.own(partition, owned)

    def lag(self, partition: int, records: int, watermark_time_ms: int, now_ms: int) -> None:
        """A poll has told how many input records wait, and how far event time has come (−1: not known)."""
        self._partitions.lag(partition, records, watermark_time_ms, now_ms)
        self._lines.end_minutes()

    def longest_wait_s(self) -> float:
        """How long the oldest record that waits has waited at most, in seconds; 0 when none waits."""
        return self._partitions.longest_wait_s()

    def open_sessions(self, partition: int, visitors: int) -> None:
        """So many visitors have an open session now."""
        self._partitions.open_visitors.set(partition, visitors)

    def cache(self, partition: int, visitors: int) -> None:
        """So many states are in memory now."""
        self._partitions.cached_visitors.set(partition, visitors)

    def partition_state(self, partition: int, state: str) -> None:
        """A partition is in one of `PARTITION_STATES`."""
        self._partitions.state(partition, state)
        _LOG.info(Line("partition", partition=partition, state=state))

    def restored(self, partition: int, source: str, visitors: int, seconds: float, reason: str) -> None:
        """A partition's view was brought up from `source`."""
        self._restore_seconds.of(source).observe(seconds)
        self._restored_visitors.add(visitors, source)
        _LOG.info(
            Line("restored", partition=partition, source=source, visitors=visitors, seconds=seconds, reason=reason)
        )

    def behind(self, partition: int, *, queued: int, view: float) -> None:
        """A batch has reached Redis, in so many seconds. `queued` ones still wait."""
        self._partitions.view_queue.set(partition, queued)
        self._stages.of("view").observe(view)

    def view_behind(self, partition: int, batches: int) -> None:
        """Scoring waits, because so many batches wait for Redis."""
        self._partitions.view_queue.set(partition, batches)
        self._view_waits.add(1, str(partition))
        self._lines.warning(f"view_behind {partition}", lambda: Line(
            "view_behind", partition=partition, batches=batches, consequence="scoring waits for Redis",
        ), most=1)  # fmt: skip

    def view_lost(self, partition: int, reason: str) -> None:
        """Redis is not what it should be; it will be restored from the changelog."""
        self._views_lost.inc()
        _LOG.warning(Line("view_lost", partition=partition, reason=reason, next="restored from the changelog"))

    def offsets_lost(self, partition: int, events_offset: int, labels_offset: int) -> None:
        """The group has no offsets any more; reading goes on from the view's. Dead letters may repeat."""
        _LOG.warning(
            Line("offsets_lost", partition=partition, events_offset=events_offset, labels_offset=labels_offset,
                  next="reading goes on from the position in Redis")
        )  # fmt: skip

    def covered_up(self, partition: int, visitors: int) -> None:
        """A former owner wrote older states over those of so many visitors; the newer ones were written again."""
        _LOG.warning(Line("covered_up", partition=partition, visitors=visitors, next="newer states written again"))

    def forgotten(self, partition: int, offset: int) -> None:
        """A visitor was forgotten, as the record at this offset of the events asked for."""
        _LOG.info(Line("forgotten", partition=partition, offset=offset))

    def redis_error(self, op: RedisOp, error: Exception, *, again: bool = False) -> None:
        """A call to Redis failed and will be tried again; `again` counts it without a line of its own."""
        self._redis_errors.add(1, op)
        if not again:
            self._failed("redis_error", op, error)

    def kafka_error(self, op: KafkaOp, error: Exception, *, again: bool = False) -> None:
        """A call to Kafka failed and will be tried again; `again` counts it without a line of its own."""
        self._kafka_errors.add(1, op)
        if not again:
            self._failed("kafka_error", op, error)

    def redis_answered(self, op: str, seconds: float) -> None:
        """Redis has answered a call."""
        self._redis_seconds.of(op).observe(seconds)

    def kafka_answered(self, op: str, seconds: float) -> None:
        """Kafka has answered a call."""
        self._kafka_seconds.of(op).observe(seconds)

    def back(self, server: str, seconds: float, *, partition: int = -1) -> None:
        """A server answers again, after so many seconds; the partition that waited, or −1 for the process."""
        _LOG.info(Line("back", server=server, partition=partition, seconds=round(seconds, 3)))

    def fenced(self, partition: int, reason: str) -> None:
        """Another process has the partition (−1: the training); this one gives it up, and nothing is lost."""
        self._fenced.inc()
        _LOG.warning(Line("fenced", partition="trainer" if partition < 0 else partition, reason=reason))

    def unusable(self, partition: int, reason: str) -> None:
        """A partition stands still until a person acts."""
        self._unusable.inc()
        _LOG.error(Line("unusable", partition=partition, reason=reason))

    def dead_letter(self, letter: DeadLetter) -> None:
        """A record was rejected and is kept on the dead letters' topic."""
        topic = _base_topic(letter.topic)
        self._dead_letters.add(1, topic, letter.reason)
        if topic == EVENTS:
            self._events.add(1, "unknown", "rejected")
        # The detail may quote the record: it is in the dead letter's headers, and here only for who debugs.
        told = {"detail": letter.detail} if _LOG.isEnabledFor(logging.DEBUG) else {}
        self._lines.warning("dead_letter", lambda: Line(
            "dead_letter", topic=letter.topic, partition=letter.partition, offset=letter.offset, reason=letter.reason,
            **told,
        ))  # fmt: skip

    def _strayed(self, partition: int, visitors: int) -> None:
        """Visitors were found on a partition where the shop's partitioner does not put them."""
        self._strays.add(visitors, str(partition))
        self._lines.warning(f"stray_visitors {partition}", lambda: Line(
            "stray_visitors", partition=partition, visitors=visitors,
            consequence="their sessions are split between partitions",
            hint="let every producer use the same partitioner; a few at a worker's start may be false",
        ), most=1)  # fmt: skip

    def snapshot_followed(self, version: int, age_seconds: float, bytes: int, updates: int, cold: bool) -> None:
        """A worker serves another model from now on."""
        self._followed.inc()
        self._model_version.set(version)
        self._model_updates.set(updates)
        self._model_cold.set(cold)
        self._snapshot_bytes.set(bytes)
        self._snapshot_published = self._monotonic() - age_seconds
        warmed, self._was_cold = self._was_cold and not cold, cold
        # Two a second are not news; that scores mean something from now on is.
        _LOG.log(
            logging.INFO if warmed else logging.DEBUG,
            Line("snapshot_followed", version=version, updates=updates, cold=cold, bytes=bytes, age=age_seconds),
        )

    def snapshot_refused(self, reason: str, detail: str) -> None:
        """A snapshot was not believed; the model before it goes on serving."""
        self._refused.add(1, reason)
        self._lines.error("snapshot_refused", lambda: Line("snapshot_refused", reason=reason, detail=detail))

    # ---- the trainer ------------------------------------------------------------------------------------------------

    def examples(self, learned: int, positives: int, repeated: int, held: int, cold: bool) -> None:
        """So many examples were learned, ending so many bought episodes, and `repeated` passed over; `held` wait."""
        self._learned.inc(learned)
        # A correction takes a checkout back; a counter only counts.
        self._checkouts.inc(max(0, positives))
        self._repeated.inc(repeated)
        self._held.set(held)
        self._trainer_cold.set(cold)
        if self._trainer_was_cold and not cold:
            _LOG.info(Line("warm", meaning="enough was learned: the model's own scores are served from now on"))
        self._trainer_was_cold = cold

    def example(self, example: Example) -> None:
        """The trainer has read an example."""
        self._outcomes.add(1, example.label_source, "1" if example.label else "0")
        if example.label:
            self._label_delay.observe((example.label_time - example.event_time) / 1000)

    def examples_lag(self, records: int) -> None:
        """So many examples have not been read yet; said at every turn of the trainer, also when nothing comes."""
        self._examples_lag.set(records)
        if self._unshown is not None and self._monotonic() - self._gauges_set >= _QUALITY_S:
            self._show_quality(self._unshown)

    def snapshot_published(self, version: int, bytes: int, seconds: float, entries: int) -> None:
        """A snapshot is in Kafka."""
        self._published.inc()
        self._published_version.set(version)
        self._published_bytes.inc(bytes)
        self._published_entries.inc(entries)
        self._publish_seconds.observe(seconds)
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug(Line("snapshot_published", version=version, bytes=bytes, seconds=seconds, entries=entries))

    def learner_restored(self, *, alarms: int, changes: int) -> None:
        """The trainer goes on from a snapshot with so many alarms of drift and changes of champion: no news."""
        self._told = alarms, changes
        self._gauges.begin(changes=changes)

    def quality(self, learner: Learner) -> None:
        """A snapshot of the learner was published: say how good its scores were, what has drifted, and who serves."""
        alarms, changes = sum(learner.drift.counts().values()), learner.champion.changed
        alarms_told, changes_told = self._told or (alarms, changes)
        self._told = alarms, changes
        for alarm in learner.drift.alarms[-(alarms - alarms_told) :] if alarms > alarms_told else ():
            self._drifted(alarm)
        for change in learner.champion.changes[-(changes - changes_told) :] if changes > changes_told else ():
            _LOG.info(Line("champion", model=change.name, former=change.former, reason=change.reason))
        if self._told == (alarms_told, changes_told) and self._monotonic() - self._gauges_set < _QUALITY_S:
            # Not forgotten: it may be the last one for hours.
            self._unshown = learner
            return
        self._show_quality(learner)

    def _show_quality(self, learner: Learner) -> None:
        self._unshown, self._gauges_set = None, self._monotonic()
        self._gauges.show(learner)

    def _drifted(self, alarm: Alarm) -> None:
        self._lines.warning("drift", lambda: Line(
            "drift", what=alarm.what, usual=alarm.usual, now=alarm.now, size=alarm.size, time=alarm.time,
            hint="the shop, its feed or the model has changed: docs/adr/0024",
        ))  # fmt: skip

    def trainer_state(self, state: str) -> None:
        """The trainer is in one of `TRAINER_STATES`."""
        for name in TRAINER_STATES:
            self._trainer_state.labels(name).set(name == state)
        _LOG.info(Line("trainer", state=state))

    def command_refused(self, command: str, reason: str) -> None:
        """A person asked for a champion that cannot be; who asked is told as well."""
        _LOG.warning(Line("command_refused", command=command, reason=reason))

    def model_error(self, detail: str) -> None:
        """Learning came to something that is not finite, and was undone."""
        self._model_errors.inc()
        self._lines.error("model_error", lambda: Line("model_error", detail=detail))

    def trainer_progress(self, progress: Callable[[], float]) -> None:
        """Ask at every scrape for the monotonic time at which the trainer last came round."""
        self._trainer_progress.set_function(lambda: self._monotonic() - progress())

    # ---- both -------------------------------------------------------------------------------------------------------

    def readiness(self, component: str, ready: Callable[[], tuple[bool, str]]) -> None:
        """Ask a component at every scrape whether it is ready."""
        self._ready.labels(component).set_function(lambda: float(ready()[0]))

    def _failed(self, event: str, op: str, error: Exception) -> None:
        self._lines.warning(
            f"{event} {op}",
            lambda: Line(event, op=op, error=type(error).__name__, detail=str(error), next="tried again"),
        )

    def _snapshot_age(self) -> float:
        return self._monotonic() - self._snapshot_published


def _trace_of(effects: Effects) -> dict[str, str]:
    """The trace of an event of the batch, where one is traced: `trace_id` of its W3C traceparent."""
    for headers in effects.score_headers.values():
        for name, value in headers:
            if name == "traceparent":
                return {"trace_id": value.decode().split("-")[1]}
    return {}


class _Counters:
    """A labelled counter whose children are kept by their label values."""

    __slots__ = ("_children", "_counter")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._children: dict[tuple[str, ...], Counter] = {}

    def add(self, count: int, *values: str) -> None:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._counter.labels(*values)
        child.inc(count)

    def begin(self, values: Iterable[str]) -> None:
        """Show 0 for these, of one label: the rate of a series that begins with its first count misses that one."""
        for value in values:
            self.add(0, value)


class _Series:
    """A histogram by its one label."""

    __slots__ = ("_children", "_histogram")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._children: dict[str, HistogramSeries] = {}

    def of(self, value: str) -> HistogramSeries:
        child = self._children.get(value)
        if child is None:
            child = self._children[value] = self._histogram.labels(value)
        return child


class _Lines:
    """Log lines that may come in floods: some a minute of each kind, then one that counts the rest."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        #: kind → its minute's beginning, lines so far, level
        self._minutes: dict[str, tuple[float, int, int]] = {}
        self._most: dict[str, int] = {}

    def warning(self, kind: str, text: Callable[[], Line], *, most: int = LINES_PER_MINUTE_MAX) -> None:
        self._log(logging.WARNING, kind, text, most)

    def error(self, kind: str, text: Callable[[], Line], *, most: int = LINES_PER_MINUTE_MAX) -> None:
        self._log(logging.ERROR, kind, text, most)

    def end_minutes(self) -> None:
        """Count what was left out in the minutes that are over."""
        if not self._minutes:
            return
        now = self._monotonic()
        for kind in [kind for kind, (begun, _, _) in self._minutes.items() if now - begun >= _MINUTE_S]:
            _, lines, level = self._minutes.pop(kind)
            if lines > self._most[kind]:
                left_out = lines - self._most[kind]
                _LOG.log(level, Line(kind.split(" ")[0], left_out=left_out, of=lines, within="the last minute"))

    def _log(self, level: int, kind: str, text: Callable[[], Line], most: int) -> None:
        self.end_minutes()
        begun, lines, _ = self._minutes.get(kind, (self._monotonic(), 0, level))
        self._minutes[kind] = (begun, lines + 1, level)
        self._most[kind] = most
        if lines < most:
            _LOG.log(level, text())


def _base_topic(topic: str) -> str:
    """A topic's name without the deployment's prefix; `reason` and topic together have a few dozen values."""
    return EVENTS if topic.endswith(EVENTS) else LABELS if topic.endswith(LABELS) else "other"
