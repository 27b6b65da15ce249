"""How far event time has come in a partition, in a way that one bad clock cannot spoil.

The watermark trails the newest event time by the grace. An event that lies more than a session gap ahead of the newest
is only a suspicion: the watermark follows when `CONFIRMATIONS` such events came in a row, from more than one visitor,
and then only to the earliest of them. So a phone that lives in tomorrow closes nobody's session, while a shop that was
shut for the night goes on at its third event. The state is small and travels with the committed position: the same log
gives the same watermarks after any crash.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Events in a row that must agree on a jump. Two could be one broken client under two visitor ids; more would keep a
#: slow shop's sessions open longer in the morning.
CONFIRMATIONS: Final = 3

#: The watermark before anything is known: no session is due.
UNKNOWN: Final = -1


class Watermark(msgspec.Struct, array_like=True, gc=False):
    """`newest` is the newest believed event time in ms (−1 unknown); the rest is the pending suspicion."""

    newest: int = UNKNOWN
    pending: int = 0
    pending_min: int = 0
    pending_visitor: str = ""
    pending_mixed: bool = False

    def observe(self, event_time: int, visitor_id: str, *, gap_ms: int) -> None:
        """Take one event into account, in offset order."""
        if self.newest != UNKNOWN and event_time <= self.newest + gap_ms:
            if event_time > self.newest:
                self.newest = event_time
            # A late event says nothing about a jump; one in the present says the suspicion was wrong.
            if self.pending and event_time > self.newest - gap_ms:
                self.pending = 0
            return
        if self.pending == 0:
            self.pending_min, self.pending_visitor, self.pending_mixed = event_time, visitor_id, False
        else:
            self.pending_min = min(self.pending_min, event_time)
            self.pending_mixed = self.pending_mixed or visitor_id != self.pending_visitor
        self.pending += 1
        if self.pending >= CONFIRMATIONS and self.pending_mixed:
            self.newest = max(self.newest, self.pending_min)
            self.pending = 0

    def advance(self, elapsed_ms: int) -> None:
        """Let event time flow with the wall clock while a partition is idle.

        Nobody is left to confirm a suspicion then: where nothing at all is known yet, as with a shop's first and only
        visitor, the earliest suspected time is believed, or the session would never end.
        """
        if elapsed_ms <= 0:
            return
        if self.newest == UNKNOWN and self.pending:
            self.newest, self.pending = self.pending_min, 0
        if self.newest != UNKNOWN:
            self.newest += elapsed_ms

    def time(self, *, grace_ms: int) -> int:
        """The watermark time in ms: sessions whose deadline is at or before it are over."""
        return self.newest - grace_ms if self.newest != UNKNOWN else UNKNOWN
