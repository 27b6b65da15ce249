"""The purchase probability against the time since an item was first seen."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_app.analytics.purchase_time import BUCKET_S, LINE_BUCKETS, SPARSE_BELOW, PurchaseCurve, PurchaseTime
from stream_app.analytics.shapes import Line
from stream_app.report.figures.plain import Count, Figure, Number, Share, numbers, share_of, sig

#: Categories told apart, those with most episodes.
CATEGORIES_MAX: Final = 12


class Straight(Figure, frozen=True):
    """share ≈ intercept + slope · seconds over the first `points` buckets with episodes; intervals are 95 %.

    `misfit` is about 1 if there is a line, and larger the less there is one.
    """

    intercept: float
    intercept_low: float
    intercept_high: float
    slope: float
    slope_low: float
    slope_high: float
    misfit: float
    points: Count


class Curve(Figure, frozen=True):
    """Of a category, or of all (`name` null): one entry for each bucket, the last one without an end.

    `episodes` that ended in it; of them, those `bought` and those `cut_off` by the end of the data. `share` with its
    interval; `sparse` where there are too few to say much, `outlier` beyond all but one in a thousand episodes.
    `valley` is the closest curve that falls, then rises. `hazard`: of those still going on (`at_risk`), the share that
    bought in the bucket. `incidence`: the share of all that has bought by its end. `bounces` are of no length, apart.
    """

    name: str | None
    bounces: Share
    timed: Share
    episodes: list[Count]
    bought: list[Count]
    cut_off: list[Count]
    share: list[Number]
    low: list[Number]
    high: list[Number]
    sparse: list[bool]
    outlier: list[bool]
    valley: list[Number]
    line: Straight | None
    at_risk: list[Count]
    hazard: list[Number]
    hazard_low: list[Number]
    hazard_high: list[Number]
    incidence: list[Number]


class PurchaseTimes(Figure, frozen=True):
    """Buckets are `bucket_s` wide; `without_view` episodes have no first view and do not enter."""

    bucket_s: Count
    line_buckets: Count
    sparse_below: Count
    without_view: Count
    overall: Curve
    categories: list[Curve]


def make_purchase_times(times: PurchaseTime) -> PurchaseTimes:
    """From the counts of episodes."""
    return PurchaseTimes(
        bucket_s=BUCKET_S,
        line_buckets=LINE_BUCKETS,
        sparse_below=SPARSE_BELOW,
        without_view=times.without_view,
        overall=_curve(None, times.curve()),
        categories=[_curve(name, times.curve(name)) for name in times.categories()[:CATEGORIES_MAX]],
    )


def _curve(name: str | None, curve: PurchaseCurve) -> Curve:
    hazard = curve.survival
    return Curve(
        name=name,
        bounces=share_of(curve.bounces.bought, curve.bounces.episodes),
        timed=share_of(int(curve.bought.sum()), int(curve.episodes.sum())),
        episodes=curve.episodes.tolist(),
        bought=curve.bought.tolist(),
        cut_off=curve.cut_off.tolist(),
        share=numbers(curve.share),
        low=numbers(curve.low),
        high=numbers(curve.high),
        sparse=curve.sparse.tolist(),
        outlier=curve.outlier.tolist(),
        valley=numbers(curve.valley),
        line=None if curve.line is None else _straight(curve.line),
        at_risk=hazard.at_risk.astype(np.int64).tolist(),
        hazard=numbers(hazard.hazard),
        hazard_low=numbers(hazard.hazard_low),
        hazard_high=numbers(hazard.hazard_high),
        incidence=numbers(hazard.incidence),
    )


def _straight(line: Line) -> Straight:
    told = {name: sig(value) for name, value in line._asdict().items() if name != "points"}
    return Straight(**told, points=line.points)
