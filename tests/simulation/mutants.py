"""Bugs to plant: what the simulator must find, or it finds nothing. Each is a small change to the shipping code.

`docs/simulation.md` says which check finds which, and at which seed; `test_mutants.py` holds that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from unittest import mock

import msgspec
from aiokafka.errors import IllegalOperation, InvalidProducerEpoch, ProducerFenced
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_app.announcing import Announcements
from stream_app.backends import clients, writers
from stream_app.backends.clients import FAILURES, all_acknowledged
from stream_app.backends.kafka import KafkaPartitionLog
from stream_app.backends.memory import MemoryView
from stream_app.backends.ports import FencedError, LogError
from stream_app.backends.writers import ExactlyOnceWriter
from stream_app.core.effects import Effects, Planned, Position
from stream_app.core.learner import Learner
from stream_app.core.plan import Plan
from stream_app.core.watermark import Watermark
from stream_app.partition import Partition
from stream_app.taking_over import TakenOver, TakingOver
from stream_app.trainer import Trainer
from stream_app.worker import Worker
from tests.simulation.network import Zombies
from tests.simulation.run import Climate, Outcome, simulate


class Mutant(NamedTuple):
    """A planted bug: where, what instead, and under which guarantee it does harm."""

    says: str
    guarantee: str
    changes: list[tuple[Any, str, Callable[..., Any]]]
    climate: Climate = Climate()

    def run(self, seed: int) -> Outcome:
        """A seed with the bug."""
        return simulate(seed, self.guarantee, self.planted(), climate=self.climate)

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """The bug is there."""
        with contextlib.ExitStack() as stack:
            for place, name, instead in self.changes:
                stack.enter_context(mock.patch.object(place, name, instead))
            yield


# ---- the order of a batch's steps -----------------------------------------------------------------------------------

_init: Final = Partition.__init__


def _redis_first(self: Partition, *given: Any, **more: Any) -> None:
    _init(self, *given, **more)
    publish, write = self.log.publish, self.view.write
    written: set[int] = set()

    async def early(effects: Effects) -> int:
        position = effects.position
        stored = await self.behind.patiently(
            lambda: write(
                self.partition,
                expected_seq=position.seq - 1,
                position=position,
                states=effects.states,
                deadlines=effects.deadlines,
            )
        )
        if stored is not None:
            raise LogError("the view is not where it should be")
        written.add(position.seq)
        return await publish(effects)

    async def late(partition: int, *, position: Position, **rest: Any) -> Position | None:
        return None if position.seq in written else await write(partition, position=position, **rest)

    self.log.publish = early  # type: ignore[method-assign]
    self.view = mock.Mock(wraps=self.view)
    self.view.write = late
    self.behind.view = self.view


async def _unawaited(self: ExactlyOnceWriter, producer: Any, effects: Effects) -> int:
    await producer.begin_transaction()
    waiting = await self._sender.outputs(producer, effects)
    written = await self._sender.changelog(producer, effects)
    await producer.send_offsets_to_transaction(self._sender.offsets(effects.position), self._group_id)
    await producer.commit_transaction()
    acknowledged = await asyncio.gather(*(future for future, _ in written), *waiting, return_exceptions=True)
    if not written or isinstance(acknowledged[len(written) - 1], BaseException):
        return -1
    return writers._next_offset(acknowledged, written)


_publish_once: Final = ExactlyOnceWriter.publish


async def _timers_apart(self: ExactlyOnceWriter, effects: Effects) -> int:
    if effects.events or effects.labels or effects.dead_letters:
        return await _publish_once(self, effects)
    producer = self._clients.producer(client_id=self._client_id)
    await producer.start()
    try:
        await all_acknowledged(await self._sender.outputs(producer, effects))
        written = await self._sender.changelog(producer, effects)
        acknowledged = await all_acknowledged([future for future, _ in written])
    except FAILURES as error:
        raise LogError(f"writing: {error!r}") from error
    finally:
        await producer.stop()
    return writers._next_offset(acknowledged, written) if written else -1


async def _not_yet(self: Announcements, position: Position, plan: Plan, idle_ms: int, *, durable: Position) -> None:
    planned = self._planned(position, plan.events_offset, plan.labels_offset, idle_ms)
    self._later = durable, planned  # type: ignore[attr-defined]


_carry_out: Final = Partition._carry_out


async def _announced_after(self: Partition, *given: Any, **more: Any) -> Effects | None:
    effects = await _carry_out(self, *given, **more)
    if (later := self._announcements.__dict__.pop("_later", None)) is not None:
        await self._announcements._commit(*later)
    return effects


def _labels_taken_anyway(self: Announcements, position: Position) -> float:
    return 0.0


_carry_out_again: Final = Partition._carry_out_again


async def _advance_lost(self: Partition, planned: Planned) -> bool:
    seq = self.processor.position.seq
    more_due = await _carry_out_again(self, planned)
    if self.processor.position.seq == seq:
        self.processor.position.watermark = planned.watermark.copy()
    return more_due


# ---- taking over ----------------------------------------------------------------------------------------------------

_take_over: Final = KafkaPartitionLog.take_over
_changelog_end: Final = KafkaPartitionLog.changelog_end
_catch_up: Final = TakingOver._catch_up
_run: Final = TakingOver.run


async def _offsets_before_fencing(self: KafkaPartitionLog) -> Any:
    fence = self._writer.fence
    with mock.patch.object(self._writer, "fence", mock.AsyncMock()):
        found = await _take_over(self)
    await fence()
    return found


async def _end_before_fencing(self: KafkaPartitionLog) -> Any:
    self._early_end = await _changelog_end(self)  # type: ignore[attr-defined]
    return await _take_over(self)


async def _early_end(self: KafkaPartitionLog) -> int:
    return int(self._early_end)  # type: ignore[attr-defined]


async def _trusting(self: TakingOver, base: Position, stored: Position, *rest: Any) -> Any:
    return await _catch_up(self, base, msgspec.structs.replace(stored, changelog_end=rest[-1]), *rest)


async def _skipping(self: TakingOver, **given: Any) -> TakenOver:
    taken = await _run(self, **given)
    planned = taken.planned
    if planned is None:
        return taken
    position = msgspec.structs.replace(taken.position, events_offset=planned.events_to, labels_offset=planned.labels_to)
    await self._log.seek(events_offset=planned.events_to, labels_offset=planned.labels_to)
    return TakenOver(position, taken.deadlines, None)


# ---- who may write --------------------------------------------------------------------------------------------------

_write: Final = MemoryView.write
_fence: Final = ExactlyOnceWriter.fence


async def _write_anyway(self: MemoryView, partition: int, *, expected_seq: int, **rest: Any) -> Position | None:
    stored, _ = await self.load(partition, [])
    return await _write(self, partition, expected_seq=stored.seq if stored else 0, **rest)


async def _fence_once(self: ExactlyOnceWriter) -> None:
    if self._producer is None:
        await _fence(self)


async def _use_again(self: ExactlyOnceWriter, effects: Effects) -> int:
    producer = self._producer
    if producer is None:
        raise LogError("writing: the producer was given up")
    try:
        async with asyncio.timeout(clients.TRANSACTION_S_MAX):
            return await self._transact(producer, effects)
    except (ProducerFenced, InvalidProducerEpoch) as error:
        await self.close()
        raise FencedError(str(error)) from error
    except (*FAILURES, IllegalOperation) as error:
        try:
            async with asyncio.timeout(clients.TRANSACTION_S_MAX):
                await producer.abort_transaction()
        except (*FAILURES, IllegalOperation):
            await self.close()
        raise LogError(f"writing: {error!r}") from error


async def _keep(self: Worker, revoked: list[TopicPartition]) -> None:
    pass


# ---- what is committed ----------------------------------------------------------------------------------------------

_offsets: Final = writers._Sender.offsets


def _without_watermark(self: Any, position: Position) -> dict[TopicPartition, OffsetAndMetadata]:
    return _offsets(self, msgspec.structs.replace(position, watermark=Watermark()))


_restore: Final = Trainer._restore
_publish_snapshot: Final = Trainer._publish
_APART: Final = "trainer-offsets"


async def _offsets_apart(self: Trainer, writer: Any) -> None:
    broker: Any = self._clients._broker  # type: ignore[attr-defined]
    offsets = {TopicPartition("", p): OffsetAndMetadata(offset, "") for p, offset in self.learner.offsets.items()}
    await broker.network.call("commit apart", lambda: broker.group(_APART).take(offsets), timeout_s=10.0)
    await _publish_snapshot(self, writer)


async def _from_offsets_apart(self: Trainer) -> Learner:
    learner = await _restore(self)
    broker: Any = self._clients._broker  # type: ignore[attr-defined]
    learner.offsets = {place.partition: found.offset for place, found in broker.group(_APART).offsets.items()}
    return learner


_fold: Final = Learner.fold


def _fold_all(self: Learner, partition: int, offset: int, example: Any) -> bool:
    self.positions = {}
    return _fold(self, partition, offset, example)


ONCE, TWICE = "exactly_once", "at_least_once"

#: What a former owner still says while its successor takes over matters; and a dead letter, which no state remembers.
LAST_WORDS: Final = Climate(zombies=Zombies("commit stream-app-", "init stream-app-"), broken=30)

MUTANTS: Final[dict[str, Mutant]] = {
    "redis_before_commit": Mutant(
        "Redis is written before the transaction is committed", ONCE, [(Partition, "__init__", _redis_first)]
    ),
    "sends_not_awaited": Mutant(
        "the transaction is committed without looking at the acknowledgements",
        ONCE,
        [(ExactlyOnceWriter, "_transact", _unawaited)],
    ),
    "timers_outside": Mutant(
        "what the clock ends is written outside the transaction", ONCE, [(ExactlyOnceWriter, "publish", _timers_apart)]
    ),
    "producer_reused": Mutant(
        "a producer is used again after a failure or a time-out",
        ONCE,
        [(ExactlyOnceWriter, "publish", _use_again), (ExactlyOnceWriter, "fence", _fence_once)],
        Climate({"late": 0.05, "batch_refused": 0.03}),
    ),
    "offsets_before_fencing": Mutant(
        "committed offsets are read before the former owner is fenced",
        ONCE,
        [(KafkaPartitionLog, "take_over", _offsets_before_fencing)],
        LAST_WORDS,
    ),
    "restore_end_before_fencing": Mutant(
        "the changelog's end is taken before the former owner is fenced",
        ONCE,
        [(KafkaPartitionLog, "take_over", _end_before_fencing), (KafkaPartitionLog, "changelog_end", _early_end)],
        LAST_WORDS,
    ),
    "view_trusted": Mutant(
        "the view is built upon without asking what it contains", ONCE, [(TakingOver, "_catch_up", _trusting)]
    ),
    "no_compare_and_set": Mutant(
        "the view is written whoever has written it before",
        ONCE,
        [(MemoryView, "write", _write_anyway)],
        Climate(zombies=Zombies("redis: write", "init stream-app-")),
    ),
    "owner_not_stopped": Mutant(
        "a worker goes on with partitions that are taken from it", ONCE, [(Worker, "on_partitions_revoked", _keep)]
    ),
    "watermark_not_committed": Mutant(
        "the watermark is not part of what is committed", ONCE, [(writers._Sender, "offsets", _without_watermark)]
    ),
    "trainer_offsets_apart": Mutant(
        "the trainer commits its offsets apart from the snapshot",
        ONCE,
        [(Trainer, "_publish", _offsets_apart), (Trainer, "_restore", _from_offsets_apart)],
    ),
    "skipped_not_repeated": Mutant(
        "a batch that was begun is skipped by the next owner, not carried out again",
        TWICE,
        [(TakingOver, "run", _skipping)],
    ),
    "announced_after": Mutant(
        "a batch is announced after its outputs, not before",
        TWICE,
        [(Announcements, "announce", _not_yet), (Partition, "_carry_out", _announced_after)],
    ),
    "labels_not_held": Mutant(
        "the next owner takes new labels before the events that the former one may have scored without them",
        TWICE,
        [(Announcements, "labels_wait_s", _labels_taken_anyway)],
    ),
    "advance_lost": Mutant(
        "a batch that proves done is passed over with the time that it let pass",
        TWICE,
        [(Partition, "_carry_out_again", _advance_lost)],
    ),
    "no_deduplication": Mutant(
        "the trainer does not tell repeated examples by their position", TWICE, [(Learner, "fold", _fold_all)]
    ),
}
