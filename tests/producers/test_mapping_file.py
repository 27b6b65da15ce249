"""A mapping file: an invented format in under ten lines, and what is said of a file that is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from producers.adapters.result import Arrival, Ignored, Result
from producers.mapping_file import MappingError, mapped_format, read_mapping
from producers.source import Source
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

NOW_MS = 1_893_456_000_000
DOCS = Path(__file__).parents[2] / "docs" / "formats.md"

NEEDED: dict[str, Any] = {"event_type": "what", "event_time": "at", "visitor_id": "who"}


def example_of_the_docs() -> tuple[str, str]:
    """The invented format of docs/formats.md: its mapping and its records."""
    text = DOCS.read_text(encoding="utf-8")
    (mapping,) = re.findall(r"```toml\n(event_type.*?)```", text, re.DOTALL)
    (records,) = re.findall(r"```json\n(\{\"what\".*?)```", text, re.DOTALL)
    return mapping, records


def one(told: dict[str, Any], record: bytes) -> list[Result]:
    return mapped_format(told, name="mine").results(record, Arrival(NOW_MS))


def test_the_example_of_the_docs_has_less_than_ten_lines_and_does_what_they_say(tmp_path: Path) -> None:
    mapping, records = example_of_the_docs()
    assert len(mapping.splitlines()) < 10
    toml, file = tmp_path / "kiosk.toml", tmp_path / "kiosk.jsonl"
    toml.write_text(mapping, encoding="utf-8")
    file.write_text(records, encoding="utf-8")
    with Source(file, read_mapping(toml), now_ms=NOW_MS) as source:
        results = [row.result for row in source]
    common: dict[str, Any] = {"visitor_id": "k-7", "currency": "EUR"}
    ids = [result.event_id for result in results if isinstance(result, Event)]
    assert len(set(ids)) == 4
    looked, took, took_too, paid = ids
    assert results == [
        Event(event_id=looked, event_type="view_item", event_time=1769884205000, item_id="tea", price=4.5, **common),
        Event(event_id=took, event_type="add_to_cart", event_time=1769884215000, item_id="tea", price=4.5, **common),
        Event(
            event_id=took_too, event_type="add_to_cart", event_time=1769884215000, item_id="cup", price=12.0, **common
        ),
        Rejected("invalid_value", "got 'pulse' at what, expected one of looked, took, paid", "event_type"),
        Event(event_id=paid, event_type="purchase", event_time=1769884225500, price=16.5, item_id="tea", **common),
    ]


def test_a_mapping_reads_csv_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("at;who;what;sku\n31.01.2026 19:30;v-1;view_item;r-1\n31.01.2026;v-1;view_item;r-1\n")
    told = {**NEEDED, "item_id": "sku", "time": {"format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"}}
    with Source(file, mapped_format(told, name="mine"), now_ms=NOW_MS) as source:
        first, second = (row.result for row in source)
    assert isinstance(first, Event)
    assert (first.event_time, first.visitor_id, first.item_id) == (1_769_884_200_000, "v-1", "r-1")
    assert isinstance(second, Rejected)
    assert "got at '31.01.2026', expected a time like 31.01.2026 18:30" in second.detail


@pytest.mark.parametrize(
    ("time", "value", "time_ms"),
    [
        ({"unit": "seconds"}, b"1769884205.25", 1_769_884_205_250),
        ({"unit": "seconds"}, b'"1769884205"', 1_769_884_205_000),
        ({"unit": "milliseconds"}, b"1769884205250", 1_769_884_205_250),
        ({"unit": "microseconds"}, b"1769884205250999", 1_769_884_205_250),
        ({"unit": "nanoseconds"}, b"1769884205250999999", 1_769_884_205_250),
        ({}, b'"2026-01-31T19:30:05.25+01:00"', 1_769_884_205_250),
        ({"unit": "iso", "zone": "America/New_York"}, b'"2026-01-31 13:30:05"', 1_769_884_205_000),
        ({"zone": "Europe/Berlin"}, b'"2026-07-31T20:30:05"', 1_785_522_605_000),  # in summer
    ],
)
def test_times_are_read_in_every_form(time: dict[str, str], value: bytes, time_ms: int) -> None:
    (event,) = one({**NEEDED, "time": time}, b'{"what":"page_view","who":"v","at":%b}' % value)
    assert isinstance(event, Event), event
    assert event.event_time == time_ms


def test_unknown_types_are_rejected_unless_they_are_to_be_ignored() -> None:
    record = b'{"what":"Pulse","who":"v","at":"2026-01-31T18:30:05Z"}'
    (result,) = one({**NEEDED, "types": {"seen": "view_item"}}, record)
    assert result == Rejected("invalid_value", "got 'Pulse' at what, expected one of seen", "event_type")
    assert one({**NEEDED, "types": {"seen": "view_item"}, "ignore": ["pulse"]}, record) == [Ignored("Pulse")]
    assert one({**NEEDED, "types": {"seen": "view_item"}, "ignore": ["*"]}, record) == [Ignored("Pulse")]


def test_constants_stand_where_a_record_says_nothing() -> None:
    told = {
        "event_time": "at",
        "visitor_id": "who",
        "source": "from",
        "constants": {"event_type": "page_view", "source": "app"},
    }
    for said, source in ((b"", "app"), (b',"from":"mail"', "mail")):
        (event,) = one(told, b'{"who":"v","at":"2026-01-31T18:30:05Z"%b}' % said)
        assert isinstance(event, Event), event
        assert (event.event_type, event.source) == ("page_view", source)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"visitor": "who"}, "got the key 'visitor', expected a field or a setting; did you mean visitor_id?"),
        (
            {"visitor_id": None},
            'visitor_id is missing, expected where it is in a record, such as visitor_id = "some.name"',
        ),
        (
            {"types": {"seen": "view_itm"}},
            "got types.seen = 'view_itm', expected an event type of ours; did you mean view_item?",
        ),
        ({"types": {"seen": 1}}, "got types.seen = 1, expected an event type of ours, one of page_view"),
        ({"types": []}, "got types = [], expected a table"),
        ({"item_id": "lines[]"}, "got item_id = 'lines[]', expected a place such as who.cookie or lines[].sku"),
        ({"item_id": "a..b"}, "got item_id = 'a..b'"),
        ({"item_id": 7}, "got item_id = 7, expected text or a list of texts"),
        ({"item_id": "a[].x", "price": "b[].y"}, "got two lists of items (a[].x and b[].y), expected one"),
        ({"visitor_id": "a[].x"}, "expected a place outside of the list"),
        ({"time": {"unit": "minutes"}}, "got time.unit = 'minutes', expected one of seconds, milliseconds"),
        ({"time": {"format": "yyyy"}}, "got time.format = 'yyyy', expected one like"),
        ({"time": {"format": "%Q"}}, "got time.format = '%Q'"),
        ({"time": {"unit": "seconds", "format": "%Y"}}, "got time with unit and format, expected one of them"),
        ({"time": {"zone": "Mars/Base"}}, "got time.zone = 'Mars/Base', expected a name such as Europe/Berlin"),
        ({"time": {"zone": "../passwd"}}, "got time.zone = '../passwd'"),
        ({"time": "seconds"}, "got time = 'seconds', expected a table of unit or format, and zone"),
        ({"price_unit": "cents"}, "got price_unit = 'cents', expected major, minor"),
        ({"constants": {"curency": "EUR"}}, "got the constant 'curency', expected a field; did you mean currency?"),
        ({"constants": {"currency": True}}, "got constants.currency = True, expected text or a number"),
        ({"constants": "EUR"}, "got constants = 'EUR', expected a table"),
        ({"ignore": "pulse", "types": None}, None),
    ],
)
def test_what_is_wrong_is_said_with_what_was_expected(changes: dict[str, Any], words: str | None) -> None:
    told = {key: value for key, value in {**NEEDED, **changes}.items() if value is not None}
    if words is None:
        mapped_format(told, name="mine")
        return
    with pytest.raises(MappingError) as error:
        mapped_format(told, name="mine")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_mapping_is_one_line_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(MappingError, match=r"mine\.toml: No such file"):
        read_mapping(path)
    path.write_text("event_type = what\n")
    with pytest.raises(MappingError, match=r"mine\.toml: is not TOML \(Invalid value \(at line 1"):
        read_mapping(path)
    path.write_bytes(b"\xff")
    with pytest.raises(MappingError, match="is not TOML"):
        read_mapping(path)
    path.write_text('event_type = "what"\n')
    with pytest.raises(MappingError, match=r"mine\.toml: event_time is missing"):
        read_mapping(path)


def test_a_mapping_is_never_taken_for_a_format_of_its_name(tmp_path: Path) -> None:
    mapping, file = tmp_path / "canonical", tmp_path / "mine.jsonl"
    mapping.write_text('event_type = "what"\nevent_time = "at"\nvisitor_id = "who"\n')
    file.write_text('{"what":"view_item","at":"2026-01-31T18:30:05Z","who":"v"}\n')
    with Source(file, read_mapping(mapping), now_ms=NOW_MS) as source:
        (row,) = source
    assert isinstance(row.result, Event)
