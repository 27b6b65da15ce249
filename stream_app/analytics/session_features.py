"""Numbers that describe a session before its first purchase, whole or by its first few events, as a matrix.

Only what events said before that purchase enters, so nothing here knows the outcome; but the numbers of whole sessions
know that the session is over, which no score does. The first few events know no more than a score would.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_app.analytics.sessions import EARLY, SessionRows, steps_of
from stream_app.analytics.table import Flags, Floats, Hashes, Integers
from stream_app.core.pages import GROUP_CODE, GROUPS

#: Kinds of step that can come before a purchase, in the order of their codes.
KINDS: Final = tuple(name for name in GROUPS if name != "purchase")
_KIND_CODES: Final = [GROUP_CODE[name] for name in KINDS]

#: Columns of `session_matrix` and of `early_matrix`; l1 is ln(1 + x).
FEATURES: Final = (
    *(f"l1_{name}" for name in KINDS),
    "l1_steps",
    "l1_seconds",
    "l1_price_mean",
    "priced",
    "hour_sin",
    "hour_cos",
    "weekend",
)
EARLY_FEATURES: Final = (*FEATURES, "l1_last_gap", "items", "same_item")

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


def session_matrix(rows: SessionRows, *, utc_offset_ms: int = 0) -> Floats:
    """Shape (N, len(FEATURES)), of all steps before the first purchase; its time of day is UTC's and the offset."""
    # Up to the last step, not to the purchase: those who do not buy have no such last pause.
    length = np.maximum(0, rows.step_ms - rows.first_ms)
    begun = rows.first_ms + utc_offset_ms
    return _matrix(begun, rows.kinds[:, _KIND_CODES], length, rows.price_sum, rows.priced)


def early_matrix(rows: SessionRows, events: int, *, utc_offset_ms: int = 0) -> Floats:
    """Shape (N, len(EARLY_FEATURES)), of the first events; each row must have so many steps, at most `EARLY`."""
    if not 1 <= events <= EARLY:
        raise ValueError(f"got events {events}, expected 1 to {EARLY}")
    codes = _first_codes(rows, events)
    kinds = np.stack([(codes == code + 1).sum(axis=1) for code in _KIND_CODES], axis=1)
    prices = rows.early_price[:, :events]
    known = ~np.isnan(prices)
    times, items = rows.early_ms[:, :events], rows.early_item[:, :events]
    matrix = _matrix(
        rows.first_ms + utc_offset_ms,
        kinds,
        times[:, -1] - times[:, 0],
        np.where(known, prices, 0.0).sum(axis=1),
        known.sum(axis=1),
    )
    ordered = np.sort(np.column_stack([np.zeros(len(items), np.uint64), items]), axis=1)
    distinct = (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)  # 0, no item, is there once more than is counted
    last_gap = times[:, -1] - times[:, -2] if events > 1 else np.zeros(len(rows), np.int64)
    same = items[:, -1] == items[:, -2] if events > 1 else np.zeros(len(rows), bool)
    return np.column_stack([matrix, np.log1p(last_gap / 1000.0), distinct, same])


def has_step(rows: SessionRows, kind: int, *, within: int) -> Flags:
    """Whether a kind of step is among each session's first few; shape (N,)."""
    found: Flags = (_first_codes(rows, within) == kind + 1).any(axis=1)
    return found


def path_names(path: int) -> tuple[str, ...]:
    """The kinds of step in a path, by name."""
    return tuple(GROUPS[step] for step in steps_of(path))


def _first_codes(rows: SessionRows, steps: int) -> Hashes:
    """Codes of the first steps plus 1, 0 where there is none; shape (N, steps)."""
    codes: Hashes = (rows.path[:, None] >> (4 * np.arange(steps)).astype(np.uint64)) & np.uint64(15)
    return codes


def _matrix(begun_ms: Integers, kinds: Integers, length_ms: Integers, price_sum: Floats, priced: Integers) -> Floats:
    hour = 2.0 * np.pi * (begun_ms % _DAY_MS) / _DAY_MS
    # 1 January 1970 was a Thursday.
    weekday = (begun_ms // _DAY_MS + 3) % 7
    return np.column_stack(
        [
            np.log1p(kinds),
            np.log1p(kinds.sum(axis=1)),
            np.log1p(length_ms / 1000.0),
            np.log1p(price_sum / np.maximum(1, priced)),
            priced > 0,
            np.sin(hour),
            np.cos(hour),
            weekday >= 5,
        ]
    )
