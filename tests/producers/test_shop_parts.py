"""A shop by several processes: one order, the same every time, and the shop that one process would be."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from itertools import islice

import pytest
from click.testing import CliRunner

from producers.cli import produce
from producers.memory_sink import MemorySink
from producers.shop_parts import PartError, ShopOrder, ShopParts
from producers.synthetic.calendar import Requests
from producers.synthetic.feed import feed
from producers.synthetic.noise import BrokenRecord, Delivery, Noise, Ready
from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.core.events import CheckoutLabel, Event
from tests.support.fixtures import Names, Servers

START_MS = 1_735_689_600_000
ARGUMENTS = {
    "seed": 3,
    "start_ms": START_MS,
    "sessions_per_hour": 20_000.0,
    "session_ids": True,
    "label_share": 0.3,
    "requests": Requests(),
}
QUIET = ShopOrder(ARGUMENTS, Noise())
NOISY = ShopOrder(ARGUMENTS, Noise(duplicates=0.05, late=0.1, broken=0.05))


def taken(order: ShopOrder, *, parts: int, count: int) -> list[Delivery]:
    with ShopParts(order, parts=parts) as shop:
        return list(islice(shop, count))


def test_the_same_seed_and_number_of_parts_give_the_same_stream() -> None:
    first, again = (taken(NOISY, parts=3, count=20_000) for _ in range(2))
    assert first == again
    assert taken(NOISY, parts=2, count=1_000) != first[:1_000]
    kinds = Counter(type(delivery) for delivery in first)
    assert set(kinds) == {Ready, CheckoutLabel, BrokenRecord}


def test_events_are_in_the_order_of_their_times_and_each_part_has_visitors_of_its_own() -> None:
    deliveries = taken(QUIET, parts=3, count=30_000)
    events = [delivery for delivery in deliveries if isinstance(delivery, Ready)]
    times = [event.event_time for event in events]
    assert times == sorted(times)
    owners: dict[str, set[str]] = {}
    ids = set()
    for event in events:
        said = json.loads(event.value)
        assert (said["visitor_id"], said["event_time"]) == (event.visitor_id, event.event_time)
        ids.add(said["event_id"])
        owners.setdefault(event.visitor_id.partition("-")[0], set()).add(event.visitor_id)
    assert len(ids) == len(events)
    assert set(owners) == {"v3.0", "v3.1", "v3.2"}
    sizes = [len(visitors) for visitors in owners.values()]
    assert max(sizes) < 1.15 * min(sizes)


def test_together_they_are_the_shop_that_one_process_would_be() -> None:
    """As many visits in as much time, buying as often: within five standard deviations of the counts."""
    count = 60_000
    together = [
        json.loads(delivery.value) for delivery in taken(QUIET, parts=4, count=count) if isinstance(delivery, Ready)
    ]
    shop = Shop(**ARGUMENTS)  # type: ignore[arg-type]
    alone = [fact for fact in islice(shop, count) if isinstance(fact, Event)]
    hours = (together[-1]["event_time"] - START_MS) / 3_600_000
    alone_hours = (alone[-1].event_time - START_MS) / 3_600_000  # type: ignore[operator]
    assert hours == pytest.approx(alone_hours, rel=0.05)
    bought = sum(event["event_type"] == "purchase" for event in together)
    bought_alone = sum(event.event_type == "purchase" for event in alone)
    assert abs(bought - bought_alone) < 5 * (bought + bought_alone) ** 0.5
    assert {event["item_id"] for event in together if "item_id" in event} <= {
        item.item_id for items in shop.catalogue.items for item in items
    }
    first = {event["session_id"] for event in together if event["event_time"] < START_MS + 600_000}
    first_alone = {event.session_id for event in alone if event.event_time < START_MS + 600_000}  # type: ignore[operator]
    assert abs(len(first) - len(first_alone)) < 5 * (len(first) + len(first_alone)) ** 0.5


def test_one_part_is_a_shop_with_the_share_of_the_visits() -> None:
    with pytest.raises(ValueError, match=r"got part \(2, 2\), expected"):
        Shop(seed=1, start_ms=START_MS, part=(2, 2))
    whole = list(islice(Shop(seed=1, start_ms=START_MS), 500))
    assert list(islice(Shop(seed=1, start_ms=START_MS, part=(0, 1)), 500)) == whole


async def test_fed_to_a_sink_they_are_paced_and_counted_like_any_shop() -> None:
    sink = MemorySink()
    with ShopParts(NOISY, parts=2) as shop:
        summary = await feed(shop, sink, rate=None, events=5_000)
    assert summary.sent == 5_000
    assert summary.rows == len(sink.records) > 5_200
    events = [record for record in sink.records if record.topic == topics.EVENTS]
    assert len(events) == summary.rows - sum(record.topic == topics.LABELS for record in sink.records)


def test_a_part_that_dies_is_told() -> None:
    with ShopParts(QUIET, parts=2) as shop:
        deliveries = iter(shop)
        next(deliveries)
        process = shop._processes[1]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(PartError, match="has ended"):
            list(deliveries)


def test_nobody_is_left_when_it_is_closed() -> None:
    with ShopParts(QUIET, parts=2) as shop:
        next(iter(shop))
        processes = list(shop._processes)
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)
    assert not shop._reading.is_alive()


def test_the_command_sends_as_many_events_as_asked(embedded_servers: Servers, names: Names) -> None:
    result = CliRunner().invoke(produce, [
        "synthetic", "--rate", "max", "--events", "3000", "--json", "--processes", "2", "--sessions-per-hour", "100000",
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sent"] == 3000


def test_what_needs_one_process_is_refused() -> None:
    result = CliRunner().invoke(produce, ["synthetic", "--processes", "2", "--truth", "t.jsonl"])
    assert result.exit_code == 2
    assert "--processes is for load" in result.stderr
