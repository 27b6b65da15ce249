"""The whole of it."""

from __future__ import annotations

from typing import Final

from stream_app.report.figures.data import Data, make_data
from stream_app.report.figures.journeys import Journeys, make_journeys
from stream_app.report.figures.plain import Count, Figure
from stream_app.report.figures.quality import Quality
from stream_app.report.figures.reading import Reading
from stream_app.report.figures.relations import Correlations, Funnels, make_correlations, make_funnels
from stream_app.report.figures.sources import Origins, make_origins
from stream_app.report.figures.timing import PurchaseTimes, make_purchase_times
from stream_app.report.gathering import Gathering

#: Of the shape: one more whenever a field goes or means something else.
VERSION: Final = 1


class Setting(Figure, frozen=True):
    """What was asked: the files' names, and what decides where a session ends and whose time it is.

    `format` is that of the files; where they are of several, all of these with commas between.
    """

    files: list[str]
    format: str
    session_gap_s: float
    grace_s: float
    utc_offset_minutes: int
    page_rules: Count


class Figures(Figure, frozen=True):
    """All that a report says of a history; `version` is that of this shape."""

    version: Count
    setting: Setting
    data: Data
    funnels: Funnels
    correlations: Correlations
    purchase_time: PurchaseTimes
    sources: Origins
    journeys: Journeys
    quality: Quality


def make_figures(gathered: Gathering, reading: Reading, setting: Setting, quality: Quality) -> Figures:
    """From what was gathered and measured."""
    return Figures(
        version=VERSION,
        setting=setting,
        data=make_data(gathered, reading),
        funnels=make_funnels(gathered.exploring.funnel),
        correlations=make_correlations(gathered.exploring.relations),
        purchase_time=make_purchase_times(gathered.purchase_time),
        sources=make_origins(gathered.sources, gathered.visitors),
        journeys=make_journeys(gathered),
        quality=quality,
    )
