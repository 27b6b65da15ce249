"""The schemas of what comes in say what the decoder accepts, for every odd record that was ever thought of."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest

from stream_app import topics
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.schemas.documents import documents

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
NOW_MS = 1_767_300_000_000
#: Valid, and yet not accepted: what JSON Schema cannot say.
STRICTER = {
    "time_10_to_400.json": "no time may lie more than a day after the record's own timestamp",
    "time_year_1.json": "a bound on a time as text",
    "time_year_9999.json": "the same",
    "time_leap_second.json": "the schema's date-time has leap seconds",
    "time_float.json": "for JSON Schema 1.0 is a whole number",
}
#: Accepted, and yet not even read by others.
LAXER = {"long_unknown_number.json": "a number that we pass over, beyond what a float can hold"}
VALIDATORS = {
    name: jsonschema_rs.Draft202012Validator(json.loads(text), validate_formats=True)
    for name, text in documents().items()
    if name in (f"{topics.EVENTS}.schema.json", f"{topics.LABELS}.schema.json")
}


@pytest.mark.parametrize(
    "path",
    sorted([*(CORPUS / "event").iterdir(), *(CORPUS / "label").iterdir()]),
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_a_record_is_accepted_if_and_only_if_it_is_valid(path: Path) -> None:
    value = path.read_bytes()
    if path.parent.name == "event":
        topic, read = topics.EVENTS, codec.decode_event(value, record_time_ms=NOW_MS)
    else:
        topic, read = topics.LABELS, codec.decode_label(value, record_time_ms=NOW_MS)  # type: ignore[assignment]
    valid = is_valid(VALIDATORS[f"{topic}.schema.json"], value)
    accepted = not isinstance(read, Rejected)
    if path.name in STRICTER:
        assert (valid, accepted) == (True, False), STRICTER[path.name]
    elif path.name in LAXER:
        assert (valid, accepted) == (False, True), LAXER[path.name]
    else:
        assert valid == accepted


def is_valid(validator: jsonschema_rs.Draft202012Validator, value: bytes) -> bool:
    try:
        given = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return validator.is_valid(given)
