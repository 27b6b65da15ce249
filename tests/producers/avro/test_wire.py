"""A value is cut into its schema's number and its body, or it is said what it looks like instead."""

from __future__ import annotations

import pytest

from producers.avro.wire import Framed, frame, framed
from stream_app.core.codec import RECORD_BYTES_MAX, Rejected


def test_what_is_framed_is_cut_again() -> None:
    assert framed(frame(7, b"abc")) == Framed(7, b"abc")
    assert framed(b"\x00\x00\x01\x00\x00") == Framed(65_536, b"")
    assert framed(b"\x00\xff\xff\xff\xff\x02") == Framed(2**32 - 1, b"\x02")


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (b"", "empty_value", "got a record without a value"),
        (b'{"a":1}', "not_avro", "got a first byte 0x7b, as JSON has, expected a zero byte"),
        (b"Obj\x01rest", "not_avro", "as an Avro file has"),
        (b"\xc3\x01 and a fingerprint", "not_avro", "as Avro's single-object encoding has"),
        (b"\x01\x00\x00\x00\x01", "not_avro", "got a first byte 0x01, expected a zero byte, the schema's number"),
        (b"\x00\x00\x00\x01", "not_avro", "got 4 bytes, expected a zero byte"),
        (b"\x00" * (RECORD_BYTES_MAX + 1), "too_large", f"expected at most {RECORD_BYTES_MAX}"),
    ],
)
def test_what_is_not_says_what_it_looks_like(value: bytes, reason: str, words: str) -> None:
    told = framed(value)
    assert isinstance(told, Rejected)
    assert told.reason == reason
    assert words in told.detail
