"""The features of a session after an event: one ordered registry, computed for a whole batch at once.

Every feature is a pure function of the session so far and the visitor's finished sessions; what is *learned* (item and
category priors, scaling, weights) lives in the model. Values are fixed-point: a multiple of 10⁻⁴, kept as int32. So a
feature reads the same in the record's JSON, in a stored example and in the model, on any machine, and one row equals
many rows; it is finite whatever came in. The groups come from a preliminary study.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core.pages import GROUPS

#: Named in every feature record; raise it when a feature is added, removed or changes its meaning.
FEATURE_SCHEMA: Final = 1

#: Features are multiples of 1 / FIXED_POINT: finer than any of them is meaningful, and short in JSON.
FIXED_POINT: Final = 10_000

#: Keeps value × FIXED_POINT within int32; log-scaled features stay below 40.
_VALUE_MAX: Final = 200_000.0


class Feature(NamedTuple):
    """One column: its name on the wire, its unit, and what it says of the shopper."""

    name: str
    unit: str
    meaning: str


_L1 = "ln(1 + {})"
_COUNTED = tuple(group for group in GROUPS if group != "purchase")

# Computed as ln(1 + raw), in the order of the fold's raw numbers.
_LOG_FEATURES: Final = (
    Feature("events", _L1.format("events"), "events of the session so far, this one included"),
    Feature("episode_events", _L1.format("events"), "events since the session's last checkout"),
    Feature("purchases", _L1.format("checkouts"), "checkouts made earlier in this session"),
    *(Feature(f"n_{group}", _L1.format("events"), f"steps of kind '{group}' in this episode") for group in _COUNTED),
    Feature("items", _L1.format("items"), "distinct items seen in this episode"),
    Feature("categories", _L1.format("categories"), "distinct categories: focused or wandering"),
    Feature("brands", _L1.format("brands"), "distinct brands: decided or comparing"),
    Feature("item_repeats", _L1.format("events"), "most events on one item: coming back to a favourite"),
    Feature("age", _L1.format("s"), "time from the session's first to its newest event"),
    Feature("gap", _L1.format("s"), "pause before this event: reading or rushing"),
    Feature("gap_mean", _L1.format("s"), "mean pause of the session"),
    Feature("gap_max", _L1.format("s"), "longest pause of the session"),
    Feature("gap_decayed", _L1.format("s"), "recent pace: exponentially decayed pause, factor 0.6"),
    Feature("since_cart", _L1.format("s"), "time since something was put into the cart; 0 with an empty cart"),
    Feature("item_dwell", _L1.format("s"), "time since this item was first seen in the episode"),
    Feature("earlier_sessions", _L1.format("sessions"), "the visitor's finished sessions"),
    Feature("earlier_purchases", _L1.format("checkouts"), "the visitor's checkouts in finished sessions"),
    Feature("earlier_spend", _L1.format("money"), "money the visitor spent in finished sessions"),
    Feature("since_last_session", _L1.format("s"), "time since the visitor's last session; 0 for a new visitor"),
    Feature("price", _L1.format("money"), "price of the item at hand"),
    Feature("cart_value", _L1.format("money"), "value of the cart"),
)
# Taken as they are.
_PLAIN_FEATURES: Final = (
    Feature("revisit_ratio", "share", "1 − distinct items / item events: how much of it is coming back"),
    Feature("top_category_share", "share", "share of the most seen category"),
    Feature("has_cart", "0 or 1", "something is in the cart"),
    Feature("same_item", "0 or 1", "same item as in the step before"),
    Feature("same_category", "0 or 1", "same category as in the step before"),
    Feature("item_seen", "0 or 1", "the item was seen before in this episode"),
    Feature("returning", "0 or 1", "the visitor has a finished session; 0 makes the visitor features mean 'unknown'"),
    Feature("purchase_rate", "share", "the visitor's checkouts per session, smoothed by ten sessions at 3 %"),
    Feature("price_relative", "ln ratio", "price against the mean of the episode"),
    Feature("price_range", "ln ratio", "dearest against cheapest item of the episode"),
    Feature("mobile", "0 or 1", "the session is on a phone or tablet"),
)
_LAST_FEATURES: Final = tuple(Feature(f"last_{group}", "0 or 1", f"this step is of kind '{group}'") for group in GROUPS)
_DERIVED_FEATURES: Final = (
    Feature("rate", _L1.format("events/min"), "events per minute of the session"),
    Feature("hour_sin", "sine", "hour of the day, UTC, on a circle"),
    Feature("hour_cos", "cosine", "hour of the day, UTC, on a circle"),
    Feature("weekday_sin", "sine", "day of the week, UTC, on a circle"),
    Feature("weekday_cos", "cosine", "day of the week, UTC, on a circle"),
)

#: The registry, in column order.
FEATURES: Final[tuple[Feature, ...]] = (*_LOG_FEATURES, *_PLAIN_FEATURES, *_LAST_FEATURES, *_DERIVED_FEATURES)
FEATURE_NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)

#: Names of the raw numbers that the fold gives, in order: the log and plain features' inputs, then group and time.
RAW: Final[tuple[str, ...]] = (
    *(feature.name for feature in (*_LOG_FEATURES, *_PLAIN_FEATURES)),
    "group",
    "event_time",
)

_LOGS = len(_LOG_FEATURES)
_PLAIN_END = _LOGS + len(_PLAIN_FEATURES)
_LAST_END = _PLAIN_END + len(_LAST_FEATURES)
_EVENTS, _AGE = FEATURE_NAMES.index("events"), FEATURE_NAMES.index("age")
_DAY_MS, _WEEK_MS = 86_400_000.0, 7 * 86_400_000.0
#: 1 January 1970 was a Thursday; the week's circle starts on Monday.
_MONDAY_MS = 3 * _DAY_MS

#: Bytes of a packed row's bit set.
_BITS = (len(FEATURES) + 7) // 8

#: The features as one JSON object without a dict per event.
FeatureValues = msgspec.defstruct("FeatureValues", [(name, float) for name in FEATURE_NAMES], gc=False, frozen=True)


def compute(raw: Sequence[tuple[float, ...]]) -> npt.NDArray[np.int32]:
    """Turn the fold's raw numbers into features.

    Parameters
    ----------
    raw
        N tuples in the order of `RAW`.

    Returns
    -------
    Array of shape (N, len(FEATURES)), int32, C-contiguous: the features times `FIXED_POINT`, always finite.
    """
    # From one flat iterator: twice as fast as from a list of tuples.
    given = np.fromiter(chain.from_iterable(raw), dtype=np.float64, count=len(raw) * len(RAW))
    return compute_matrix(given.reshape(len(raw), len(RAW)))


def compute_matrix(given: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The same from an array of shape (N, len(RAW)), float64."""
    rows = len(given)
    out = np.zeros((rows, len(FEATURES)), dtype=np.float64)
    out[:, :_LOGS] = np.log1p(np.maximum(given[:, :_LOGS], 0.0))
    out[:, _LOGS:_PLAIN_END] = given[:, _LOGS:_PLAIN_END]
    group = given[:, _PLAIN_END].astype(np.intp)
    out[np.arange(rows), _PLAIN_END + group] = 1.0
    # One second is added so that a first event has a rate, and two at once do not have an infinite one.
    out[:, _LAST_END] = np.log1p(60.0 * given[:, _EVENTS] / (given[:, _AGE] + 1.0))
    time = given[:, _PLAIN_END + 1]
    day = (2.0 * np.pi / _DAY_MS) * (time % _DAY_MS)
    week = (2.0 * np.pi / _WEEK_MS) * ((time + _MONDAY_MS) % _WEEK_MS)
    out[:, _LAST_END + 1] = np.sin(day)
    out[:, _LAST_END + 2] = np.cos(day)
    out[:, _LAST_END + 3] = np.sin(week)
    out[:, _LAST_END + 4] = np.cos(week)
    np.nan_to_num(out, copy=False, nan=0.0, posinf=_VALUE_MAX, neginf=-_VALUE_MAX)
    np.clip(out, -_VALUE_MAX, _VALUE_MAX, out=out)
    fixed: npt.NDArray[np.int32] = np.rint(out * FIXED_POINT).astype("<i4")
    return fixed


