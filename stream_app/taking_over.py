"""Taking a partition over: from what Kafka has committed to a view and deadlines that a processor can start from.

    fence → committed offsets and position → is the view one to build on? → bring it up to the changelog, or rebuild it

Redis is a checkpoint of the changelog: its position says up to which offset it contains it (docs/adr/0005). What it
misses is read from there; a view that is missing, or is not one of this changelog, is rebuilt from all of it. Writing
the view moves its seq beyond every one that was stored or committed: a former owner's compare-and-set fails from then
on.

In the changelog the newest state of a visitor is the one that has applied most. That is the last one, but for a former
owner that woke up and wrote what it still held (`at_least_once`; a transaction would have failed). Compaction would
keep that one, so what it covered up is written again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from stream_app.backends.ports import BehindError, Committed, PartitionLog, UnusableError, View
from stream_app.core import state
from stream_app.core.effects import Effects, Planned, Position
from stream_app.core.plan import Rules
from stream_app.observe import Observer

_BEHIND: Final = "the committed offsets are older than the states: the coordinator is not ready"

#: An owner's first seq lies up to so far above the last known one. JSON and Lua count exactly up to 2^53: eight billion
#: take-overs.
SEQ_JUMP: Final = 2**20

#: States per call when the view is rebuilt.
_REBUILD_STATES: Final = 1_000


class ViewLostError(Exception):
    """Redis is not where it should be: wiped, rolled back, or single keys gone. Restored from the changelog."""


class TakenOver(NamedTuple):
    """Where to begin: the position, visitor → deadline of those with an open session, and what was begun before.

    `events_end` is where the events ended: what a former owner has read lies before it.
    """

    position: Position
    deadlines: dict[str, int]
    planned: Planned | None
    events_end: int


class TakingOver:
    """One attempt. `alive` is called now and then, so that a long restore is not taken for a hang."""

    def __init__(
        self,
        partition: int,
        *,
        log: PartitionLog,
        view: View,
        rules: Rules,
        observer: Observer,
        now: Callable[[], float],
        alive: Callable[[], None],
        restoring: asyncio.Semaphore,
    ) -> None:
        self._partition = partition
        self._log, self._view, self._rules, self._observer = log, view, rules, observer
        self._now, self._alive, self._restoring = now, alive, restoring

    async def run(self, *, rebuild: bool, seq_min: int, believe: bool) -> TakenOver:
        """Fence, restore, seek. `rebuild` distrusts the view; the position's seq will be above `seq_min`.

        `believe` takes the committed offsets as they are told, also when they are older than what view and changelog
        contain. In the seconds after its broker's restart a coordinator tells old ones, or none, and no error.

        Raises
        ------
        LogError, ViewError
            Kafka or Redis did not answer: try again.
        BehindError
            The committed offsets are older than what is known: try again, and in the end believe them.
        ViewLostError
            The view was written by somebody else meanwhile: try again.
        UnusableError
            A person must act.
        """
        committed = await self._log.take_over()
        stored, _ = await self._view.load(self._partition, [])
        known = stored is not None and await self._log.knows(stored)
        # A view of other topics tells why there are no offsets for these: nothing to wait for.
        believe = believe or (stored is not None and not known)
        if stored is not None and known and not believe:
            self._refuse_older(committed, stored.events_offset)
        if not committed.begun and stored is not None and known:
            # The group's offsets are gone (expired, or deleted), the topics are not. The view is a few batches behind
            # what was committed at the most; the states know those.
            committed = Committed(stored.events_offset, stored.labels_offset, stored, committed.events_end)
            self._observer.offsets_lost(self._partition, stored.events_offset, stored.labels_offset)
        # After fencing: before it the former owner could still add to the log.
        end = await self._log.changelog_end()
        base = committed.position or Position(
            events_offset=committed.events_offset, labels_offset=committed.labels_offset
        )
        # Far from where anybody else begins: two that take over at once, one of them without right, would go on from
        # the same number, and each would take the other's view for its own.
        jump = 1 + int(self._now() * 1e6) % SEQ_JUMP
        seq = max(base.seq, stored.seq if stored else 0, seq_min) + jump
        deadlines: dict[str, int] = {}
        if stored is not None and not rebuild:
            deadlines = await self._view.open_visitors(self._partition)
            rebuild = stored.open_visitors not in (-1, len(deadlines))
        if stored is None or rebuild or not committed.begun or not 0 <= stored.changelog_end <= end:
            reason = "missing" if stored is None else "lost" if rebuild else "not of this changelog"
            if not committed.begun:
                reason = "nothing was committed yet"
            # One partition of a worker at a time: all its visitors' states are in memory meanwhile, about 1 kB each.
            async with self._restoring:
                self._alive()
                deadlines, seq, end = await self._restore(base, seq, end, reason, committed, believe=believe)
        else:
            seq, end = await self._catch_up(base, stored, deadlines, seq, end)
        await self._log.seek(events_offset=committed.events_offset, labels_offset=committed.labels_offset)
        position = msgspec.structs.replace(
            base,
            seq=seq,
            events_offset=committed.events_offset,
            labels_offset=committed.labels_offset,
            changelog_end=end,
            planned=None,
        )
        return TakenOver(position, deadlines, _pending(committed), committed.events_end)

    async def _restore(
        self, base: Position, seq: int, end: int, reason: str, committed: Committed, *, believe: bool
    ) -> tuple[dict[str, int], int, int]:
        """Rebuild the view from the whole changelog; the deadlines found, the view's seq and what it contains."""
        started = time.monotonic()
        newest, covered = await self._read(start=0, end=end)
        if newest and not believe:
            applied = (_applied(blob)[0] for blob in newest.values() if blob is not None)
            self._refuse_older(committed, 1 + max(applied, default=-1))
        if newest and not committed.begun:
            # Offsets are committed before, or with, the first state.
            raise UnusableError(
                f"got no committed offsets, expected some, as the changelog has the states of {len(newest)} visitors: "
                "the events topic was deleted and made again, or the group's offsets were deleted or have expired; set "
                "the group's offsets to where reading is to go on, or start a new group id and topic prefix"
            )
        end = await self._write_again(base, {visitor: newest[visitor] for visitor in covered}, end)
        await self._view.clear(self._partition)
        deadlines: dict[str, int] = {}
        for visitor in [visitor for visitor, blob in newest.items() if blob is None]:
            del newest[visitor]
        seq = await self._write_view(newest, deadlines, base, expected=0, seq=seq, end=end)
        self._observer.restored(self._partition, "changelog", len(newest), time.monotonic() - started, reason)
        return deadlines, seq, end

    def _refuse_older(self, committed: Committed, events_offset: int) -> None:
        """Refuse committed offsets below one that is known to have been reached.

        With `exactly_once` states and view never are ahead of the commit; without a transaction they may be, but not of
        no commit at all.
        """
        if not committed.begun or (self._log.atomic and committed.events_offset < events_offset):
            told = committed.events_offset if committed.begun else "none"
            raise BehindError(f"{_BEHIND}: told {told}, known {events_offset}")

    async def _catch_up(
        self, base: Position, stored: Position, deadlines: dict[str, int], seq: int, end: int
    ) -> tuple[int, int]:
        """Bring view and deadlines up to the changelog's end, if they missed any; the new seq and end."""
        started = time.monotonic()
        newest: dict[str, bytes | None] = {}
        if stored.changelog_end < end:
            newest, covered = await self._read(start=stored.changelog_end, end=end)
            _, known = await self._view.load(self._partition, list(newest))
            for visitor, blob in zip(list(newest), known, strict=True):
                found = newest[visitor]
                if found is not None and blob is not None and not _is_newer(found, blob):
                    newest[visitor] = blob
                    covered.add(visitor)
            end = await self._write_again(base, {visitor: newest[visitor] for visitor in covered}, end)
        seq = await self._write_view(newest, deadlines, base, expected=stored.seq, seq=seq, end=end)
        if newest:
            self._observer.restored(
                self._partition, "changelog tail", len(newest), time.monotonic() - started, "the view was behind"
            )
        return seq, end

    async def _read(self, *, start: int, end: int) -> tuple[dict[str, bytes | None], set[str]]:
        """Each visitor's newest state in a part of the changelog, and for whom that is not the last one there."""
        newest: dict[str, bytes | None] = {}
        covered: set[str] = set()
        #: of those who were forgotten, what was: a state that has applied no more than that is a former owner's
        erased: dict[str, bytes] = {}
        if start >= end:
            return newest, covered
        async for chunk in self._log.changelog(start=start, end=end):
            self._alive()
            for visitor, blob in chunk:
                before = newest.get(visitor)
                if blob is None:
                    if before is not None:
                        erased[visitor] = before
                elif (visitor in erased and not _is_beyond(blob, erased[visitor])) or not _is_newer(blob, before):
                    if blob != before:
                        covered.add(visitor)
                    continue
                newest[visitor] = blob
                covered.discard(visitor)
        return newest, covered

    async def _write_again(self, base: Position, states: dict[str, bytes | None], end: int) -> int:
        """Put states that an older one has covered up at the changelog's end; the new end."""
        if not states:
            return end
        self._observer.covered_up(self._partition, len(states))
        return await self._log.publish(Effects(msgspec.structs.replace(base), states=states))

    async def _write_view(
        self,
        states: dict[str, bytes | None],
        deadlines: dict[str, int],
        base: Position,
        *,
        expected: int,
        seq: int,
        end: int,
    ) -> int:
        """Write states in steps and update `deadlines` by them; the seq of the last step.

        Each step has a seq of its own: two that share one would look like one write that is repeated. Only the last
        says that the view is complete (its `changelog_end`); before it the view is marked as one that covers nothing.
        """
        visitors = list(states)
        for start in range(0, max(1, len(visitors)), _REBUILD_STATES):
            self._alive()
            chunk = {visitor: states[visitor] for visitor in visitors[start : start + _REBUILD_STATES]}
            changes = {visitor: self._deadline(blob) for visitor, blob in chunk.items()}
            last = start + _REBUILD_STATES >= len(visitors)
            position = msgspec.structs.replace(
                base, seq=seq, changelog_end=end if last else -1, wall_time=int(self._now() * 1000), planned=None
            )
            for visitor, deadline in changes.items():
                if deadline is None:
                    deadlines.pop(visitor, None)
                else:
                    deadlines[visitor] = deadline
            position.open_visitors = len(deadlines)
            stored = await self._view.write(
                self._partition, expected_seq=expected, position=position, states=chunk, deadlines=changes
            )
            if stored is not None:
                raise ViewLostError(
                    f"the view changed while it was restored: got seq {stored.seq}, expected {expected}"
                )
            expected, seq = seq, seq + 1
        return expected

    def _deadline(self, blob: bytes | None) -> int | None:
        try:
            return state.decode(blob).deadline(self._rules.gap_ms, self._rules.quiet_ms) if blob is not None else None
        except state.DamagedStateError as error:
            raise _unreadable(error) from None


