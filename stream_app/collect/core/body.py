"""A request's body, opened: its names, its events as the bytes that they came as, and the write key in it, if any.

Only the outermost level is looked at here. What the events say is read in `reading.py`, once the sender may send them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from producers.adapters.row import shown
from stream_app.core.codec import Rejected, too_deep

#: Events of one request: Segment takes as many calls in a batch, and an answer has an entry for each.
EVENTS_MAX: Final = 500

_LISTED: Final = msgspec.json.Decoder(list[msgspec.Raw])
_NAMED: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

#: Where a body has several events, by the formats' own names.
_LISTS: Final = ("events", "batch")


class Body(NamedTuple):
    """A body, opened.

    Attributes
    ----------
    raw
        All of it.
    names
        Of an object: name → the bytes of its value. Empty of anything else.
    events
        The bytes of each of its events; of a body that is a single one, all of it.
    is_list
        Whether it is a JSON array of events.
    problem
        Why it is neither an object nor an array of at most `EVENTS_MAX`.
    """

    raw: bytes
    names: Mapping[str, msgspec.Raw]
    events: Sequence[msgspec.Raw]
    is_list: bool = False
    problem: Rejected | None = None

    @property
    def write_key(self) -> str | None:
        """The key that analytics.js puts into its bodies."""
        found = value(self.names.get("writeKey"))
        return found if isinstance(found, str) else None


def opened(raw: bytes) -> Body:
    """Open a body. Whatever it is, there is a `Body` of it: nothing raises."""
    if not raw.strip():
        return _wrong(raw, Rejected("empty_value", "got an empty body, expected an event or several as JSON"))
    is_list = raw.lstrip()[:1] == b"["
    found = _decoded(_LISTED if is_list else _NAMED, raw)
    if isinstance(found, Rejected):
        return _wrong(raw, found)
    if is_list:
        return _bounded(Body(raw, {}, found, is_list=True))
    for name in _LISTS:
        listed = _decoded(_LISTED, bytes(found[name])) if name in found else None
        if isinstance(listed, list):
            return _bounded(Body(raw, found, listed))
    return Body(raw, found, [msgspec.Raw(raw)])


def value(raw: msgspec.Raw | None) -> Any:
    """What a name's bytes say; None for none, and for what is not JSON after all."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def decoded_object(raw: bytes) -> dict[str, Any] | Rejected:
    """A whole body that is an object, with all that is in it."""
    found = _decoded(_OBJECT, raw)
    return found if isinstance(found, Rejected) else dict(found)


_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


def _decoded(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any | Rejected:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        return Rejected("wrong_type", f"got {shown(value(msgspec.Raw(raw)))}, expected a JSON object, or an array")
    except (msgspec.DecodeError, UnicodeError) as error:
        return Rejected("not_json", f"got bytes that are not JSON ({error}), expected an event or several")
    except RecursionError:
        return too_deep()


def _bounded(body: Body) -> Body:
    if len(body.events) <= EVENTS_MAX:
        return body
    told = f"got {len(body.events)} events in one request, expected at most {EVENTS_MAX}"
    return _wrong(body.raw, Rejected("invalid_value", told))._replace(names=body.names)


def _wrong(raw: bytes, problem: Rejected) -> Body:
    return Body(raw, {}, [msgspec.Raw(raw)], problem=problem)
