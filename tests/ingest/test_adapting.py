"""Records of a raw topic and what becomes of them, by hand."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from producers.door import Door, DoorSettings
from producers.formats import FORMATS
from producers.pseudonym_keys import key_in
from stream_app.core.codec import decode_event
from stream_app.core.events import Event
from stream_app.ingest.adapting import Adapted, adapt, gather, in_order
from tests.ingest.raw import NOW_MS, TIME_MS, Raw, ga4

GA4 = FORMATS["ga4"]
OPEN = Door(DoorSettings(masks=False))


def taken(record: Raw, **options: Any) -> Adapted:
    (one,) = adapt([record], GA4, OPEN, now_ms=NOW_MS, **options)
    return one


def events(one: Adapted) -> list[Event]:
    found = [decode_event(value, record_time_ms=NOW_MS) for _, value, _ in one.records]
    assert all(isinstance(event, Event) for event in found)
    return [event for event in found if isinstance(event, Event)]


def at(time_ms: int, offset: int = 0) -> Adapted:
    return Adapted(offset, NOW_MS, time_ms, (), (), None, 0)


def test_a_record_of_several_events_is_as_many_records_under_their_visitors_id() -> None:
    one = taken(Raw(ga4("c-1", "page_view", "scroll", "begin_checkout"), offset=41, key=b"somebody else's"))
    assert [key for key, _, _ in one.records] == [b"c-1", b"c-1"]
    assert [(event.event_type, event.event_time) for event in events(one)] == [
        ("page_view", TIME_MS), ("begin_checkout", TIME_MS),
    ]  # fmt: skip
    assert (one.offset, one.types, one.letter, one.ignored) == (41, ("page_view", "begin_checkout"), None, 1)


def test_a_record_without_a_time_has_that_of_its_arrival_and_the_same_ids_when_it_is_read_again() -> None:
    record = Raw(ga4("c-1", "page_view", time_ms=None), timestamp=TIME_MS - 7)
    (event,) = events(taken(record))
    assert event.event_time == TIME_MS - 7
    (later,) = adapt([record], GA4, OPEN, now_ms=NOW_MS + 86_400_000)
    assert later == taken(record)


def test_a_record_without_a_time_and_without_a_timestamp_is_rejected() -> None:
    one = taken(Raw(ga4("c-1", "page_view", time_ms=None), timestamp=-1))
    assert one.letter is not None
    assert one.letter.reason == "missing_field"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty_value"),
        (b"", "empty_value"),
        (b"{", "not_json"),
        (b"[1]", "wrong_type"),
        (b'{"events":[{"name":"page_view"}]}', "missing_field"),
        (ga4("c-1", "page_view", time_ms=TIME_MS // 1000), "time_out_of_range"),
        (ga4("c-1", "page_view", time_ms=NOW_MS + 86_400_001), "time_out_of_range"),
        (b'{"client_id":"' + b"c" * 300_000 + b'"}', "too_large"),
        (ga4("c" * 257, "page_view"), "invalid_value"),
    ],
)
def test_what_is_no_event_is_a_dead_letter_with_its_bytes_and_coordinates(value: bytes | None, reason: str) -> None:
    one = taken(Raw(value, offset=9, key=b"k"))
    assert one.letter is not None
    assert (one.letter.reason, one.letter.key, one.letter.value) == (reason, b"k", value)
    assert (one.letter.topic, one.letter.partition, one.letter.offset) == ("raw", 3, 9)
    assert one.records == ()


@pytest.mark.parametrize("name", FORMATS)
def test_a_tombstone_is_rejected_as_empty_in_every_format(name: str) -> None:
    (one,) = adapt([Raw(None)], FORMATS[name], OPEN, now_ms=NOW_MS)
    assert one.letter is not None
    assert (one.letter.reason, one.letter.value) == ("empty_value", None)


def test_a_record_half_of_which_is_wrong_is_its_good_events_and_one_dead_letter() -> None:
    body = json.loads(ga4("c-1", "view_item", "view_item"))
    body["events"][0]["params"] = {"items": [{"item_id": "r-1", "price": "12,50"}]}
    body["events"][1]["params"] = {"items": [{"item_id": "r-2", "price": 19}]}
    one = taken(Raw(msgspec.json.encode(body)))
    assert [event.item_id for event in events(one)] == ["r-2"]
    assert one.letter is not None
    assert one.letter.detail.endswith("1 event of the record was accepted")


def test_what_is_accepted_here_is_accepted_by_the_worker_that_reads_it() -> None:
    # The worker judges by the timestamp of the record that is written: the clock of this moment.
    one = taken(Raw(ga4("c-1", "page_view", time_ms=NOW_MS + 86_399_000), timestamp=0))
    assert len(events(one)) == 1


def test_a_trace_goes_on_to_the_events_and_other_headers_do_not() -> None:
    headers = [("traceparent", b"00-1-2-01"), ("secret", b"x"), ("tracestate", b"a=b")]
    one = taken(Raw(ga4("c-1", "page_view", "search"), headers=headers))
    assert [carried for _, _, carried in one.records] == 2 * [[headers[0], headers[2]]]


def test_headers_that_are_null_or_endless_do_no_harm() -> None:
    headers = [("traceparent", None), ("tracestate", b"x" * 513), ("ce_specversion", None), ("ce_id", None)]
    assert taken(Raw(ga4("c-1", "page_view"), headers=headers)).records[0][2] == []
    (envelope,) = adapt([Raw(b"{}", headers=headers)], FORMATS["cloudevents"], OPEN, now_ms=NOW_MS)
    assert envelope.letter is not None
    assert envelope.letter.reason == "invalid_value"


def test_events_pass_the_door() -> None:
    door = Door(DoorSettings(keys=key_in("k1:" + "k" * 43 + "=")))
    body = json.loads(ga4("c-1", "page_view"))
    body["events"][0]["params"] = {"page_location": "https://shop.example/rakes?mail=jo@example.org&utm_source=mail"}
    (one,) = adapt([Raw(msgspec.json.encode(body))], GA4, door, now_ms=NOW_MS)
    (event,) = events(one)
    assert event.visitor_id != "c-1"
    assert one.records[0][0] == event.visitor_id.encode()
    assert event.page_url == "https://shop.example/rakes?utm_source=mail"


def test_what_the_door_refuses_is_the_records_one_dead_letter() -> None:
    (one,) = adapt([Raw(ga4("jo@example.org", "page_view", "search"))], GA4, Door(), now_ms=NOW_MS)
    assert one.records == ()
    assert one.letter is not None
    assert one.letter.reason == "invalid_value"
    assert "(and 1 more)" in one.letter.detail


def test_no_more_output_is_made_at_once_than_the_bound_and_one_record_is_always_taken() -> None:
    records = [Raw(ga4("c-1", *["page_view"] * 20), offset=offset) for offset in range(10)]
    size = sum(len(value) for _, value, _ in taken(records[0]).records)
    assert len(adapt(records, GA4, OPEN, now_ms=NOW_MS, bytes_max=3 * size)) == 3
    assert len(adapt(records, GA4, OPEN, now_ms=NOW_MS, bytes_max=1)) == 1
    assert len(adapt(records, GA4, OPEN, now_ms=NOW_MS)) == 10


def test_a_single_clock_that_is_ahead_does_not_hold_up_what_comes_behind_it() -> None:
    times = [5, 6, 900, 7, 8, 3, 9, 10, 11, 12]
    assert in_order([at(time) for time in times]) == [3, 3, 3, 3, 3, 3, 9, 10, 11, 12]
    assert in_order([]) == []


def test_an_event_is_no_younger_than_its_arrival_where_order_is_concerned() -> None:
    assert taken(Raw(ga4("c-1", "page_view", time_ms=NOW_MS + 5_000), timestamp=NOW_MS)).time_ms == NOW_MS
    assert taken(Raw(ga4("c-1", "page_view"), timestamp=NOW_MS)).time_ms == TIME_MS
    assert taken(Raw(b"{", timestamp=NOW_MS)).time_ms == NOW_MS


def test_a_batch_has_each_visitors_events_in_their_order_and_counts_what_became_of_the_records() -> None:
    records = [
        Raw(ga4("c-1", "page_view"), offset=4, timestamp=NOW_MS + 1),
        Raw(ga4("c-2", "search", "page_view"), offset=5, timestamp=NOW_MS + 2),
        Raw(b"{", offset=7),
        Raw(ga4("c-1", "scroll"), offset=8),
        Raw(ga4("c-1", "begin_checkout"), offset=9, timestamp=-1),
    ]
    adapted = adapt(records, GA4, OPEN, now_ms=NOW_MS)
    batch = gather(adapted, partition_of=lambda key: int(key[-1:]))
    assert {place: [key for key, _, _ in found] for place, found in batch.events.items()} == {
        1: [b"c-1", b"c-1"], 2: [b"c-2", b"c-2"],
    }  # fmt: skip
    assert [msgspec.json.decode(value)["event_type"] for _, value, _ in batch.events[1]] == [
        "page_view", "begin_checkout",
    ]  # fmt: skip
    assert (batch.next_offset, batch.records, batch.ignored) == (10, 5, 1)
    assert batch.outcomes == {"events": 3, "rejected": 1, "ignored": 1}
    assert batch.types == {"page_view": 2, "search": 1, "begin_checkout": 1}
    assert [letter.offset for letter in batch.letters] == [7]
    assert batch.received_ms == [NOW_MS + 1, NOW_MS + 2]


def test_what_is_looked_at_at_the_door_comes_along_with_when_it_came() -> None:
    records = [
        Raw(ga4("c-1", "page_view", "scroll"), offset=4, timestamp=NOW_MS + 1),
        Raw(ga4("c-2", "search"), offset=5, timestamp=-1),
        Raw(b"{", offset=6),
    ]
    adapted = adapt(records, GA4, OPEN, now_ms=NOW_MS)
    batch = gather(adapted, partition_of=lambda key: 0)
    assert [(event.visitor_id, received_ms) for event, received_ms in batch.taken] == [
        ("c-1", NOW_MS + 1), ("c-2", None),
    ]  # fmt: skip
    assert batch.unknown_types == 1
