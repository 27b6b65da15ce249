"""How far event time has come in a partition, in a way that one visitor cannot spoil, with however many events.

An event tells two times: its own, from a visitor's clock, and the broker's, when its record was written. An event whose
two times agree, to within the grace, is *prompt*.

* At first it may be a replay. The latest few distinct visitors are asked, and an event is believed as far as a majority
  of them has come. The broker's clock says nothing then: the same events give the same watermarks at any speed.
* When a majority of them is prompt, the partition has come to the present, for good. From then on time flows with the
  broker's clock, and an event is believed at once: a shop's only visitor moves time on, so does the first one in the
  morning, and a backlog of old events does not hold it up.

Event time never passes the broker's clock. A phone that lives in tomorrow, or a bot that walks there in small steps or
under a new name each time, moves the present nowhere; a replay it can move only as the majority.

All of it is a function of the log, and small; it travels with the committed position, so that the same log gives the
same watermarks after any crash. Why so, and what was rejected: docs/adr/0015.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Distinct visitors that are asked, the latest ones, and how many of them must agree. More bear more wrong clocks in a
#: replay, and let that of a small shop trail further behind: its time is that of the third-latest visitor.
VISITORS_ASKED: Final = 5
MAJORITY: Final = 3

#: The watermark before anything is known: no session is due.
UNKNOWN: Final = -1

_PROMPT: Final = 0


class Watermark(msgspec.Struct, array_like=True, gc=False):
    """`newest` is the newest believed event time (ms), `live` whether it has come to the present.

    Until then, `recent` holds the visitors that are asked, the latest last: the CRC-32 of its id → the time of its
    newest event, or 0 if that was prompt; and `received` is the broker's time of the last event (ms).
    """

    newest: int = UNKNOWN
    live: bool = False
    received: int = 0
    recent: dict[int, int] = {}

    def copy(self) -> Watermark:
        """One to go on with, that leaves this one as it is."""
        return Watermark(self.newest, self.live, self.received, self.recent.copy())

    def observe(self, event_time: int, visitor: int, *, received: int, grace_ms: int) -> None:
        """Take one event into account, in offset order; `visitor` is the CRC-32 of its id."""
        reached = received
        if not self.live:
            self.received = received
            recent = self.recent
            recent.pop(visitor, None)
            recent[visitor] = _PROMPT if event_time >= received - grace_ms else event_time
            if len(recent) > VISITORS_ASKED:
                del recent[next(iter(recent))]
            if event_time <= self.newest or len(recent) < MAJORITY:
                return
            # Sorted, the prompt ones come first: who is prompt in a replay is ahead of all others.
            times = sorted(recent.values())
            prompt = times.count(_PROMPT)
            if prompt < MAJORITY:
                reached = min(received, times[prompt - MAJORITY])
            else:
                self._arrive()
        if event_time > reached:
            event_time = reached
        if event_time > self.newest:
            self.newest = event_time

    def advance(self, elapsed_ms: int) -> None:
        """Let event time flow with the wall clock while a partition is idle.

        With fewer visitors than a majority nobody is there to agree: the second-newest time is believed then, or the
        only one, or its session would never end.
        """
        if elapsed_ms <= 0:
            return
        if self.newest == UNKNOWN and self.recent:
            times = sorted(time or self.received for time in self.recent.values())
            self.newest = times[-min(2, len(times))]
            if not any(self.recent.values()):
                self._arrive()
        if self.newest != UNKNOWN:
            self.newest += elapsed_ms

    def time(self, *, grace_ms: int) -> int:
        """The watermark time in ms: sessions whose deadline is at or before it are over."""
        return self.newest - grace_ms if self.newest != UNKNOWN else UNKNOWN

    def _arrive(self) -> None:
        # Nobody is asked any more. A new dict: another watermark may share the old one.
        self.live, self.received, self.recent = True, 0, {}
