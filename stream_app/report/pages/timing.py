"""When purchases come."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from stream_app.report.figures.figures import Figures
from stream_app.report.figures.plain import Number, Share, share_of
from stream_app.report.figures.timing import Curve, PurchaseTimes
from stream_app.report.pages.plots import GREY, Plot, Trace, axis, band, line, plain
from stream_app.report.pages.section import Note, Part, Section, Table
from stream_app.report.pages.words import count, interval, named, percent, seconds, short

#: Of the shares' plot: what is drawn before somebody zooms out. The line is fitted to so much.
_SHOWN_S = 3_000

#: Moments at which the table tells the share that has bought by then.
_MOMENTS_S = (60, 300, 900, 1_800)

#: Episodes that go on, below which the share that has bought is not followed any further.
_AT_RISK_MIN = 20


def section(figures: Figures) -> Section:
    """The share bought by length, the hazard, and both by category."""
    times = figures.purchase_time
    curve = times.overall
    parts: list[Part] = [_bounces(times)]
    if curve.timed.cases:
        parts += [_shares(times), _hazard(times), *_by_category(times)]
    return Section(
        "timing",
        "When purchases come",
        "the purchase probability against the time since an item was first seen, overall and by category",
        parts,
    )


def _bounces(times: PurchaseTimes) -> Note:
    bounces, timed = times.overall.bounces, times.overall.timed
    return Note(
        f"Of {count(bounces.cases + timed.cases)} episodes with a view, {count(bounces.cases)} have no length: one "
        f"look, or all in one moment. {percent(bounces.share)} of these were bought ({interval(bounces) or 'none'}). "
        f"They stand apart here, as they say nothing of time. Of the {count(timed.cases)} others "
        f"{percent(timed.share)} were bought. {count(times.without_view)} episodes have no view."
    )


def _shares(times: PurchaseTimes) -> Plot:
    curve, width = times.overall, times.bucket_s
    there = [n for n, episodes in enumerate(curve.episodes) if episodes]
    middle = {n: width * (n + 0.5) for n in there}
    firm = [n for n in there if not curve.sparse[n] and not curve.outlier[n]]
    loose = [n for n in there if n not in set(firm)]
    traces: list[Trace] = [
        band([middle[n] for n in firm], [curve.low[n] for n in firm], [curve.high[n] for n in firm], number=0,
             group="share bought"),
        _points("share bought", curve, firm, middle, "#0072b2"),
        _points("sparse or outlier", curve, loose, middle, GREY),
        line("falls, then rises", [middle[n] for n in there], [curve.valley[n] for n in there], number=1,
             line={"shape": "hv"}),
    ]  # fmt: skip
    fit = curve.line
    if fit is not None:
        end = width * times.line_buckets
        ends = [fit.intercept, fit.intercept + fit.slope * end]
        traces.append(line("straight", [0, end], ends, number=2, line={"dash": "dash"}))
    return Plot(
        _shares_title(times),
        f"A point is the share bought of the episodes that ended so long after the first view, in buckets of {width} "
        "s, with its 95 % interval as the shade. The step line is the closest curve that falls, then rises; the "
        f"dashed one is straight, over the first {times.line_buckets} buckets. Zoom out (double click) for what is "
        "longer.",
        traces,
        {
            "xaxis": axis("seconds from the first view to the episode's end", range=[0, _SHOWN_S]),
            "yaxis": axis("share bought", percent=True, range=[0, _top(curve, firm or there)]),
            "hovermode": "closest",
        },
        _shares_few(times, loose),
        wide=True,
    )


def _points(name: str, curve: Curve, chosen: list[int], middle: dict[int, float], colour: str) -> Trace:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [middle[n] for n in chosen],
        "y": [curve.share[n] for n in chosen], "marker": {"color": colour, "size": 5}, "legendgroup": plain(name),
        "text": [
            f"{curve.bought[n]:,} of {curve.episodes[n]:,}, 95 %: {percent(curve.low[n])} – {percent(curve.high[n])}; "
            f"{curve.cut_off[n]:,} cut off" for n in chosen
        ],
        "hovertemplate": "%{x:.0f} s: %{y:.2%}<br>%{text}",
    }  # fmt: skip


def _shares_title(times: PurchaseTimes) -> str:
    """Says of the fitted curve only what the intervals of its steps bear out."""
    steps = _steps(times)
    if len(steps) < 2:
        return "Too few episodes to say how the share bought goes with time"
    bottom = min(range(len(steps)), key=lambda n: steps[n][1].share or 0.0)
    lowest_at, lowest = steps[bottom]
    # On either side the level that is most surely high: the outermost are those of fewest episodes.
    first, last = (
        max((share for _, share in side), key=lambda share: share.low) for side in (steps[: bottom + 1], steps[bottom:])
    )
    falls, rises = first.low > lowest.high, last.low > lowest.high
    low = f"{percent(lowest.share, 1)} at {seconds(times.bucket_s * lowest_at)}"
    if falls and rises:
        return f"The share bought falls from {percent(first.share, 1)} to {low}, then rises to {percent(last.share, 1)}"
    if falls:
        return f"The share bought falls from {percent(first.share, 1)} to {low}"
    if rises:
        return f"The share bought rises from {low} to {percent(last.share, 1)}"
    return "The share bought does not change with time by more than chance"


def _steps(times: PurchaseTimes) -> list[tuple[int, Share]]:
    """Where each level of the fitted curve begins, and the share of all episodes on it, sparse buckets together."""
    curve = times.overall
    within = [n for n, episodes in enumerate(curve.episodes) if episodes and not curve.outlier[n]]
    steps = []
    for _, level in groupby(within, key=lambda n: curve.valley[n]):
        places = list(level)
        hits, cases = (sum(counts[n] for n in places) for counts in (curve.bought, curve.episodes))
        if cases >= times.sparse_below:
            steps.append((places[0], share_of(hits, cases)))
    return steps


def _shares_few(times: PurchaseTimes, loose: list[int]) -> str:
    told = (
        f"Grey: fewer than {times.sparse_below} episodes in the bucket, or beyond all but 0.1 % of them. "
        if loose
        else ""
    )
    fit = times.overall.line
    if fit is not None and fit.misfit > 2.0:
        told += f"The straight line does not fit (misfit {fit.misfit:.1f}, about 1 if it did): do not go by it. "
    cut = sum(times.overall.cut_off)
    return told + (f"{count(cut)} episodes were cut off by the end of the data and count as not bought." if cut else "")


def _hazard(times: PurchaseTimes) -> Plot:
    curve, width = times.overall, times.bucket_s
    # Where few are left, a bucket's hazard is 0 or 100 %; the last bucket has no end.
    there = [n for n in range(len(curve.at_risk) - 1) if curve.at_risk[n] >= 10 * times.sparse_below]
    x = [width * (n + 0.5) for n in there]
    hazard = [curve.hazard[n] for n in there]
    return Plot(
        "Of those still looking, how many buy within the next 10 seconds",
        "A point is the hazard: of the episodes that go on for at least so long, the share that is bought within the "
        "bucket, with its 95 % interval. It is what the timing of an offer needs, and it takes episodes that the end "
        "of the data cut off as what they are: out of sight.",
        [
            band(x, [curve.hazard_low[n] for n in there], [curve.hazard_high[n] for n in there], number=0,
                 group="hazard"),
            line("hazard", x, hazard, text=[f"{count(curve.at_risk[n])} still looking" for n in there],
                 hovertemplate="%{x:.0f} s: %{y:.2%}<br>%{text}<extra></extra>"),
        ],
        {"xaxis": axis("seconds since the first view"), "yaxis": axis("bought within the bucket", percent=True)},
        f"Only where at least {10 * times.sparse_below} go on.",
        wide=True,
    )  # fmt: skip


def _by_category(times: PurchaseTimes) -> Iterator[Part]:
    told = [curve for curve in times.categories if curve.timed.cases >= times.sparse_below]
    if len(told) < 2:
        yield Note("There are not two categories with enough episodes to compare.")
        return
    yield Plot(
        f"What has been bought by when, in the {len(told)} categories with most episodes",
        "A line is the share of a category's episodes (bounces apart) that has been bought by then, where those who "
        "leave do not buy any more. Click a name to hide it, double click to see it alone.",
        [
            line(short(curve.name or ""), [times.bucket_s * at for at in range(len(known) + 1)], [0, *known], number=n,
                 line={"dash": "solid" if n < 8 else "dot"}, hovertemplate="%{x} s: %{y:.2%}")
            for n, curve in enumerate(told)
            for known in (_known(curve),)
        ],
        {"xaxis": axis("seconds since the first view"), "yaxis": axis("bought by then", percent=True)},
        f"A line ends where fewer than {_AT_RISK_MIN} go on.",
        wide=True,
    )  # fmt: skip
    yield Table(
        "Purchase time by category",
        ("category", "episodes", "bought", "95 % interval", "bounces", "bounces bought",
         *(f"by {seconds(moment)}" for moment in _MOMENTS_S), "slope per min", "95 % interval", "misfit"),
        [_category(times, curve) for curve in times.categories],
        f"A dash: fewer than {_AT_RISK_MIN} go on for so long. Slope (in percentage points) and misfit are the line's.",
    )  # fmt: skip


def _known(curve: Curve) -> list[Number]:
    """The incidence for as long as enough go on: one purchase of the last few would seem to be one of many."""
    return curve.incidence[: sum(risk >= _AT_RISK_MIN for risk in curve.at_risk)]


def _category(times: PurchaseTimes, curve: Curve) -> list[str]:
    known = _known(curve)
    places = [moment // times.bucket_s - 1 for moment in _MOMENTS_S]
    moments = [known[place] if place < len(known) else None for place in places]
    fit = curve.line
    slope = ["–", "", "–"]
    if fit is not None:
        slope = [
            f"{6000 * fit.slope:+.3f}", f"{6000 * fit.slope_low:+.3f} … {6000 * fit.slope_high:+.3f}",
            f"{fit.misfit:.2f}",
        ]  # fmt: skip
    return [
        named(curve.name or ""), count(curve.timed.cases), percent(curve.timed.share), interval(curve.timed),
        count(curve.bounces.cases), percent(curve.bounces.share), *(percent(value) for value in moments), *slope,
    ]  # fmt: skip


def _top(curve: Curve, chosen: list[int]) -> Any:
    return min(1.0, 1.15 * max((curve.high[n] or 0.0 for n in chosen), default=1.0))
