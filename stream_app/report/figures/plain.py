"""Shares with their intervals, and numbers as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.analytics.contingency import Association
from stream_app.analytics.intervals import wilson

Count = Annotated[int, msgspec.Meta(ge=0)]
#: Null where it is not defined: a share of nothing, a correlation with what does not vary.
Number = float | None
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Figure(msgspec.Struct, frozen=True):
    """What every part of the figures is: named values that do not change."""


class Share(Figure, frozen=True):
    """So many of so many, as a share with its 95 % interval (Wilson); `share` is null of none."""

    hits: Count
    cases: Count
    share: Number
    low: Probability
    high: Probability


class Tested(Figure, frozen=True):
    """A table of counts, one thing against another.

    Pearson's chi-squared with its degrees of freedom and tail probability, Cramér's V (0 none, 1 all), mutual
    information in bits less what chance would show, and the smallest expected count: below 5 the probability is rough.
    """

    chi_squared: float
    degrees: Count
    probability: Probability
    v: float
    bits: float
    smallest_expected: float


def share_of(hits: int, cases: int) -> Share:
    """One share."""
    return shares_of([hits], [cases])[0]


def shares_of(hits: Sequence[int] | npt.NDArray[Any], cases: Sequence[int] | npt.NDArray[Any]) -> list[Share]:
    """Many shares, shape (N,) each."""
    h, c = np.asarray(hits), np.asarray(cases)
    low, high = wilson(h, c)
    return [
        Share(hits=int(hit), cases=int(case), share=number(hit / case) if case else None, low=sig(lo), high=sig(hi))
        for hit, case, lo, hi in zip(h.tolist(), c.tolist(), low.tolist(), high.tolist(), strict=True)
    ]


def tested(told: Association) -> Tested:
    """A test's figures."""
    return Tested(
        chi_squared=sig(told.chi_squared),
        degrees=told.degrees,
        probability=min(1.0, sig(told.probability)),
        v=sig(told.v),
        bits=sig(told.information),
        smallest_expected=sig(told.smallest),
    )


def sig(value: float) -> float:
    """To six digits: more would only be noise, and twice the file."""
    return float(f"{value:.6g}")


def number(value: float) -> Number:
    """The same, null where it is no number."""
    return sig(value) if math.isfinite(value) else None


def numbers(values: Iterable[float] | npt.NDArray[Any]) -> list[Number]:
    """The same of many."""
    return [number(value) for value in np.asarray(values, np.float64).tolist()]


def when(time_ms: int) -> str:
    """An event time as text, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(days: int) -> str:
    """Days since 1970 as a date."""
    return datetime.fromtimestamp(days * 86_400, UTC).strftime("%Y-%m-%d")
