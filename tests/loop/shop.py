"""One partition on the memory twins: its records, its clock, its owners one after the other, and what comes out."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry

from stream_app.announcing import boot_time
from stream_app.backends.memory import MemoryBroker, MemoryLog, MemoryView
from stream_app.core.effects import Effects, Position, decode_position
from stream_app.core.processor import PartitionProcessor, Rules
from stream_app.observe import Observer
from stream_app.partition import Partition
from tests.core.streams import DAY, RULES, T0, HashScorer, Record, event, label

#: Seconds until a test gives up; the slowest of them needs a fraction.
PATIENCE_S = 60.0

NUMBER = 0


#: Longer than any test: what need not be announced is not.
LEASE_S: Final = 3_600.0

#: Where the log can fail while the loop works, in the order of a batch.
POINTS: Final = ("poll", "publish", "changelog", "published", "commit")


class CrashError(Exception):
    """The process is gone: nothing in the loop expects this one."""


class Segment(NamedTuple):
    """Records that arrive together; the next ones come when all of these are committed."""

    events: list[Record]
    labels: list[Record]


class Results(NamedTuple):
    """What a run leaves behind, without its repetitions."""

    states: dict[str, bytes]
    scores: dict[str, dict[str, Any]]
    features: dict[str, dict[str, Any]]
    #: (kind, trigger) and ordinal → example, as the trainer tells repetitions
    examples: dict[tuple[int, ...], dict[str, Any]]
    closed: dict[tuple[str, str], dict[str, Any]]
    dead_letters: set[tuple[bytes | None, str, int]]


def stream(*, seed: int = 3, segments: int = 3, events: int = 44) -> list[Segment]:
    """Visitors who come and go, buy and are told of, out of order now and then; a segment ends in a short batch."""
    draw = random.Random(seed)
    found, offset, label_offset, minutes = [], 0, 0, 0.0
    for _ in range(segments):
        some: list[Record] = []
        for _ in range(events):
            minutes += draw.choice((0, 0.1, 0.5, 1, 1, 2, 5, -1, 12, 31))
            visitor = draw.choice("abcdefghij")
            kind = draw.choice(("view_item",) * 6 + ("search", "add_to_cart", "add_to_cart", "purchase"))
            fields = {"item_id": f"i{draw.randrange(6)}", "category": draw.choice("xyz"), "price": 9.5}
            some.append(event(offset, visitor, kind, minutes, **fields))
            offset += 1
        some[draw.randrange(events)] = Record("events", some[0].offset, T0 + 300 * DAY, b"k", b"not JSON")
        labels = []
        for _ in range(5):
            labels.append(label(label_offset, draw.choice("abcdefghij"), minutes - 3, f"o{label_offset}"))
            label_offset += 1
        found.append(Segment(some, labels))
    return found


class Shop:
    """A partition with all that outlives its owner. `records_max` 8 makes six batches of a segment."""

    #: the guarantee that its owners work with; `conftest.py` runs every test with both
    exactly_once = False

    def __init__(
        self,
        *,
        view: MemoryView | None = None,
        rules: Rules = RULES,
        records_max: int = 8,
        lease_s: float = LEASE_S,
    ) -> None:
        self.broker = MemoryBroker()
        self.view = view or MemoryView()
        self.rules, self.records_max, self.lease_s = rules, records_max, lease_s
        self.clock = T0 / 1000 + 300 * 86_400
        #: seconds for which the machine slept
        self.slept = 0.0
        self.batches = 0
        self.crashes = 0
        #: called with the number of each batch when it has been published
        self.at_batch: Callable[[int], None] = lambda number: None
        self.start()

    def start(self) -> Partition:
        """A new owner with nothing in its memory."""
        self.partition = Partition(
            NUMBER,
            log=MemoryLog(self.broker, exactly_once=self.exactly_once),
            view=self.view,
            processor=PartitionProcessor(self.rules, partition=NUMBER),
            scorer=HashScorer,
            observer=Observer(CollectorRegistry()),
            records_max=self.records_max,
            lease_s=self.lease_s,
            idle_after_ms=5_000,
            fenced_pause_s=0.01,
            listener=self._published,
            now=lambda: self.clock,
            monotonic=lambda: self.clock,
            boottime=lambda: boot_time() + self.slept,
        )
        self.task = asyncio.create_task(self.partition.run())
        return self.partition

    def _published(self, effects: Effects, partition: int) -> None:
        assert partition == NUMBER
        self.batches += 1
        self.at_batch(self.batches)

    # ---- what happens to it -----------------------------------------------------------------------------------------

    def append(self, segment: Segment) -> None:
        """Records arrive, all at once."""
        for record in segment.events:
            assert record.value is not None
            self.broker.append_event(record.value, timestamp=record.timestamp, key=record.key)
        for record in segment.labels:
            assert record.value is not None
            self.broker.append_label(record.value, timestamp=record.timestamp, key=record.key)

    def say(self, visitor: str, kind: str, minutes: float, **fields: Any) -> None:
        """One event arrives."""
        self.append(Segment([event(len(self.broker.events), visitor, kind, minutes, **fields)], []))

    async def crash(self) -> None:
        """The owner is gone without a word; another one starts."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.crashes += 1
        self.start()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait; an owner that crashes meanwhile is followed by another."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if self.task.done():
                error = self.task.exception()
                assert isinstance(error, CrashError), f"ended: {self.partition.problem} {error!r}"
                self.crashes += 1
                self.start()
            assert time.monotonic() < deadline, f"{self.partition.state} {self.partition.problem}"
            await asyncio.sleep(0.001)

    def settled(self) -> bool:
        """Whether all that arrived is scored, written and committed."""
        ends = (len(self.broker.events), len(self.broker.labels))
        done = bool(self.broker.commits) and self.broker.commits[-1][:2] == ends
        return done and self.partition.state == "ready" and not self.partition.behind.unwritten

    async def settle(self) -> None:
        await self.until(self.settled)

    async def close_all(self) -> None:
        """Nobody comes any more until every session is over."""

        def over() -> bool:
            self.clock += 3_600
            return self.settled() and not len(self.partition.processor.schedule)

        await self.until(over)

    async def end(self) -> None:
        """Give the partition back."""
        self.partition.stop()
        await asyncio.wait_for(self.task, PATIENCE_S)

    async def through(self, segments: Iterable[Segment]) -> Results:
        """A whole life: all segments, the end of all sessions, and what is left."""
        for segment in segments:
            self.append(segment)
            await self.settle()
        await self.close_all()
        await self.end()
        return self.results()

    # ---- what it leaves ---------------------------------------------------------------------------------------------

    def results(self) -> Results:
        assert latest(self.broker.changelog) == {visitor: blob for (_, visitor), blob in self.view.blobs.items()}
        outputs = self.broker.outputs
        return Results(
            states=latest(self.broker.changelog),
            scores=unique(outputs["scores"], lambda score: score["event_id"]),
            features=unique(outputs["features"], lambda features: features["event_id"]),
            examples=unique(outputs["examples"], lambda example: tuple(example["position"])),
            closed=unique(outputs["closed"], lambda closed: (closed["visitor_id"], closed["session_id"])),
            dead_letters=set(self.broker.dead_letters),
        )

    def position(self) -> Position:
        """The view's."""
        position = decode_position(self.view.positions.get(NUMBER))
        assert position is not None
        return position


