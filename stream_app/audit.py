"""The audit of a whole run: reads every topic (committed records) and Redis, and proves or disproves exactness.

    report = await audit(settings)         report.clean, report.violations, report.repeated, report.unchecked

Workers should be idle or stopped: what is audited is what had been processed at the start, by the committed offsets,
and Redis may still be behind a worker that works. One partition is looked at after the other; of each event a few
numbers are remembered, see docs/audit.md for how much memory that takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from aiokafka import TopicPartition

from stream_app import topics
from stream_app.audit_reading import KafkaReading, NotPossibleError, Span, ViewReading
from stream_app.core.audit.model import ModelAudit
from stream_app.core.audit.outputs import letter_digest
from stream_app.core.audit.partition import PartitionAudit
from stream_app.core.audit.report import Check, Names, Report
from stream_app.core.audit.states import StatesAudit
from stream_app.core.effects import Position, decode_position
from stream_app.core.priors import EntryKey
from stream_app.core.snapshots import Head, RefusedError, SnapshotReader, signature_of
from stream_app.learning import new_learner
from stream_app.settings import Settings
from stream_app.worker import rules_of

__all__ = ["NotPossibleError", "Report", "audit"]

_OUTPUTS: Final = {
    "features": topics.FEATURES,
    "scores": topics.SCORES,
    "closed sessions": topics.CLOSED,
    "examples": topics.EXAMPLES,
}

#: A dead letter of a partition: its offset, the topic and offset it came from, and what it says.
_Letter = tuple[int, tuple[str, int], int]


async def audit(settings: Settings, *, progress: Callable[[str], None] = lambda text: None) -> Report:
    """Audit the deployment that these settings describe; `progress` is told what is being looked at.

    Raises
    ------
    NotPossibleError
        If Kafka or Redis does not answer, or the topics are not those that were processed.
    """
    async with KafkaReading(settings) as kafka, ViewReading(settings) as view:
        return await _Audit(settings, kafka, view, progress).run()


class _Audit:
    def __init__(
        self, settings: Settings, kafka: KafkaReading, view: ViewReading, progress: Callable[[str], None]
    ) -> None:
        self._settings, self._kafka, self._view, self._progress = settings, kafka, view, progress
        self._report = Report(settings.processing_guarantee)
        self._names = Names(
            *(
                settings.topic(name)
                for name in (
                    topics.EVENTS, topics.LABELS, topics.FEATURES, topics.SCORES, topics.EXAMPLES, topics.CLOSED,
                    topics.CHANGELOG, topics.SNAPSHOTS, topics.DEAD_LETTERS,
                )
            )
        )  # fmt: skip
        self._spans: dict[str, dict[int, Span]] = {}
        self._partitions = 0
        self._topic_ids: list[str] = []
        self._committed: dict[TopicPartition, tuple[int, str]] = {}

    async def run(self) -> Report:
        await self._look_around()
        model = await self._model()
        letters = await self._dead_letters()
        for partition in range(self._partitions):
            await self._audit_partition(partition, letters.get(partition, []), model)
        if model is not None:
            model.ends({partition: span.end for partition, span in self._spans[self._names.examples].items()})
            self._report.checks.append(model.finish())
            if model.behind:
                self._report.unchecked.append(f"model: {model.behind} examples were not learned yet")
        return self._report

    # ---- what there is ----------------------------------------------------------------------------------------------

    async def _look_around(self) -> None:
        """Topics, their spans, and then what is committed: outputs up to these ends are of committed batches."""
        facts = await self._kafka.topics()
        missing = [name for name in self._names if name not in facts or not facts[name].exists]
        if missing:
            raise NotPossibleError(
                f"topic {missing[0]} does not exist: are --kafka-bootstrap and --topic-prefix the workers'?"
            )
        self._partitions = facts[self._names.events].partitions
        for name in self._names[:7]:
            if facts[name].partitions != self._partitions:
                raise NotPossibleError(
                    f"got {facts[name].partitions} partitions of {name}, expected the {self._partitions} of the events"
                )
        for name in self._names:
            self._spans[name] = await self._kafka.spans(name, facts[name].partitions)
        inputs = (self._names.events, self._names.labels)
        self._committed = await self._kafka.committed(inputs, self._partitions)
        ids = [facts[name].topic_id or "" for name in (*inputs, self._names.changelog)]
        for partition in range(self._partitions):
            position = self._position(partition)
            told = position.topic_ids if position is not None else []
            if any(ids) and any(told) and told != ids[: len(told)]:
                raise NotPossibleError(
                    f"the group has committed offsets of topics with ids {told}, these have {ids}: a topic was deleted "
                    "and made again, and what the offsets mean is gone"
                )

    def _position(self, partition: int) -> Position | None:
        return decode_position(self._committed[TopicPartition(self._names.events, partition)][1])

    def _offset(self, topic: str, partition: int) -> int:
        """The next offset to process; the first kept one where nothing is committed."""
        offset, _ = self._committed[TopicPartition(topic, partition)]
        return offset if offset >= 0 else self._spans[topic][partition].start

    async def _dead_letters(self) -> dict[int, list[_Letter]]:
        """The dead letters of each input partition; those of adapters name no topic of ours."""
        found: dict[int, list[_Letter]] = {}
        name = self._names.dead_letters
        for number, span in self._spans[name].items():
            async for record in self._kafka.records(name, number, span):
                headers = {key: value.decode(errors="replace") for key, value in record.headers}
                source = headers.get("source_topic", "")
                partition, offset = headers.get("source_partition", ""), headers.get("source_offset", "")
                if source not in (self._names.events, self._names.labels):
                    continue
                if not (partition.isdigit() and offset.isdigit()):
                    continue
                digest = letter_digest(headers.get("reason", ""), record.key, record.value)
                found.setdefault(int(partition), []).append((record.offset, (source, int(offset)), digest))
        return found

    # ---- one partition ----------------------------------------------------------------------------------------------

    async def _audit_partition(self, partition: int, letters: list[_Letter], model: ModelAudit | None) -> None:
        self._progress(f"partition {partition}")
        names, position = self._names, self._position(partition)
        foldable = self._is_foldable(partition)
        trial = PartitionAudit(
            rules_of(self._settings),
            names,
            partition,
            partitions=self._partitions,
            exactly_once=self._settings.processing_guarantee != "at_least_once",
            events_offset=self._offset(names.events, partition),
            labels_offset=self._offset(names.labels, partition),
            position=position,
            starts={check: self._spans[self._settings.topic(name)][partition].start for check, name in _OUTPUTS.items()}
            | {"dead letters": max(span.start for span in self._spans[names.dead_letters].values())},
        )
        await self._read_outputs(trial, partition, model)
        for offset, source, digest in letters:
            trial.outputs.dead_letter(offset, source=source, digest=digest)
        states = StatesAudit(
            names,
            partition,
            gap_ms=self._settings.session_gap_ms,
            quiet_ms=self._settings.quiet_ms,
            start=self._spans[names.changelog][partition].start,
            expired_before_ms=int(time.time() * 1000) - self._settings.history_ttl_ms,
        )
        async for record in self._kafka.records(names.changelog, partition, self._spans[names.changelog][partition]):
            states.changelog(record.offset, record.timestamp, record.key, record.value)
        reached: int | None = None
        if foldable:
            await self._read_inputs(trial, partition)
            found = trial.finish()
            await self._quote(found, partition)
            self._report.checks += found
            reached = trial.reached.newest
            states.compare(trial.fold, ahead=trial.ahead)
        self._report.events += trial.events
        self._report.labels += trial.labels
        await self._read_view(states, partition, position, reached)
        self._report.checks += states.finish()

    async def _quote(self, checks: list[Check], partition: int) -> None:
        """Read the records that violations speak of once more: while comparing, only their digests are remembered."""
        outputs = {self._settings.topic(name) for name in _OUTPUTS.values()}
        for check in checks:
            places = {(v.topic, v.offset) for v in check.spelled if v.offset >= 0 and v.topic in outputs}
            read: dict[tuple[str, int], bytes] = {}
            for topic, offset in places:
                async for record in self._kafka.records(topic, partition, Span(offset, offset + 1)):
                    read[topic, offset] = record.value or b""
            check.quote_records(read)

    def _is_foldable(self, partition: int) -> bool:
        """Whether the input is there from its first record; without it nothing can be derived from it."""
        for topic in (self._names.events, self._names.labels):
            start = self._spans[topic][partition].start
            if start:
                self._report.unchecked.append(
                    f"partition {partition}: {topic} begins at offset {start}, what was before it is deleted: outputs "
                    "and states of this partition were not compared with it"
                )
                return False
        for check, name in _OUTPUTS.items():
            start = self._spans[self._settings.topic(name)][partition].start
            if start:
                self._report.unchecked.append(
                    f"partition {partition}: {self._settings.topic(name)} begins at offset {start}, what was before it "
                    f"is deleted: {check} up to there count as gone"
                )
        return True

    async def _read_outputs(self, trial: PartitionAudit, partition: int, model: ModelAudit | None) -> None:
        outputs = trial.outputs
        readers: dict[str, Callable[[int, Any, Any], bool]] = {
            "features": outputs.feature,
            "scores": outputs.score,
            "closed sessions": outputs.closed_session,
            "examples": outputs.example,
        }
        for check, read in readers.items():
            topic = self._settings.topic(_OUTPUTS[check])
            async for record in self._kafka.records(topic, partition, self._spans[topic][partition]):
                if not read(record.offset, record.key, record.value):
                    trial.unreadable(check, record.offset, record.value)
                if check == "examples" and model is not None:
                    model.example(partition, record.offset, record.value)

    async def _read_inputs(self, trial: PartitionAudit, partition: int) -> None:
        behind = 0
        labels, events = self._names.labels, self._names.events
        async for record in self._kafka.records(labels, partition, self._spans[labels][partition]):
            trial.label(record)
            behind += record.offset >= self._offset(labels, partition)
        async for record in self._kafka.records(events, partition, self._spans[events][partition]):
            trial.event(record)
            behind += record.offset >= self._offset(events, partition)
        if behind:
            self._report.behind[partition] = behind

    async def _read_view(
        self, states: StatesAudit, partition: int, committed: Position | None, reached: int | None
    ) -> None:
        stored = await self._view.position(partition)
        states.compare_positions(committed, stored, reached)
        if stored is None:
            if committed is not None:
                self._report.unchecked.append(
                    f"partition {partition}: Redis has nothing of group {self._settings.group_id!r}: wiped, or not "
                    "this deployment's; a worker that takes the partition over will rebuild it"
                )
            return
        deadlines = await self._view.deadlines(partition)
        async for visitors, blobs in self._view.blobs(partition, states.visitors()):
            states.view_blobs(visitors, blobs, deadlines)
        states.view_strangers(await self._view.visitors(partition))

    # ---- the model --------------------------------------------------------------------------------------------------

    async def _model(self) -> ModelAudit | None:
        """The newest good snapshot, on trial; None without one."""
        settings, name = self._settings, self._names.snapshots
        secret, *former = settings.snapshot_keys
        reader = SnapshotReader(secret=secret, former=former, learning=True)
        head: Head | None = None
        entries: dict[EntryKey, list[float]] = {}
        check = Check("snapshots", -1)
        async for record in self._kafka.records(name, 0, self._spans[name][0]):
            try:
                found = reader.read(record.key, record.value, signature_of(record.headers))
            except RefusedError as error:
                check.note = f"the last refused: offset {record.offset}, {error}"
                check.gone += 1
                continue
            if found is None:
                continue
            head, changes, _ = found
            check.found += 1
            for key, counts in changes:
                if counts is None:
                    entries.pop(key, None)
                else:
                    entries[key] = counts
        if check.gone:
            self._report.unchecked.append(f"snapshots: {check.gone} records were refused, {check.note}")
        if head is None:
            self._report.unchecked.append(f"model: no snapshot of {settings.model!r} yet")
            return None
        spans = self._spans[self._names.examples]
        if any(span.start for span in spans.values()):
            self._report.unchecked.append("model: examples were deleted, what it learned from them cannot be counted")
            return None
        return ModelAudit(
            self._names,
            head,
            entries,
            learner=new_learner(settings),
            alone=sum(span.end > 0 for span in spans.values()) <= 1,
        )
