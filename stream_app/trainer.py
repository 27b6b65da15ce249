"""The trainer's loop: stand by, restore, then poll, fold, publish. One process learns; the others stand by.

Beside the examples it heeds commands: which model a person wants to serve. One that was obeyed is remembered in the
snapshots, so it is obeyed once.

| crash after          | in Kafka          | on restart                                                              |
| -------------------- | ----------------- | ----------------------------------------------------------------------- |
| poll, fold           | nothing           | the same examples are folded again from the snapshot's offsets          |
| snapshot half sent   | an aborted one    | readers never see it; as above                                          |
| snapshot committed   | model and offsets | nothing is repeated, nothing skipped                                    |
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from stream_app import topics
from stream_app.backends.clients import KafkaClients
from stream_app.backends.ports import FencedError, LogError, UnusableError
from stream_app.backends.pulse import PULSE_S, KafkaPulse
from stream_app.backends.training_log import ExampleLog, SnapshotTail, SnapshotWriter, TrainerElection
from stream_app.core.example_decoding import UnreadableExampleError, decode_example
from stream_app.core.learner import Learner
from stream_app.core.model import NonFiniteError
from stream_app.core.priors import EntryKey
from stream_app.core.processor import Record
from stream_app.core.snapshots import (
    NEWER,
    Command,
    RefusedError,
    SnapshotReader,
    TooLargeError,
    encode_command,
    encode_snapshot,
    read_command,
    sign,
)
from stream_app.learning import new_learner
from stream_app.observe import Observer
from stream_app.patience import STUCK_S
from stream_app.settings import Settings

#: Entries signed anew with one snapshot: about 1 MB, so that it still is quick to write.
_SIGNED_ANEW_MAX: Final = 20_000

#: Examples folded between two looks at the clock and the event loop: 25 µs each, so a worker beside it waits 10 ms.
_EXAMPLES_PER_TURN: Final = 400

#: A poll returns at the latest after this, so that snapshots are on time.
_POLL_MS: Final = 100

#: Waiting examples past which snapshots are published this rarely (s): a shop's first half hour, which serves the base
#: rate anyway.
_CROWD: Final = 500
_CROWDED_S: Final = 5.0

#: First and longest pause before beginning again after Kafka failed or the election was lost.
_RETRY_S: Final = 1.0
_RETRY_S_MAX: Final = 5.0


class Trainer:
    """Learns `training.examples.v1` and publishes `model.snapshots.v1`."""

    def __init__(self, settings: Settings, observer: Observer, clients: KafkaClients | None = None) -> None:
        self._settings = settings
        self._observer = observer
        self._clients = clients or KafkaClients(settings)
        self._secret, *self._former = settings.snapshot_keys
        #: what a former key has signed, to be signed anew with the next snapshots: entries, the head, a command
        self._to_sign: list[EntryKey] = []
        self._head_to_sign = False
        self._others_to_sign: dict[bytes, bytes] = {}
        self._command_to_sign: Command | None = None
        self._pulse = KafkaPulse(observer, "trainer")
        self._stopping = asyncio.Event()
        self._poisoned: dict[int, int] = {}
        #: models that have outgrown their record → what is to be said of it
        self._too_large: dict[str, str] = {}
        #: standby, restoring, learning or stopped
        self.state = "standby"
        self.learner = new_learner(settings)
        self._published = _marker(self.learner)
        self._published_at = 0.0
        #: monotonic time of the last finished turn: what readiness looks at
        self.progress = time.monotonic()
        observer.trainer_progress(lambda: self.progress)

    def ready(self) -> tuple[bool, str]:
        """Learning or standing by, with a Kafka that answers."""
        if self._pulse.problem:
            return False, self._pulse.problem
        if time.monotonic() - self.progress > STUCK_S:
            return False, f"{self.state}: no progress for {STUCK_S:g} s"
        return self.state in ("learning", "standby"), self.state

    def stop(self) -> None:
        """Publish what was learned, then end."""
        self._stopping.set()

    async def run(self) -> None:
        """Stand by or learn until stopped."""
        election = TrainerElection(self._settings, self._clients)
        pulse = asyncio.create_task(self._feel_pulse(), name="trainer-pulse")
        try:
            pause = _RETRY_S
            while not self._stopping.is_set():
                started = time.monotonic()
                try:
                    if not await self._elected(election):
                        break
                    await self._learn(election)
                except LogError as error:
                    # The pulse tells of an outage once; each attempt in it is only counted.
                    self._observer.kafka_error("trainer", error, again=bool(self._pulse.problem))
                except FencedError as error:
                    self._observer.fenced(-1, str(error))
                    # We may have lost the election without having heard of it: the group is to decide anew.
                    await election.stop()
                except TooLargeError as error:
                    # Back to the last snapshot, where it still fitted. There it stays; nothing else is lost.
                    if error.model is not None:
                        self._too_large[error.model] = f"learns no more: {error}"
                    self._observer.model_error(str(error))
                except NonFiniteError as error:
                    # Back to the last good snapshot; the examples since then are not learned a second time.
                    self._poisoned = dict(self.learner.offsets)
                    self._observer.model_error(str(error))
                pause = _RETRY_S if time.monotonic() - started > _RETRY_S_MAX else min(2 * pause, _RETRY_S_MAX)
                await self._sleep(pause)
        finally:
            pulse.cancel()
            await asyncio.gather(pulse, return_exceptions=True)
            await election.stop()
            self._set_state("stopped")

    async def _feel_pulse(self) -> None:
        """Ask beside the loop whether Kafka is there: a transaction may hang for as long as it is not."""
        while True:
            tail = SnapshotTail(self._settings, self._clients)
            try:
                await tail.start()
                while True:
                    await tail.feel(self._pulse)
                    await asyncio.sleep(PULSE_S)
            except LogError as error:
                self._pulse.missed(error)
                await asyncio.sleep(_RETRY_S)
            finally:
                await tail.stop()

    async def _elected(self, election: TrainerElection) -> bool:
        if not election.started:
            await election.start()
        if not election.elected.is_set():
            self._set_state("standby")
        while not self._stopping.is_set():
            await election.touch()
            self.progress = time.monotonic()
            if election.elected.is_set():
                return True
            await self._sleep(0.2)
        return False

    async def _learn(self, election: TrainerElection) -> None:
        self._set_state("restoring")
        writer = SnapshotWriter(self._settings, self._clients)
        examples = ExampleLog(self._settings, self._clients)
        tail = SnapshotTail(self._settings, self._clients)
        try:
            # Fence first: only then is the newest snapshot the last one.
            await writer.start()
            await tail.start()
            self.learner = await self._restore(tail)
            self.learner.poisoned = self._poisoned
            for model, reason in self._too_large.items():
                self.learner.freeze(model, reason)
            for gap in await examples.start(self.learner.offsets):
                self._observer.model_error(gap)
            self._published_at = time.monotonic()
            self._set_state("learning")
            while not election.lost.is_set():
                stopping = self._stopping.is_set()
                if not stopping:
                    found = await examples.poll(timeout_ms=_POLL_MS, records_max=_EXAMPLES_PER_TURN)
                    self._fold(found)
                    self._observer.examples_lag(examples.lag())
                    for record in await tail.poll(timeout_ms=0):
                        self._heed(*record)
                await election.touch()
                due = time.monotonic() - self._published_at >= self._interval()
                if (due or stopping) and (_marker(self.learner) != self._published or self._must_sign_anew):
                    await self._publish(writer)
                self.progress = time.monotonic()
                if stopping:
                    return
        finally:
            await examples.stop()
            await tail.stop()
            await writer.stop()

    def _fold(self, found: list[tuple[int, Record]]) -> None:
        learner = self.learner
        before = learner.updates, learner.positives, learner.repeated
        for partition, record in found:
            try:
                example = decode_example(record.value)
                learner.fold(partition, record.offset, example)
            except (UnreadableExampleError, NonFiniteError) as error:
                # A single bad example, ours or forged: it is left out, and said aloud.
                learner.offsets[partition] = record.offset + 1
                self._observer.model_error(f"{record.topic}-{partition} offset {record.offset}: {error}")
                continue
            self._observer.example(example)
        if found:
            self._observer.examples(
                learner.updates - before[0],
                learner.positives - before[1],
                learner.repeated - before[2],
                len(learner.held),
                learner.cold,
            )

    async def _publish(self, writer: SnapshotWriter) -> None:
        started = time.monotonic()
        learner = self.learner
        learner.version += 1
        # Challengers first: one that has become useless is replaced, and the champion's record says so.
        challengers = learner.export_challengers()
        state = learner.export()
        changes = self._signed_anew() | learner.priors.table.take_changes()
        records = encode_snapshot(
            state,
            changes,
            challengers,
            version=learner.version,
            published_at=int(time.time() * 1000),
            secret=self._secret,
        )
        # In front: what this snapshot has under the same key comes after it.
        records[:0] = [(key, value, sign(key, value, self._secret)) for key, value in self._others_to_sign.items()]
        self._others_to_sign = {}
        if self._command_to_sign is not None:
            records.insert(0, encode_command(self._command_to_sign, secret=self._secret))
            self._command_to_sign = None
        self._head_to_sign = False
        self._published, self._published_at = _marker(learner), started
        await writer.write(records)
        self._observer.snapshot_published(
            learner.version, sum(len(value) for _, value, _ in records), time.monotonic() - started, len(records) - 1
        )
        self._observer.quality(learner)

    @property
    def _must_sign_anew(self) -> bool:
        return bool(self._to_sign or self._others_to_sign) or self._head_to_sign or self._command_to_sign is not None

    def _signed_anew(self) -> dict[EntryKey, list[float] | None]:
        """The next entries that only a former key has signed: they stay on the topic, and that key is to go."""
        now, self._to_sign = self._to_sign[:_SIGNED_ANEW_MAX], self._to_sign[_SIGNED_ANEW_MAX:]
        entries = self.learner.priors.table.entries() if now else {}
        return {(kind, name): entries.get(kind, {}).get(name) for kind, name in now}

    async def _restore(self, tail: SnapshotTail) -> Learner:
        """The learner of the newest good snapshot, or a new one; `tail` then stands at the end of what there was.

        A snapshot that cannot be used (of an older program, of another River) is as good as none: a new learner reads
        the examples from their beginning. Raises UnusableError if the newest is a newer program's.
        """
        learner = new_learner(self._settings)
        self._published = _marker(learner)
        reader = SnapshotReader(secret=self._secret, former=self._former, learning=True)
        command: Command | None = None
        self._command_to_sign = None
        newer: RefusedError | None = None
        end = await tail.end()
        while await tail.position() < end:
            for key, value, signature in await tail.poll(timeout_ms=500):
                try:
                    if (told := self._command(key, value, signature)) is not None:
                        command = told
                        self._command_to_sign = (
                            told if signature != encode_command(told, secret=self._secret)[2] else None
                        )
                    found = reader.read(key, value, signature)
                except RefusedError as error:
                    self._observer.snapshot_refused(error.reason, str(error))
                    newer = error if error.reason == NEWER else newer
                    continue
                if found is None:
                    continue
                newer = None
                try:
                    learner.restore(found.head.state, found.challengers)
                    learner.priors.table.put_changes(found.entries)
                    self._published = _marker(learner)
                except (ValueError, KeyError, TypeError) as error:
                    reader.put_back(found)
                    self._observer.snapshot_refused("unusable", repr(error))
            self.progress = time.monotonic()
        if newer is not None:
            # Ours would take its place, with what a model of the newer program has learned.
            raise UnusableError(
                f"{self._settings.topic(topics.SNAPSHOTS)}: {newer}: the newest snapshot is a newer program's; run "
                "that one, or give this one a new topic prefix, where it learns from what comes"
            )
        self._to_sign, self._head_to_sign = sorted(reader.signed_formerly), reader.head_signed_formerly
        self._others_to_sign = dict(reader.others_signed_formerly)
        if not learner.lineage:
            # Nothing to go on from: what an earlier learner has left on the topic is not this one's.
            learner.lineage = int(time.time() * 1000)
        self._observer.learner_restored(alarms=sum(learner.drift.counts().values()), changes=learner.champion.changed)
        if command is not None:
            self._obey(learner, command)
        return learner

    def _heed(self, key: bytes | None, value: bytes | None, signature: bytes | None) -> None:
        """A record that came to the snapshots while learning: ours, or a command."""
        try:
            command = self._command(key, value, signature)
        except RefusedError as error:
            self._observer.snapshot_refused(error.reason, str(error))
            return
        if command is not None:
            self._obey(self.learner, command)

    def _command(self, key: bytes | None, value: bytes | None, signature: bytes | None) -> Command | None:
        return read_command(key, value, signature, secret=self._secret, former=self._former)

    def _obey(self, learner: Learner, command: Command) -> None:
        if command.id in learner.champion.commands:
            return
        reason = "by hand" if command.model is not None else "by hand: log-loss chooses again"
        refused = learner.promote(command.model, reason=reason, command=command.id)
        if refused is not None:
            self._observer.command_refused(command.id, refused)

    def _interval(self) -> float:
        """Seconds between two snapshots; each carries the examples that wait, which may be megabytes."""
        wanted = self._settings.snapshot_interval_ms / 1000
        crowded = self.learner.cold and len(self.learner.held) > _CROWD
        return max(wanted, _CROWDED_S) if crowded else wanted

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _set_state(self, name: str) -> None:
        if name != self.state:
            self.state = name
            self._observer.trainer_state(name)


def _marker(learner: Learner) -> tuple[int, int, str]:
    """Moves with every example read, change noted and command heeded: then a snapshot is due."""
    champion = learner.champion
    return sum(learner.offsets.values()), champion.changed, next(reversed(champion.commands), "")
