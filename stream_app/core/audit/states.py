"""States on trial: the changelog's newest of each visitor, the view's, and the one that the reference fold has reached.

What depends on the model (scores and versions in the samples, the last score) is left out of the comparison with the
fold; between changelog and view every byte counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from stream_app.core import state
from stream_app.core.audit.fold import PartitionFold
from stream_app.core.audit.report import Check, Names, Violation, quote
from stream_app.core.audit.rows import hashed
from stream_app.core.effects import Position

_DAMAGED: Final = (state.DamagedStateError, state.StateVersionError)


class _Newest(NamedTuple):
    """What is kept of a visitor's newest record in the changelog."""

    applied: tuple[int, ...]
    blob: int
    plain: int
    offset: int
    timestamp: int
    deadline: int | None


def without_model(visitor: state.Visitor) -> bytes:
    """The state as a blob, with constants in place of whatever a model said, and of what moments are told from.

    That depends on the scores, on which of the two input topics was read first, and on when the clock moved time on.
    Changes the visitor.
    """
    for last in (visitor.last_score, *(s.scored for s in visitor.sessions)):
        if last is not None:
            last.score, last.band, last.model_version, last.cold = 0.0, "", 0, False
    for current in visitor.sessions:
        current.band, current.trend, current.logit_mean, current.side = -1, 0, 0, 0
        current.quiet_told = current.checkout_told = 0
    for samples in (*(s.samples for s in visitor.sessions), *(taught.samples for taught in visitor.taught)):
        for sample in samples:
            sample.score, sample.model_version, sample.cold = 0.0, 0, False
    return state.encode(visitor)


