"""How far event time has come in a partition, in a way that one visitor cannot spoil, with however many events.

An event says two times: its own, from a visitor's clock, and the broker's, when its record was written. Their
difference is how far the visitor's clock is *ahead*: about zero in a live shop, years below it in a replay. The
watermark knows the `lead` that a majority of the recent visitors reach, and believes an event up to the broker's time
plus that lead:

    believed = min(event time, broker's time + lead)          newest = the greatest believed so far

Live, time flows with the broker's clock: a shop's only visitor moves it on, and so does the first one in the morning,
while a phone that lives in tomorrow, or a bot that walks there in small steps, moves it to now and no further. Nobody's
lead counts for more than the grace, so that the watermark, which trails by the grace, never passes the broker's clock.
In a replay, event time outruns the broker's clock and moves as a majority of the recent visitors does. A lead only
grows: late events say nothing about the present.

All of it is a function of the log, and small; it travels with the committed position, so that the same log gives the
same watermarks after any crash. The alternatives are in docs/adr/0015.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Distinct visitors that are asked, the latest ones, and how many of them must agree. More bear more wrong clocks
#: in a replay, and let that of a small shop trail further behind: its time is that of the third-latest visitor.
VISITORS_ASKED: Final = 5
MAJORITY: Final = 3

#: The watermark before anything is known: no session is due.
UNKNOWN: Final = -1


class Watermark(msgspec.Struct, array_like=True, gc=False):
    """`newest` is the newest believed event time, `received` the broker's time of the last event; both in ms.

    `lead` is what may be believed beyond the broker's time (ms, mostly negative; None: not known yet), `recent` how far
    ahead each of the recent visitors was when last heard, by the CRC-32 of its id, the latest last.
    """

    newest: int = UNKNOWN
    lead: int | None = None
    received: int = 0
    recent: dict[int, int] = {}

    def copy(self) -> Watermark:
        """One to go on with, that leaves this one as it is."""
        return Watermark(self.newest, self.lead, self.received, self.recent.copy())

    def observe(self, event_time: int, visitor: int, *, received: int, grace_ms: int) -> None:
        """Take one event into account, in offset order; `visitor` is the CRC-32 of its id."""
        ahead = event_time - received
        if ahead > grace_ms:
            ahead, event_time = grace_ms, received + grace_ms
        recent = self.recent
        recent.pop(visitor, None)
        recent[visitor] = ahead
        if len(recent) > VISITORS_ASKED:
            del recent[next(iter(recent))]
        self.received = received
        lead = self.lead
        if lead is None or ahead > lead:
            if len(recent) >= MAJORITY:
                agreed = sorted(recent.values())[-MAJORITY]
                if lead is None or agreed > lead:
                    self.lead = lead = agreed
            if lead is None:
                return
            if ahead > lead:
                event_time = received + lead
        if event_time > self.newest:
            self.newest = event_time

    def advance(self, elapsed_ms: int) -> None:
        """Let event time flow with the wall clock while a partition is idle.

        With fewer visitors than a majority nobody is there to agree: the second-farthest is believed then, or the only
        one, or its session would never end.
        """
        if elapsed_ms <= 0:
            return
        if self.lead is None and self.recent:
            self.lead = sorted(self.recent.values())[-min(2, len(self.recent))]
            self.newest = max(self.newest, self.received + self.lead)
        if self.newest != UNKNOWN:
            self.newest += elapsed_ms

    def time(self, *, grace_ms: int) -> int:
        """The watermark time in ms: sessions whose deadline is at or before it are over."""
        return self.newest - grace_ms if self.newest != UNKNOWN else UNKNOWN
