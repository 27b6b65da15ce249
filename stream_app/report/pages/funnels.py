"""From view to cart to purchase."""

from __future__ import annotations

from collections.abc import Iterator

from stream_app.report.figures.figures import Figures
from stream_app.report.figures.relations import Breakdown, Funnels
from stream_app.report.pages.plots import Plot, axis, bars, categories, lying, plain, shares
from stream_app.report.pages.section import Note, Part, Section, Table
from stream_app.report.pages.words import count, interval, named, percent, short

#: Names that have room in a plot; the table below it has more.
_PLOTTED = 20

_PLURAL = {"category": "categories", "brand": "brands", "item": "items"}


def section(figures: Figures) -> Section:
    """The funnel of all episodes, and by category, brand and item."""
    funnels = figures.funnels
    return Section(
        "funnels",
        "From view to cart to purchase",
        "how many of those who look put it into the cart and buy, by category, brand and item",
        [
            _overall(funnels),
            _ratios(funnels),
            *(part for one in funnels.breakdowns for part in _breakdown(funnels, one)),
        ],
    )


def _overall(funnels: Funnels) -> Plot:
    steps = ["seen", "in the cart", "bought"]
    values = [funnels.seen, funnels.carted, funnels.bought]
    text = [f"{count(value)}, {percent(value / max(1, funnels.episodes))} of all episodes" for value in values]
    more = " More were bought than were in the cart: not every purchase is told with its cart."
    return Plot(
        f"Of {count(funnels.episodes)} episodes {count(funnels.bought)} end in a purchase",
        "An episode is a visitor with an item, up to its purchase or a long pause. A bar is how many of them had a "
        "view, "
        "a cart, a purchase; each alone, in any order." + (more if funnels.bought > funnels.carted else ""),
        [bars("episodes", values, steps, orientation="h", text=text, textposition="none",
              hovertemplate="%{y}: %{text}<extra></extra>")],
        {"xaxis": axis("episodes", type="log", dtick=1), "yaxis": categories()},
    )  # fmt: skip


def _ratios(funnels: Funnels) -> Table:
    return Table(
        "The ratios overall",
        ("ratio", "episodes", "came to it", "share", "95 % interval"),
        [
            [name, count(share.cases), count(share.hits), percent(share.share), interval(share)]
            for name, share in funnels.overall.items()
        ],
    )


def _breakdown(funnels: Funnels, breakdown: Breakdown) -> Iterator[Part]:
    by, plural = breakdown.by, _PLURAL[breakdown.by]
    known = [name for name in breakdown.names if name.name]
    if not known:
        yield Note(f"No event says a {by}.")
        return
    ratio = "view → purchase"
    shown = sorted(known[:_PLOTTED], key=lambda name: -name.ratios[ratio].smoothed)
    labels = [plain(short(name.name)) for name in shown]
    yield Plot(
        f"{ratio}: the {len(shown)} {plural} seen most",
        "A bar is the share of the episodes with a view that were bought, with its 95 % interval; the diamond is the "
        f"same, drawn towards the overall share as by {funnels.strength:.0f} more episodes. Where they are apart, "
        "few have been seen.",
        [
            lying(shares("as counted", labels, [name.ratios[ratio].plain for name in shown], kind="bar")),
            {"type": "scatter", "mode": "markers", "name": "smoothed", "x": [n.ratios[ratio].smoothed for n in shown],
             "y": labels, "marker": {"symbol": "diamond", "color": "#000000", "size": 7},
             "hovertemplate": "%{x:.2%}"},
        ],
        {"xaxis": axis("share bought", percent=True), "yaxis": categories(), "height": 120 + 24 * len(shown)},
        wide=True,
    )  # fmt: skip
    ratios = list(funnels.overall)
    yield Table(
        f"The {len(breakdown.names)} {plural} seen most",
        (by, "seen", *(column for name in ratios for column in (name, "smoothed", "95 % interval"))),
        [
            [
                named(name.name), count(name.seen),
                *(
                    text
                    for told in (name.ratios[one] for one in ratios)
                    for text in (percent(told.plain.share), percent(told.smoothed), interval(told.plain))
                ),
            ]
            for name in breakdown.names
        ],
        f"Of a name up to {count(breakdown.missed)} seen episodes may not be counted: there are more than are kept."
        if breakdown.missed
        else "",
        folded=True,
    )  # fmt: skip
