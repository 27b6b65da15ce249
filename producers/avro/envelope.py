"""Avro as a format: an envelope, as CloudEvents are. What is inside is what a JSON record would have held.

It is recognised by its names, record by record — our own events, Segment's calls, rows of GA4's export, … —, or read by
a mapping file.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, Final

from producers.adapters.result import Adapt, Arrival, Record, Result
from producers.avro.schemas import Decoders
from producers.avro.wire import framed
from producers.format_option import AVRO, AVRO_DESCRIPTION
from producers.formats import Format, recognised
from stream_app.core.codec import Rejected

#: Names of records, by which their format is known; to compare them anew takes longer than to read a record. A schema
#: has as many as there are ways to leave its fields out that occur.
_SHAPES_KEPT: Final = 1_024


def avro_format(inner: Format | None, decoders: Decoders) -> Format:
    """The format of records that these decoders read. `inner` is of what they hold; None recognises it."""
    return Format(
        AVRO if inner is None else f"{AVRO} of {inner.name}",
        AVRO_DESCRIPTION,
        _by_its_names if inner is None else inner.record_adapter(),
        marks=(),
        decode=partial(_decode, decoders),
    )


def _decode(decoders: Decoders, value: bytes) -> dict[str, Any] | Rejected:
    parts = framed(value)
    if isinstance(parts, Rejected):
        return parts
    decoder = decoders[parts.schema]
    return decoder if isinstance(decoder, Rejected) else decoder(parts.body)


@lru_cache(_SHAPES_KEPT)
def _recognised(names: tuple[str, ...]) -> Adapt | Rejected:
    return recognised(dict.fromkeys(names))


def _by_its_names(record: Record, arrival: Arrival) -> list[Result]:
    adapt = _recognised(tuple(record))
    return [adapt] if isinstance(adapt, Rejected) else adapt(record, arrival)