class StumblingView(MemoryView):
    """Raises what it is told to before or after a call: `before["write"] = [error]`."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, list[Exception]] = defaultdict(list)
        self.after: dict[str, list[Exception]] = defaultdict(list)

    async def load(self, partition: int, visitors: Any) -> Any:
        return await self._stumble("load", lambda: super(StumblingView, self).load(partition, visitors))

    async def write(self, partition: int, **arguments: Any) -> Any:
        return await self._stumble("write", lambda: super(StumblingView, self).write(partition, **arguments))

    async def clear(self, partition: int) -> None:
        await self._stumble("clear", lambda: super(StumblingView, self).clear(partition))

    async def open_visitors(self, partition: int) -> Any:
        return await self._stumble("open", lambda: super(StumblingView, self).open_visitors(partition))

    async def _stumble(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.before[name]:
            raise self.before[name].pop(0)
        result = await call()
        if self.after[name]:
            raise self.after[name].pop(0)
        return result


def latest(changelog: Iterable[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """What a compacted changelog keeps."""
    return {visitor: blob for visitor, blob in dict(changelog).items() if blob is not None}


def unique(records: Iterable[tuple[bytes, bytes]], key: Callable[[dict[str, Any]], Any]) -> dict[Any, dict[str, Any]]:
    """Records by what a reader tells repetitions by; a repetition must say the same."""
    found: dict[Any, dict[str, Any]] = {}
    for _, value in records:
        record = json.loads(value)
        assert found.setdefault(key(record), record) == record
    return found


def check_same(got: Results, expected: Results) -> None:
    """As two runs that nobody could tell apart, piece by piece for a readable failure."""
    for name in Results._fields:
        one, other = getattr(got, name), getattr(expected, name)
        if isinstance(one, Mapping):
            assert sorted(one) == sorted(other), name
            for key in one:
                assert one[key] == other[key], (name, key)
        assert one == other, name


def by_event(results: Results) -> dict[str, dict[str, object]]:
    """The examples by their event, without their positions."""
    return {example["event_id"]: {**example, "position": None} for example in results.examples.values()}


def by_session(results: Results) -> dict[tuple[str, str], dict[str, object]]:
    """The closed sessions without where they ended."""
    return {key: {**closed, "position": None, "next_offset": None} for key, closed in results.closed.items()}


STREAM: Final = stream()
_undisturbed: list[Results] = []


async def undisturbed() -> Results:
    """What `STREAM` comes to when nothing happens."""
    if not _undisturbed:
        _undisturbed.append(await Shop().through(STREAM))
    return _undisturbed[0]


def small_cache() -> Rules:
    """Every visitor is loaded anew for nearly every batch."""
    return dataclasses.replace(RULES, cache_visitors_max=1)
