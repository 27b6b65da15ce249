"""Moments: when a subscriber may want to act on a session. `records.Moment` says what each kind means.

Those of kind `band`, `trend` and, of a purchase event, `bought` are an event's own: what is told of them follows from
the session's scores, in the order of its events (`tell`). `quiet` and a `bought` that a label has told come between two
events; they are noted while the batch is folded (`Waiting`) and take their place among the scores afterwards.

Of a bot's session nothing is told, from the event on at which it is known to be one: nobody shall act on it.

A session is quiet when the watermark reaches its last event's time and `quiet_ms` before its next event is read: where
batches are cut changes nothing. It is told once, and not if the watermark passes the session's end by the same step.

The trend is counted in thousandths of a logit, as integers: what is compared with the threshold is then the same in
both engines and on any machine. It begins anew at a checkout, since scores after it are about the next one: the fall
from "about to buy" to "has bought" is no turn. A turn has hysteresis: seen above the threshold, it must be seen below
its negative before it can turn again, so that a score that trembles tells of nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_app.core import features, records
from stream_app.core.calibration import P_MIN
from stream_app.core.checkouts import fits, saw_order
from stream_app.core.effects import Effects, Keyed
from stream_app.core.emission import Scored
from stream_app.core.state import LastScore, Mark, Session, Visitor

KINDS: Final = ("band", "trend", "quiet", "bought")

#: The trend is counted in thousandths of a logit: a tenth of a percent of the odds, and three bytes in the state.
LOGIT_UNITS: Final = 1_000

_CART_VALUE: Final = features.RAW.index("cart_value")
_PURCHASES: Final = features.RAW.index("purchases")
_BAND_CODE: Final = {band: code for code, band in enumerate(records.BANDS)}

#: Share of a new logit in the decayed mean: three tenths, as three and ten for whole numbers. The mean looks back over
#: some three events, the way `session.GAP_DECAY` does over pauses; a session has five to ten.
MEAN_SHARE: Final = (3, 10)


class _Told(NamedTuple):
    """A moment but for what is said of it later: its session changes on, `score` may yet have to be completed."""

    moment_id: str
    kind: str
    visitor_id: str
    session: Session
    score: LastScore
    events: int
    cart_value: float
    purchases: int
    item_id: str | None
    category: str | None
    brand: str | None


class Waiting(NamedTuple):
    """A moment that takes its place among the scored events: before the one at `row`, or after the last."""

    row: int
    told: _Told


def units_of(trend: float) -> int:
    """A number of logits as a count of thousandths."""
    return round(trend * LOGIT_UNITS)


def logits(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The logits of probabilities, in thousandths, rounded; shape (N,)."""
    p = np.clip(scores, P_MIN, 1.0 - P_MIN)
    counted: npt.NDArray[np.int32] = np.rint(LOGIT_UNITS * np.log(p / (1.0 - p))).astype(np.int32)
    return counted


# ---- noted while a batch is folded ----------------------------------------------------------------------------------


def quiet(row: int, visitor_id: str, visitor: Visitor, session: Session) -> Waiting | None:
    """Note that a session is quiet."""
    session.quiet_told = session.last
    return _waiting(row, "quiet", visitor_id, visitor, session)


def bought_by_label(row: int, visitor_id: str, visitor: Visitor, mark: Mark, *, gap_ms: int) -> Waiting | None:
    """Note a checkout that a label has told, of the open session that would take it now: the newest that it fits."""
    claim = [s for s in visitor.sessions if fits(s, mark, gap_ms=gap_ms) and not saw_order(s, mark, gap_ms=gap_ms)]
    if not claim:
        return None
    session = max(claim, key=lambda s: (s.last, s.session_id))
    if session.bot:
        return None
    session.checkout_told = max(session.checkout_told, mark.time)
    return _waiting(row, "bought", visitor_id, visitor, session, cause=mark.order_id)


def brand_of(session: Session) -> str | None:
    """The brand last touched in the episode."""
    return list(session.brands)[session.brand_last] if session.brand_last >= 0 else None