class StatesAudit:
    """Feed the changelog in offset order, compare with the fold, then feed the view in chunks, and `finish`.

    `start` is the changelog's first kept offset: above 0 states of visitors that stayed away may have been deleted.
    Blobs written before `expired_before_ms` may have reached the end of their time to live in the view.
    """

    def __init__(
        self, names: Names, partition: int, *, gap_ms: int, quiet_ms: int, start: int, expired_before_ms: int
    ) -> None:
        self.partition = partition
        self.names = names
        self._start = start
        self._gap_ms, self._quiet_ms, self._expired_before_ms = gap_ms, quiet_ms, expired_before_ms
        self._newest: dict[str, _Newest] = {}
        self.states = Check("states", partition)
        self.view = Check("view", partition)
        self.position = Check("position", partition)

    def changelog(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> None:
        """One record of the changelog. A zombie's older state may land behind a newer one, as for a restore."""
        visitor_id = (key or b"").decode(errors="backslashreplace")
        if value is None:
            self._newest.pop(visitor_id, None)
            return
        try:
            applied = tuple(state.applied(value))
            visitor = state.decode(value)
        except _DAMAGED as error:
            self.states.violate(
                Violation(
                    "states", "unreadable", self.names.changelog, self.partition, offset, visitor_id, got=str(error)
                )
            )
            return
        known = self._newest.get(visitor_id)
        if known is None or applied >= known.applied:
            deadline = visitor.deadline(self._gap_ms, self._quiet_ms)
            self._newest[visitor_id] = _Newest(
                applied, hashed(value), hashed(without_model(visitor)), offset, timestamp, deadline
            )

    def visitors(self) -> Sequence[str]:
        """All that the changelog knows, to be asked of the view."""
        return list(self._newest)

    def compare(self, fold: PartitionFold, *, ahead: set[str]) -> None:
        """The changelog against the fold; visitors in `ahead` have records beyond the commit, and are left out."""
        check, topic = self.states, self.names.changelog
        for visitor_id in fold.visitors():
            if visitor_id in ahead:
                check.ahead += 1
                continue
            mine = fold.state_of(visitor_id)
            assert mine is not None
            if mine.events_offset < 0 and mine.labels_offset < 0:
                continue
            check.expected += 1
            found = self._newest.get(visitor_id)
            if visitor_id in fold.unsure:
                check.gone += 1
            elif found is None:
                if self._start:
                    check.gone += 1
                else:
                    check.violate(Violation("states", "missing", topic, self.partition, -1, visitor_id, _said(mine)))
            elif found.plain != hashed(without_model(mine)):
                check.violate(
                    Violation(
                        "states", "differs", topic, self.partition, found.offset, visitor_id, _said(mine), "another"
                    )
                )
            else:
                check.found += 1
        known = set(fold.visitors())
        for visitor_id, found in self._newest.items():
            if visitor_id not in known:
                check.violate(
                    Violation(
                        "states", "unexpected", topic, self.partition, found.offset, visitor_id, "no such visitor"
                    )
                )

    def view_blobs(self, visitors: Sequence[str], blobs: Sequence[bytes | None], deadlines: Mapping[str, int]) -> None:
        """The view's blobs of some visitors of the changelog; `deadlines` of those it holds for open."""
        check = self.view
        for visitor_id, blob in zip(visitors, blobs, strict=True):
            newest = self._newest[visitor_id]
            check.expected += 1
            if blob is None and newest.timestamp < self._expired_before_ms:
                check.gone += 1
            elif blob is None:
                self._view_violation("missing", visitor_id, f"the blob at changelog offset {newest.offset}", "nothing")
            elif hashed(blob) != newest.blob:
                got = _decoded(blob)
                self._view_violation("differs", visitor_id, f"the blob at changelog offset {newest.offset}", got)
            elif newest.deadline is not None and deadlines.get(visitor_id, newest.deadline + 1) > newest.deadline:
                listed = deadlines.get(visitor_id, "none")
                self._view_violation("differs", visitor_id, f"a deadline up to {newest.deadline}", f"{listed}")
            else:
                check.found += 1

    def view_strangers(self, visitors: Sequence[str]) -> None:
        """Visitors of the view that the changelog does not know."""
        for visitor_id in visitors:
            if visitor_id not in self._newest:
                self._view_violation("unexpected", visitor_id, "no such visitor", "a blob")

    def compare_positions(self, committed: Position | None, stored: Position | None, reached: int | None) -> None:
        """The view's position against the committed one, and that against the fold's newest event time."""
        if committed is None and stored is None:
            return
        facts: list[tuple[str, Any, Any]] = []
        if committed is None or stored is None:
            facts.append(("position", _short(committed), _short(stored)))
        else:
            # A worker that takes a partition over moves the view's seq on and commits its own with the next batch.
            facts.append(("the view's seq at least", committed.seq, min(committed.seq, stored.seq)))
            names = ("events_offset", "labels_offset", "topic_ids", "partitions")
            facts += [(f"the view's {name}", getattr(committed, name), getattr(stored, name)) for name in names]
            facts.append(("the view's watermark", committed.watermark.newest, stored.watermark.newest))
        if committed is not None and reached is not None:
            facts.append(("the committed watermark", reached, committed.watermark.newest))
        for what, expected, got in facts:
            self.position.expected += 1
            if expected == got:
                self.position.found += 1
            else:
                self.position.violate(
                    Violation(
                        "position", "differs", self.names.events, self.partition, -1, "", f"{what} {expected}", str(got)
                    )
                )

    def finish(self) -> list[Check]:
        """The verdict."""
        return [self.states, self.view, self.position]

    def _view_violation(self, kind: str, visitor_id: str, expected: str, got: str) -> None:
        self.view.violate(Violation("view", kind, "redis", self.partition, -1, visitor_id, expected, got))


def _said(visitor: state.Visitor) -> str:
    """What a person can compare: how far it is, its history, its open sessions."""
    open_sessions = [(s.session_id, s.events, s.last) for s in visitor.sessions]
    history = visitor.history
    return quote(
        f"applied {visitor.events_offset}/{visitor.labels_offset}, {history.sessions} finished sessions, "
        f"{history.purchases} purchases, open {open_sessions}, {len(visitor.marks)} marks, "
        f"{len(visitor.taught)} outcomes remembered, {len(visitor.taken_back)} orders taken back"
    )


def _decoded(blob: bytes) -> str:
    try:
        return _said(state.decode(blob))
    except _DAMAGED as error:
        return str(error)


def _short(position: Position | None) -> str:
    return "none" if position is None else quote(msgspec.json.encode(position))
