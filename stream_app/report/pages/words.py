"""Numbers and names as people read them."""

from __future__ import annotations

from typing import Final

from stream_app.report.figures.plain import Number, Share

#: What stands for a name that the events do not say.
UNNAMED: Final = "(not said)"

#: Longer names make a plot's margin of the whole plot; tables have them in full.
_SHORT: Final = 28


def count(value: float) -> str:
    """1234567 → 1,234,567."""
    return f"{value:,.0f}"


def percent(value: Number, digits: int = 2) -> str:
    """0.0341 → 3.41 %; a dash where nothing is known."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def decimal(value: Number, digits: int = 3) -> str:
    """Three digits; a dash where nothing is known."""
    return "–" if value is None else f"{value:.{digits}f}"


def probability(value: float) -> str:
    """Of a test; what is smaller than can be told apart from nothing is said to be."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def interval(share: Share) -> str:
    """The 95 % interval of a share."""
    return "" if share.share is None else f"{100 * share.low:.2f} – {100 * share.high:.2f} %"


def told(share: Share) -> str:
    """All that is known of a share, for who points at it."""
    if share.share is None:
        return "none of none"
    return f"{percent(share.share)} ({count(share.hits)} of {count(share.cases)}), 95 %: {interval(share)}"


def named(name: str) -> str:
    """A name of the file's, or what stands for none."""
    return name or UNNAMED


def short(name: str) -> str:
    """The same, with its end where it is too long for a plot: there the names of categories differ."""
    whole = named(name)
    return whole if len(whole) <= _SHORT else "…" + whole[1 - _SHORT :]


def seconds(value: float) -> str:
    """90 → 1.5 min."""
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.3g} min" if value < 7_200 else f"{value / 3600:.3g} h"
