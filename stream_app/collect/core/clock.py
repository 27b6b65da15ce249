"""How wrong a sender's clock is, told by when it says that it sent, and what its times are by ours."""

from __future__ import annotations

from typing import Final, NamedTuple

from producers.adapters.value import TimeForm, time_ms
from stream_app.core.codec import Rejected, check_event_time
from stream_app.core.events import Event

#: Below this a difference is the way through the network, which varies between two requests of one visitor: times moved
#: by it could overtake each other. Sessions end after minutes, and features are of the logarithm of seconds.
SKEW_MS_MIN: Final = 5_000

_ISO: Final = TimeForm("iso", zone=None)


class SenderClock(NamedTuple):
    """When a request arrived, in ms since 1970 by our clock, and how far the sender's clock is behind ours."""

    received_ms: int
    behind_ms: int = 0

    @property
    def now_ms(self) -> int:
        """When it arrived, by the sender's clock: what the request's own times are held against."""
        return self.received_ms - self.behind_ms

    def corrected(self, event: Event) -> Event | Rejected:
        """Move an event's time, if the clock is wrong, and hold it to the bounds of every record."""
        if self.behind_ms and isinstance(event.event_time, int):
            event.event_time += self.behind_ms
        return check_event_time(event, record_time_ms=self.received_ms)


def clock_of(received_ms: int, sent_ms: int | None) -> SenderClock:
    """The clock of a sender that said when it sent; None: it did not, and is believed."""
    if sent_ms is None or abs(received_ms - sent_ms) < SKEW_MS_MIN:
        return SenderClock(received_ms)
    return SenderClock(received_ms, received_ms - sent_ms)


def sent_ms(name: str, value: object) -> int | Rejected | None:
    """Read when a body was sent: ms since 1970, or ISO 8601 text with an offset."""
    if value is None or type(value) is int:
        return value
    return time_ms(name, value, _ISO)
