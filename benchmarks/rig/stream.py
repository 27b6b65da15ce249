"""The input: events of a synthetic shop as the records that every contender reads, made once and filled in anew."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from producers.sink import KafkaSink
from producers.synthetic.shop import Shop
from stream_app.core.codec import encode
from stream_app.core.events import Event

#: Visits in an hour of event time: a busy shop, so that many sessions are open at once.
SESSIONS_PER_HOUR = 20_000.0
_WEEK_MS = 7 * 24 * 3600 * 1000


class Given(NamedTuple):
    """One record of the input."""

    event_id: str
    visitor_id: str
    value: bytes


def shop_events(seed: int, *, start_ms: int, sessions_per_hour: float = SESSIONS_PER_HOUR) -> Iterator[Event]:
    """Endless events of a shop, without the labels of its order system."""
    shop = Shop(seed=seed, start_ms=start_ms, sessions_per_hour=sessions_per_hour)
    return (fact for fact in shop if isinstance(fact, Event))


def make(count: int, *, seed: int) -> list[Given]:
    """The first `count` events of a shop that began five to six weeks ago, at the same hour of the week for every run.

    An hour of the evening has more events than one of the night, and so fewer sessions that end among the first ones.
    """
    start_ms = (int(time.time() * 1000) // _WEEK_MS - 5) * _WEEK_MS
    events = islice(shop_events(seed, start_ms=start_ms), count)
    return [Given(event.event_id, event.visitor_id, encode(event)) for event in events]


async def fill(bootstrap: str, prefix: str, records: Iterable[Given]) -> None:
    """Write the records to the events topic, keyed by visitor, and wait until all are there."""
    async with KafkaSink(bootstrap, topic_prefix=prefix) as sink:
        for record in records:
            await sink.send_raw(record.value, key=record.visitor_id)
        await sink.flush()