def _pending(committed: Committed) -> Planned | None:
    """The batch that was announced and perhaps begun, if it lies beyond what is committed."""
    planned = committed.position.planned if committed.position else None
    if planned is None:
        return None
    done = (committed.events_offset, committed.labels_offset) > (planned.events_from, planned.labels_from)
    return None if done else planned


def _applied(blob: bytes) -> tuple[int, int, int]:
    """As `state.applied`, of a state in the changelog.

    Raises
    ------
    UnusableError
        If it cannot be read: there is nothing left to rebuild it from.
    """
    try:
        return state.applied(blob)
    except state.DamagedStateError as error:
        raise _unreadable(error) from None


def _is_newer(blob: bytes, than: bytes | None) -> bool:
    """Whether a state replaces one that came before it.

    Batches are carried out again as they were, so one visitor's states are ordered by what they have applied. Of two
    that are level the later one has the say. Raises as `_applied`.
    """
    return than is None or _applied(blob) >= _applied(than)


def _is_beyond(blob: bytes, erased: bytes) -> bool:
    """Whether a state has applied a record that the erased one had not: a new visitor's. Raises as `_applied`."""
    events_offset, labels_offset, _ = _applied(blob)
    erased_events, erased_labels, _ = _applied(erased)
    return events_offset > erased_events or labels_offset > erased_labels


def _unreadable(error: state.DamagedStateError) -> UnusableError:
    return UnusableError(f"the changelog holds a state that cannot be read: {error}")