def to_float(fixed: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Fixed-point features as numbers; the quotient is the double nearest to the decimal, so JSON keeps it exactly."""
    return fixed / float(FIXED_POINT)


def pack(fixed: npt.NDArray[np.int32]) -> list[bytes]:
    """Each row of fixed-point features as bytes, as stored in a `Sample`: a bit set of the non-zero ones, then those.

    Two thirds of a row are zeros; a session's memory is mostly these.
    """
    given = fixed != 0
    bits = np.packbits(given, axis=1).tobytes()
    values = fixed[given].astype("<i4", copy=False).tobytes()
    ends = (4 * np.cumsum(given.sum(axis=1))).tolist()
    rows, start = [], 0
    for row, end in enumerate(ends):
        rows.append(bits[row * _BITS : (row + 1) * _BITS] + values[start:end])
        start = end
    return rows


def unpack_many(rows: Sequence[bytes]) -> npt.NDArray[np.int32]:
    """Stored rows as a fixed-point matrix of shape (N, len(FEATURES))."""
    bits = np.frombuffer(b"".join([row[:_BITS] for row in rows]), dtype=np.uint8).reshape(len(rows), _BITS)
    given = np.unpackbits(bits, axis=1, count=len(FEATURES)).astype(bool)
    fixed = np.zeros((len(rows), len(FEATURES)), dtype="<i4")
    fixed[given] = np.frombuffer(b"".join([row[_BITS:] for row in rows]), dtype="<i4")
    return fixed


def unpack(data: bytes) -> list[float]:
    """The features of a stored row, as scored."""
    values: list[float] = to_float(unpack_many([data])[0]).tolist()
    return values