def _waiting(
    row: int, kind: str, visitor_id: str, visitor: Visitor, session: Session, *, cause: str | None = None
) -> Waiting | None:
    score = visitor.score_of(session)
    if score is None:
        return None
    told = _Told(
        f"{score.event_id if cause is None else cause}:{kind}",
        kind,
        visitor_id,
        session,
        score,
        session.events,
        session.cart_value,
        session.purchases,
        session.item_last,
        session.category_last,
        brand_of(session),
    )
    return Waiting(row, told)


# ---- told once the batch is scored ----------------------------------------------------------------------------------


def tell(
    effects: Effects,
    rows: Sequence[Scored],
    raw: Sequence[tuple[float, ...]],
    waiting: Sequence[Waiting],
    *,
    turn: int,
    now_ms: int,
) -> None:
    """Follow the sessions through the scores of their events, and write what there is to tell.

    `rows` and `raw` are those of `emission.write_scores`, which has written the scores; `turn` is the threshold in
    thousandths of a logit.
    """
    #: with the trend at that place among the scores, and the band before
    found: list[tuple[_Told, int, str | None]] = []
    next_waiting = 0
    for n, (row, logit) in enumerate(zip(rows, logits(effects.score_values).tolist(), strict=True)):
        while next_waiting < len(waiting) and waiting[next_waiting].row <= n:
            found.append((waiting[next_waiting].told, waiting[next_waiting].told.session.trend, None))
            next_waiting += 1
        if row.bot:
            continue
        session, band = row.session, _BAND_CODE[row.last.band]
        before, turned = session.band, False
        if before < 0 or row.sample.transition < 0:
            session.trend, session.logit_mean, session.side = 0, logit, 0
        else:
            turned = _follow(session, logit, turn)
        session.band = band
        if row.bought:
            found.append((_of_row("bought", row, raw[n]), session.trend, None))
        if band != before and (before >= 0 or band > 0):
            previous = records.BANDS[before] if before >= 0 else None
            found.append((_of_row("band", row, raw[n]), session.trend, previous))
        if turned:
            found.append((_of_row("trend", row, raw[n]), session.trend, None))
    found += [(entry.told, entry.told.session.trend, None) for entry in waiting[next_waiting:]]
    if found:
        effects.moments_told.update(told.kind for told, _, _ in found)
        values = features.to_float(features.unpack_many([told.score.x for told, _, _ in found])).tolist()
        effects.moments = [_record(*one, numbers, now_ms) for one, numbers in zip(found, values, strict=True)]


def _follow(session: Session, logit: int, turn: int) -> bool:
    """Take a logit into the session's trend; whether it has turned."""
    share, whole = MEAN_SHARE
    trend = session.trend = logit - session.logit_mean
    session.logit_mean += trend * share // whole
    if -turn <= trend <= turn:
        return False
    side = 1 if trend > 0 else -1
    before, session.side = session.side, side
    return before == -side


def _of_row(kind: str, row: Scored, raw: tuple[float, ...]) -> _Told:
    return _Told(
        f"{row.last.event_id}:{kind}",
        kind,
        row.event.visitor_id,
        row.session,
        row.last,
        row.events,
        raw[_CART_VALUE],
        int(raw[_PURCHASES]),
        row.item_last,
        row.category_last,
        row.brand_last,
    )


def _record(told: _Told, trend: int, previous: str | None, values: Sequence[float], now_ms: int) -> Keyed:
    score, session = told.score, told.session
    moment = records.Moment(
        told.moment_id,
        told.kind,
        told.visitor_id,
        session.session_id,
        score.event_id,
        score.event_time,
        told.events,
        score.score,
        score.band,
        trend / LOGIT_UNITS,
        told.cart_value,
        told.purchases,
        features.FeatureValues(*values),
        score.model_version,
        score.cold,
        now_ms,
        previous,
        told.item_id,
        told.category,
        told.brand,
        session.source,
        session.country,
        "mobile" if session.mobile else None,
    )
    return told.visitor_id.encode(), records.encode(moment)
