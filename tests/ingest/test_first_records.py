"""What a topic's records tell of their format."""

from __future__ import annotations

import pytest

from producers.formats import FORMATS
from stream_app.ingest.first_records import detect_records
from tests.ingest.raw import ga4
from tests.producers.test_golden import FILES, GOLDEN

JSON_LINES = [name for name in FILES if name.endswith(".jsonl")]


@pytest.mark.parametrize("name", JSON_LINES)
def test_json_of_every_format_is_told_from_a_topics_values(name: str) -> None:
    values = [(line, ()) for line in (GOLDEN / name).read_bytes().splitlines()]
    assert detect_records(values).format is FORMATS[FILES[name][0]]


def test_lines_of_enriched_events_are_told_by_their_fields() -> None:
    told = detect_records([(line, ()) for line in (GOLDEN / "snowplow.tsv").read_bytes().splitlines()])
    assert told.format is FORMATS["snowplow"]
    assert told.why == "22 of 23 records have 131 fields with tabs between"


def test_binary_cloudevents_are_told_by_their_headers_whatever_is_inside() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"1")]
    told = detect_records([(ga4("c-1", "page_view"), headers), (ga4("c-1", "page_view"), headers), (b"{", ())])
    assert told.format is FORMATS["cloudevents"]
    assert told.why == "2 of 3 records have the header ce_specversion"


def test_avro_is_told_but_not_taken_since_it_takes_a_registry() -> None:
    told = detect_records([(b"\0\0\0\0\x07\x02", ()), (b"\0\0\0\0\x07\x04", ()), (b"{", ())])
    assert told.format is None
    assert told.why == "2 of 3 records begin with a zero byte, as Avro with a schema registry does"
    assert told.advice == "say --format avro (docs/formats.md)"


def test_a_single_broken_record_tells_nothing_and_what_helps_is_said() -> None:
    told = detect_records([(b'{"client_id', ()), (None, ())])
    assert told.format is None
    assert told.why == "none of 2 records is a JSON object"
    assert told.advice == "say --format, or --mapping (docs/formats.md)"


def test_records_of_an_unknown_shape_are_compared_with_the_closest_format() -> None:
    told = detect_records([(b'{"pulse":61}', ()), (b'{"pulse":62}', ())])
    assert told.format is None
    assert told.why == "the newest 2 records have none of the known formats: got pulse"
