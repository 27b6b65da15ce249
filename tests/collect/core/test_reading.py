"""Bodies → events, rejections and what the answer says of each. 1,770,000,000,000 ms is 2026-02-02T02:40:00Z."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.door import Door
from stream_app.collect.core.answer import answer_of
from stream_app.collect.core.body import EVENTS_MAX, opened
from stream_app.collect.core.reading import Expected, Reading, read
from stream_app.core.codec import RECORD_BYTES_MAX, REJECT_REASONS

NOW = 1_770_000_000_000
GOLDEN = Path(__file__).parents[2] / "producers" / "golden"


def _read(body: Any, expected: Expected | None = None, *, now: int = NOW, by_robot: bool = False) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(opened(raw), expected=expected or Expected(), received_ms=now, door=Door(), by_robot=by_robot)


def _event(**fields: Any) -> dict[str, Any]:
    return {"event_id": "e1", "event_type": "page_view", "event_time": NOW, "visitor_id": "v1", **fields}


def _outcomes(reading: Reading) -> list[str]:
    return [result.outcome for result in reading.results]


# ---- our own events --------------------------------------------------------------------------------------------------


def test_a_single_event_is_one_result() -> None:
    reading = _read(_event(item_id="sku-1"))
    assert (reading.kind, _outcomes(reading), reading.letters) == ("canonical", ["accepted"], [])
    assert reading.results[0].event_ids == ["e1"]
    assert (reading.events[0].visitor_id, reading.events[0].item_id) == ("v1", "sku-1")


@pytest.mark.parametrize("wrap", [lambda events: events, lambda events: {"events": events}])
def test_of_several_each_has_its_result_in_its_place_and_the_good_ones_are_kept(wrap: Any) -> None:
    reading = _read(wrap([_event(), _event(event_id="e2", event_type="nod"), _event(event_id="e3", visitor_id="v3")]))
    assert _outcomes(reading) == ["accepted", "rejected", "accepted"]
    assert [event.event_id for event in reading.events] == ["e1", "e3"]
    assert reading.results[1].reason == "invalid_value"
    assert answer_of(reading.results).status == 200


def test_a_rejected_event_is_a_dead_letter_of_its_own_with_its_bytes_unchanged() -> None:
    bad = b'{"event_id" : "e2",\n "event_type":"page_view", "visitor_id": 7 }'
    reading = _read(b"[" + json.dumps(_event()).encode() + b" , " + bad + b" ]")
    (letter,) = reading.letters
    assert (letter.raw, letter.row, letter.rejected.reason) == (bad, 1, "wrong_type")


def test_an_event_without_a_time_happened_when_it_arrived_and_nothing_else_of_it_changes() -> None:
    fields = _event(price=79.9, item_id="ä", search_term='"{}')
    del fields["event_time"]
    reading = _read(fields)
    assert reading.events == _read({**fields, "event_time": NOW}).events
    assert reading.events[0].event_time == NOW


@pytest.mark.parametrize("body", [b"{}", b"{ }", b" [ { } ] "])
def test_an_empty_event_lacks_its_fields(body: bytes) -> None:
    assert _read(body).results[0].reason == "missing_field"


def test_a_time_that_is_null_is_of_a_wrong_type_as_on_the_topic() -> None:
    assert _read(_event(event_time=None)).results[0].reason == "wrong_type"


def test_an_event_larger_than_a_record_may_be_is_too_large() -> None:
    assert _read(_event(unknown="x" * RECORD_BYTES_MAX)).results[0].reason == "too_large"


def test_more_events_than_the_bound_are_rejected_as_one() -> None:
    reading = _read([_event(event_id=str(n)) for n in range(EVENTS_MAX + 1)])
    assert (_outcomes(reading), len(reading.letters), reading.events) == (["rejected"], 1, [])
    assert len(_read([_event(event_id=str(n)) for n in range(EVENTS_MAX)]).events) == EVENTS_MAX


def test_what_is_personal_stays_outside() -> None:
    reading = _read(
        [_event(page_url="https://shop.example/a?email=jo@example.org"), _event(visitor_id="jo@example.org")]
    )
    assert reading.events[0].page_url == "https://shop.example/a"
    assert reading.results[1].reason == "invalid_value"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty_value"),
        (b" \n", "empty_value"),
        (b"{", "not_json"),
        (b"[1,", "not_json"),
        (b"nonsense", "not_json"),
        (b'{"event_id":"\xff"}', "not_json"),
        (b"7", "wrong_type"),
        (b'"text"', "wrong_type"),
        (b'{"events":7}', "wrong_type"),
        (b'{"events":[7]}', "wrong_type"),
        (b'{"events":[],"sent_at":"noon"}', "invalid_value"),
        (b"[" * 100_000, "not_json"),
        (b'{"a":' * 100_000, "not_json"),
    ],
)
def test_a_body_that_is_none_is_rejected_as_a_whole(body: bytes, reason: str) -> None:
    reading = _read(body)
    assert [(result.outcome, result.reason) for result in reading.results] == [("rejected", reason)]
    assert [letter.raw for letter in reading.letters] == (
        [body] if reason != "wrong_type" or b"[7]" not in body else [b"7"]
    )
    assert answer_of(reading.results).status == 422


def test_no_events_are_nothing_to_complain_of() -> None:
    assert answer_of(_read([]).results).status == 200
    assert _read({"events": []}).results == []


# ---- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent_at", "event_time", "expected"),
    [
        (NOW - 4_999, NOW - 5_100, NOW - 5_100),  # the network's: left alone
        (NOW - 3_600_000, NOW - 3_600_100, NOW - 100),  # an hour slow
        (NOW + 3_600_000, NOW + 3_599_000, NOW - 1_000),  # an hour fast
        (NOW + 50 * 86_400_000, NOW + 50 * 86_400_000 - 30_000, NOW - 30_000),  # weeks fast: corrected, not rejected
        (NOW - 100, NOW - 7_200_000, NOW - 7_200_000),  # recorded offline, by a right clock
        (NOW - 3_600_000, NOW - 3 * 3_600_000, NOW - 2 * 3_600_000),  # offline, and slow: two hours before it was sent
        ("2026-02-02T03:40:00+01:00", NOW, NOW),  # RFC 3339, and right
        ("2026-02-02T03:40:00Z", NOW + 3_600_000, NOW),  # … and an hour fast
    ],
)
def test_a_wrong_clock_is_corrected_by_when_it_says_that_it_sent(
    sent_at: int | str, event_time: int, expected: int
) -> None:
    reading = _read({"sent_at": sent_at, "events": [_event(event_time=event_time)]})
    assert [event.event_time for event in reading.events] == [expected]
    assert reading.moved == (expected != event_time)


def test_an_event_without_a_time_takes_the_arrivals_whatever_the_sender_believes() -> None:
    fields = _event()
    del fields["event_time"]
    assert _read({"sent_at": NOW - 86_400_000, "events": [fields]}).events[0].event_time == NOW


@pytest.mark.parametrize(
    ("sent_at", "event_time"),
    [
        (None, NOW + 86_400_001),
        (None, 946_684_799_999),
        (NOW - 3_600_000, NOW + 86_400_000 - 3_600_000 + 1),  # 24 h and 1 ms after it was sent
        (None, 10**400),
    ],
)
def test_what_lies_beyond_the_bounds_is_rejected(sent_at: int | None, event_time: int) -> None:
    body = {"events": [_event(event_time=event_time)], **({"sent_at": sent_at} if sent_at is not None else {})}
    assert _read(body).results[0].reason == "time_out_of_range"


def test_without_a_time_of_sending_a_time_is_taken_as_it_is() -> None:
    assert _read(_event(event_time=NOW + 3_600_000)).events[0].event_time == NOW + 3_600_000


# ---- Segment and GA4 -------------------------------------------------------------------------------------------------


#: When the batch among them says that it was sent: no clock is wrong.
GOLDEN_NOW = 1_769_884_390_000

#: What a golden file's row must come to: a rejection's reason, or the event's fields; addresses change at the door.
_COMPARED = ("rejected", "event_type", "event_time", "visitor_id", "item_id", "price", "order_id", "source")


@pytest.mark.parametrize("name", ["segment", "ga4"])
def test_each_record_of_the_golden_files_comes_to_what_it_does_from_a_file(name: str) -> None:
    expected: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    timeless = []
    for told in map(json.loads, (GOLDEN / f"{name}.expected.jsonl").read_text().splitlines()):
        if "a file does not say when" in told.get("says", ()):
            timeless.append(told["row"])
        elif "ignored" not in told:
            expected[told["row"]].append(tuple(told.get(field) for field in _COMPARED))
    lines = (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()
    for row, line in enumerate(lines, start=1):
        reading = _read(line, Expected(name), now=GOLDEN_NOW)  # type: ignore[arg-type]
        found = [(None, *(getattr(event, field) for field in _COMPARED[1:])) for event in reading.events]
        found += [(letter.rejected.reason, *[None] * len(_COMPARED[1:])) for letter in reading.letters]
        if row in timeless:
            assert [event.event_time for event in reading.events] == [GOLDEN_NOW]
        else:
            assert sorted(found, key=str) == sorted(expected[row], key=str), line
    assert len(expected) > 10


def test_bodies_of_segment_and_ga4_are_told_by_their_names() -> None:
    call = {"type": "page", "messageId": "m1", "anonymousId": "a1", "timestamp": "2026-02-02T02:40:00Z"}
    assert (_read(call).kind, _outcomes(_read(call))) == ("segment", ["accepted"])
    assert _read({"batch": [call]}).kind == "segment"
    body = {"client_id": "c1", "events": [{"name": "page_view"}]}
    assert (_read(body).kind, _read(body).events[0].event_time) == ("ga4", NOW)


def test_a_path_says_what_a_call_without_a_type_is() -> None:
    call = {"event": "Product Added", "messageId": "m1", "anonymousId": "a1", "properties": {"product_id": "p"}}
    reading = _read(call, Expected("segment", "track"))
    assert [(event.event_type, event.item_id) for event in reading.events] == [("add_to_cart", "p")]
    assert _read(call, Expected("segment")).results[0].outcome == "rejected"


def test_a_batch_of_segment_has_a_result_for_each_call_and_one_dead_letter_with_all_of_it() -> None:
    call = {"type": "page", "messageId": "m1", "anonymousId": "a1"}
    batch = {
        "batch": [call, {"type": "wink"}, {"type": "identify"}, {"type": "page"}],
        "sentAt": "2026-02-02T02:40:00Z",
    }
    reading = _read(batch)
    assert _outcomes(reading) == ["accepted", "rejected", "ignored", "rejected"]
    (letter,) = reading.letters
    assert letter.raw == json.dumps(batch).encode()
    assert letter.rejected.detail.startswith("batch[1]: ")
    assert "(and 1 more); 1 event of the record was accepted" in letter.rejected.detail


def test_a_thing_done_with_several_items_is_one_result_with_several_ids() -> None:
    items = [{"item_id": "a", "price": 1}, {"item_id": "b", "price": 2}, {"item_id": "c", "price": -3}]
    reading = _read({"client_id": "c1", "events": [{"name": "add_to_cart", "params": {"items": items[:2]}}]})
    assert (_outcomes(reading), len(reading.results[0].event_ids)) == (["accepted"], 2)
    reading = _read({"client_id": "c1", "events": [{"name": "add_to_cart", "params": {"items": items}}]})
    assert (_outcomes(reading), len(reading.results[0].event_ids)) == (["rejected"], 2)
    assert answer_of(reading.results).status == 200


def test_segments_sent_at_corrects_a_clock_as_ours_does() -> None:
    call = {"type": "page", "messageId": "m1", "anonymousId": "a1", "timestamp": "2026-02-02T03:39:50Z"}
    reading = _read({"batch": [call], "sentAt": "2026-02-02T03:40:00Z"})
    assert (reading.events[0].event_time, reading.moved) == (NOW - 10_000, 1)
    assert _read({"batch": [call], "sentAt": "noon"}).moved == 0


# ---- anything --------------------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["events", "batch", "type", "client_id", "sent_at", "sentAt", "name", "params", "event_type",
                         "event_id", "event_time", "visitor_id", "anonymousId", "writeKey", "x"]),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(
    body=st.binary(max_size=200) | _JSON.map(lambda found: json.dumps(found).encode()),
    expected=st.sampled_from([Expected(), Expected("segment"), Expected("segment", "track"), Expected("ga4")]),
)
def test_whatever_comes_is_read_and_every_part_of_it_is_accounted_for(body: bytes, expected: Expected) -> None:
    found = opened(body)
    assert found.write_key is None or isinstance(found.write_key, str)
    reading = read(found, expected=expected, received_ms=NOW, door=Door())
    ids = [each for result in reading.results for each in result.event_ids]
    assert ids == [event.event_id for event in reading.events]
    rejected = [result for result in reading.results if result.outcome == "rejected"]
    assert bool(rejected) == bool(reading.letters)
    assert all(result.reason in REJECT_REASONS and result.detail for result in rejected)


# ---- robots, and what is not known -----------------------------------------------------------------------------------

_PAGE = {"type": "page", "messageId": "m", "anonymousId": "v", "timestamp": "2026-02-02T02:40:00Z"}


@pytest.mark.parametrize(
    "body",
    [_event(), [_event(), _event(event_id="e2", bot=False)], _PAGE, {"batch": [_PAGE]}],
    ids=["one", "several", "segment", "a batch"],
)
def test_all_that_a_robots_page_sends_is_a_bots(body: Any) -> None:
    assert [event.bot for event in _read(body, by_robot=True).events] == [True] * len(_read(body).events)
    assert not any(event.bot for event in _read(body).events)


def test_what_an_event_says_itself_needs_no_page() -> None:
    assert [event.bot for event in _read([_event(bot=True), _event(event_id="e2")]).events] == [True, None]


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        ([_event(event_type="nod"), _event(event_id="e2"), _event(event_id="", event_type="search")], 1),
        ({"type": "nod", "anonymousId": "v"}, 1),
        ({"batch": [_PAGE, {**_PAGE, "type": "identify"}, {**_PAGE, "type": "track", "event": "Nodded"}]}, 2),
        ({"client_id": "1", "events": [{"name": "nod"}, {"name": "page_view"}]}, 1),
        (b"{", 0),
        ([_event()], 0),
    ],
)
def test_what_came_of_types_that_are_none_of_ours_is_counted(body: Any, unknown: int) -> None:
    assert _read(body).unknown_types == unknown


@pytest.mark.parametrize("ahead_ms", [60_000, -60_000])
def test_how_far_a_senders_clock_is_off_is_told(ahead_ms: int) -> None:
    reading = _read({"sent_at": NOW + ahead_ms, "events": [_event(event_time=NOW + ahead_ms)]})
    assert (reading.behind_ms, reading.moved) == (-ahead_ms, 1)


def test_nothing_is_nested_so_deeply_that_it_raises() -> None:
    limit = sys.getrecursionlimit()
    for depth in (*range(limit - 150, limit + 20), 5_000):
        deep = "[" * depth + "]" * depth
        for body in ('{"type":DEEP}', '{"client_id":"c","events":[{"name":"p","x":DEEP}]}', '{"event_type":DEEP}'):
            reading = _read(body.replace("DEEP", deep).encode())
            assert len(reading.results) == 1
