"""The core over the synthetic shop, as it runs live: it learns what it scores, and all that it writes is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, Literal
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.backends.writers import dead_letter_record
from stream_app.core.bands import Bands
from stream_app.core.codec import encode
from stream_app.core.effects import DeadLetter, Effects, Position
from stream_app.core.events import CheckoutLabel, Event
from stream_app.core.example_decoding import decode_example
from stream_app.core.learner import Learner
from stream_app.core.processor import PartitionProcessor
from stream_app.core.reasons import explain, strongest
from stream_app.core.records import Keys, Reasons
from tests.core.streams import DAY, RULES, T0, Record

#: A batch as a busy worker polls it.
_BATCH: Final = 500

#: One record in so many is broken, in one of these ways.
_BROKEN_ONE_IN: Final = 400
_BROKEN: Final = (None, b"", b"{", b"[]", b'{"event_id": 1}', b"\xff\xfe", b'{"event_id":"e","visitor_id":"v"}')

#: One visitor in so many says that it is a bot.
_BOT_ONE_IN: Final = 40

Engine = Literal["python", "compiled"]


class LearningScorer:
    """Serves what the learner has learned so far; the bands lie where a young model's scores do."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self.name = "newton"
        self.version = self.updates = 0
        self.cold = True
        self.bands: Bands | None = Bands(0.02, 0.06)

    def turn(self) -> None:
        """Between two batches, as a follower does."""
        self.version, self.updates, self.cold = self.version + 1, self._learner.updates, self._learner.cold

    def score_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> npt.NDArray[np.float64]:
        return np.full(len(x), 0.03) if self.cold else self._learner.model.score_many(x, keys)

    def reasons_many(self, x: npt.NDArray[np.float64], keys: Sequence[Keys]) -> list[Reasons]:
        return strongest(explain(self._learner.model, x, keys).reasons)


class ShopRun:
    """One partition by one engine: every record's bytes by topic, those of dead letters with their headers."""

    def __init__(self, engine: Engine, *, events: int) -> None:
        rules = replace(RULES, engine=engine, reasons="all", trend_turn=0.2)
        self._processor = PartitionProcessor(rules, partition=0)
        self._processor.start(Position(), {})
        self._states: dict[str, bytes] = {}
        self._learner = Learner(["newton"], base_rate=0.03)
        self._scorer = LearningScorer(self._learner)
        self._learned = 0
        self._letters: list[DeadLetter] = []
        self.written: dict[str, list[bytes]] = {
            name: [] for name in (topics.SCORES, topics.FEATURES, topics.EXAMPLES, topics.CLOSED, topics.MOMENTS)
        }
        #: what came in, by topic, and of what was refused the value and the reason
        self.accepted: dict[str, list[bytes]] = {topics.EVENTS: [], topics.LABELS: []}
        self.refused: list[tuple[bytes, str]] = []
        #: of the dead letters
        self.headers: list[dict[str, str]] = []
        for told, labels in _batches(events):
            self._batch(told, labels)
            refused = {(letter.topic, letter.offset) for letter in self._letters}
            for record in (*told, *labels):
                if (record.topic, record.offset) not in refused:
                    self.accepted[record.topic].append(record.value or b"")
            self._letters.clear()
        # Everybody has gone: what is open ends.
        self._batch([], [], idle_ms=DAY)

    def _batch(self, events: list[Record], labels: list[Record], *, idle_ms: int = 0) -> None:
        more = True
        while more:
            plan = self._processor.plan(events, labels, idle_ms=idle_ms)
            loaded = {visitor: self._states.get(visitor) for visitor in plan.missing}
            effects = self._processor.apply(plan, loaded, self._scorer, now_ms=T0)
            self._states.update(effects.states)
            self._processor.committed(effects)
            self._keep(effects)
            more, events, labels, idle_ms = effects.more_due, [], [], 0
        self._scorer.turn()

    def _keep(self, effects: Effects) -> None:
        for topic, records in (
            (topics.SCORES, effects.scores), (topics.FEATURES, effects.features), (topics.CLOSED, effects.closed),
            (topics.EXAMPLES, effects.examples), (topics.MOMENTS, effects.moments),
        ):  # fmt: skip
            self.written[topic] += [value for _, value in records]
        for _, value in effects.examples:
            self._learner.fold(0, self._learned, decode_example(value))
            self._learned += 1
        for letter in effects.dead_letters:
            _, _, headers = dead_letter_record(letter)
            self.headers.append({name: text.decode() for name, text in headers})
            self.refused.append((letter.value or b"", letter.reason))
        self._letters += effects.dead_letters


def _batches(events: int) -> Iterator[tuple[list[Record], list[Record]]]:
    """The shop's stream with labels, of which some come late or take an order back, and with broken records."""
    shop = Shop(seed=5, start_ms=T0, sessions_per_hour=3_000.0, label_share=0.3)
    told: list[Record] = []
    labels: list[Record] = []
    offsets = {"events": 0, "labels": 0}
    for number, fact in enumerate(islice(iter(shop), events)):
        for record in _records(number, fact, offsets):
            (told if record.topic == topics.EVENTS else labels).append(record)
        if len(told) >= _BATCH:
            yield told, labels
            told, labels = [], []
    yield told, labels


def _records(number: int, fact: Event | CheckoutLabel, offsets: dict[str, int]) -> Iterator[Record]:
    def record(topic: str, kind: str, visitor: str, time: int, value: bytes | None) -> Record:
        offsets[kind] += 1
        return Record(topic, offsets[kind] - 1, time, visitor.encode(), value)

    if isinstance(fact, CheckoutLabel):
        assert isinstance(fact.checkout_time, int)
        yield record(topics.LABELS, "labels", fact.visitor_id, fact.checkout_time, encode(fact))
        if number % 10 == 0:
            value = {**json.loads(encode(fact)), "kind": "refund"}
            yield record(topics.LABELS, "labels", fact.visitor_id, fact.checkout_time, json.dumps(value).encode())
        return
    assert isinstance(fact.event_time, int)
    if crc32(fact.visitor_id.encode()) % _BOT_ONE_IN == 0:
        fact = msgspec.structs.replace(fact, bot=True)
    yield record(topics.EVENTS, "events", fact.visitor_id, fact.event_time, encode(fact))
    if number % _BROKEN_ONE_IN == 0:
        broken = _BROKEN[number // _BROKEN_ONE_IN % len(_BROKEN)]
        yield record(topics.EVENTS, "events", fact.visitor_id, fact.event_time, broken)
