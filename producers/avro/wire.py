"""Confluent's wire format: a zero byte, the schema's number in 4 bytes, big endian, and the record in binary Avro.

Source: Confluent, "Formats, Serializers, and Deserializers", section "Wire format".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stream_app.core.codec import RECORD_BYTES_MAX, Rejected

MAGIC: Final = 0
HEAD_BYTES: Final = 5

_EXPECTED: Final = "expected a zero byte, the schema's number in 4 bytes, and the record"


class Framed(NamedTuple):
    """A value in its two parts: the number of its schema at the registry, and the record's own bytes."""

    schema: int
    body: bytes


def framed(value: bytes) -> Framed | Rejected:
    """Cut a record's value, within the size that all records have."""
    if not value:
        return Rejected("empty_value", f"got a record without a value, {_EXPECTED}")
    if len(value) > RECORD_BYTES_MAX:
        return Rejected("too_large", f"got {len(value)} bytes, expected at most {RECORD_BYTES_MAX}")
    if value[0] != MAGIC:
        return Rejected("not_avro", f"got {_looks(value)}, {_EXPECTED}")
    if len(value) < HEAD_BYTES:
        return Rejected("not_avro", f"got {len(value)} bytes, {_EXPECTED}")
    return Framed(int.from_bytes(value[1:HEAD_BYTES], "big"), value[HEAD_BYTES:])


def frame(schema: int, body: bytes) -> bytes:
    """The value of a record: what `framed` cuts."""
    return bytes([MAGIC]) + schema.to_bytes(4, "big") + body


def _looks(value: bytes) -> str:
    """What came instead, as far as its first bytes tell: it is most often another topic's format."""
    begin = f"a first byte 0x{value[0]:02x}"
    if value.lstrip()[:1] in (b"{", b"["):
        return f"{begin}, as JSON has"
    if value.startswith(b"Obj\x01"):
        return f"{begin}, as an Avro file has"
    if value.startswith(b"\xc3\x01"):
        return f"{begin}, as Avro's single-object encoding has, which names no number of a registry"
    return begin
