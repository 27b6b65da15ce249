"""The report of an experiment: its figures as plain values, and in sentences what may be concluded from them.

What a reader must not do with figures is said where the figures are: that there is not enough yet, that arms without
the planned shares mean nothing, that without a holdout nothing is known.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream_app.discounts.core.figures import ExperimentFigures
from stream_app.discounts.core.records import Arm
from stream_app.discounts.core.sample_ratio import SampleRatio
from stream_app.discounts.core.uplift import ALL, ARMS, MEASURES, ORDERS_MIN, ArmFigures, Slice, Uplift

#: Measure → what changes, in words.
_WORDS: Final = {"conversion": "the share of visitors who order", "revenue": "revenue", "profit": "profit"}


class ArmReport(msgspec.Struct, frozen=True, kw_only=True):
    """An arm: exposures, visitors exposed, and of the settled ones the means per visitor; None without any."""

    exposures: int
    visitors: int
    open: int
    settled: int
    converted: int
    conversion: float | None
    revenue: float | None
    profit: float | None


class DifferenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Treatment less holdout per visitor, and treatment / holdout − 1 (`relative`).

    `sequential` holds however often one looks, `fixed` at one look that was planned; None while there is not enough.
    """

    value: float
    sequential: tuple[float, float] | None
    fixed: tuple[float, float] | None
    relative: float | None
    relative_sequential: tuple[float, float] | None


class SliceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Visitors of one band or category at their first exposure: settled ones by arm, and the differences."""

    kind: str
    name: str
    settled: dict[Arm, int]
    converted: dict[Arm, int]
    differences: dict[str, DifferenceReport]


class RatioReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the arms have the visitors that they should. `p_value` is of all looks, `odds_against` of this one."""

    expected: dict[Arm, float]
    visitors: dict[Arm, int]
    p_value: float
    odds_against: float
    mismatch: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment. Times in ms, −1 for none; money in the shop's currency, all means per visitor.

    `planned` is at how many visitors the sequential intervals are narrowest.
    """

    experiment: str
    conclusions: list[str]
    from_ms: int
    to_ms: int
    settled_to_ms: int
    window_ms: int
    holdout_share: float | None
    planned: int
    arms: dict[Arm, ArmReport]
    differences: dict[str, DifferenceReport]
    sample_ratio: RatioReport | None
    slices: list[SliceReport]
    level_profit: dict[str, float]
    unused: dict[str, int]


def report(figures: ExperimentFigures, *, planned: int | None = None) -> Report:
    """What an experiment has found out so far; `planned` instead of what its exposures say."""
    planned = planned or figures.planned
    everybody = figures.uplift.slices[ALL]
    return Report(
        experiment=figures.experiment,
        conclusions=_conclusions(figures, planned),
        from_ms=figures.from_ms,
        to_ms=figures.to_ms,
        settled_to_ms=figures.settled_to_ms,
        window_ms=figures.window_ms,
        holdout_share=figures.holdout_share,
        planned=planned,
        arms={arm: _arm(figures, arm, everybody[arm]) for arm in ARMS},
        differences=_differences(figures.uplift, ALL, planned),
        sample_ratio=_ratio(figures.ratio) if figures.ratio is not None else None,
        slices=[_slice(figures.uplift, which, planned) for which in figures.uplift.slices if which != ALL],
        level_profit={f"{level:g}": profit for level, profit in figures.bandit.profits().items()},
        unused={reason: count for reason, count in figures.unused.items() if count},
    )


def _arm(figures: ExperimentFigures, arm: Arm, settled: ArmFigures) -> ArmReport:
    means = dict(zip(MEASURES, settled.means, strict=True)) if settled.n else dict.fromkeys(MEASURES)
    return ArmReport(
        exposures=figures.exposures[arm],
        visitors=figures.seen[arm],
        open=figures.open(arm),
        settled=settled.n,
        converted=settled.converted,
        conversion=means["conversion"],
        revenue=means["revenue"],
        profit=means["profit"],
    )


def _ratio(ratio: SampleRatio) -> RatioReport:
    return RatioReport(
        expected=dict(ratio.shares),
        visitors=dict(ratio.counts),
        p_value=ratio.p_value,
        odds_against=ratio.odds,
        mismatch=ratio.mismatch,
    )


def _differences(uplift: Uplift, which: Slice, planned: int) -> dict[str, DifferenceReport]:
    found = {measure: uplift.compare(measure, which, planned=planned) for measure in MEASURES}
    return {
        measure: DifferenceReport(
            value=told.value,
            sequential=told.sequential,
            fixed=told.fixed,
            relative=told.relative,
            relative_sequential=told.relative_sequential,
        )
        for measure, told in found.items()
        if told is not None
    }


def _slice(uplift: Uplift, which: Slice, planned: int) -> SliceReport:
    arms = uplift.slices[which]
    return SliceReport(
        kind=which[0],
        name=which[1],
        settled={arm: arms[arm].n for arm in ARMS},
        converted={arm: arms[arm].converted for arm in ARMS},
        differences=_differences(uplift, which, planned),
    )


def _conclusions(figures: ExperimentFigures, planned: int) -> list[str]:
    """What may be concluded, the gravest first."""
    if not sum(figures.seen.values()):
        return ["Nobody was exposed so far: there is nothing to conclude."]
    said = []
    ratio = figures.ratio
    if ratio is not None and ratio.mismatch:
        counts = ratio.counts
        said.append(
            f"The arms have not the shares that they should ({counts['treatment']} and {counts['holdout']}, planned "
            f"{ratio.shares['treatment']:.0%} and {ratio.shares['holdout']:.0%}; p {ratio.p_value:.1g}): something "
            "else decides who is counted. Believe no figure here until it is found (runbook: SampleRatioMismatch)."
        )
    if not figures.holdout_share:
        return [*said, "Nobody is held out: what the offers did cannot be known. Set `holdout` in a new experiment."]
    return said + [_conclusion(figures.uplift, measure, planned) for measure in ("conversion", "profit")]


def _conclusion(uplift: Uplift, measure: str, planned: int) -> str:
    buyers = {arm: uplift.slices[ALL][arm].converted for arm in ARMS}
    told, least = uplift.compare(measure, planned=planned), ORDERS_MIN[measure]
    if told is None or told.sequential is None:
        return (
            f"Of {_WORDS[measure]} it is too early to say anything: that takes {least} settled buyers in each arm; "
            f"there are {buyers['treatment']} in treatment and {buyers['holdout']} in the holdout."
        )
    low, high, best = (_shown(measure, value) for value in (*told.sequential, told.value))
    unit = "percentage points" if measure == "conversion" else "per visitor"
    between = f"between {low} and {high} {unit}, {best} at the best guess"
    if told.sequential.low > 0.0:
        return f"The offers raise {_WORDS[measure]}: by {between}."
    if told.sequential.high < 0.0:
        return f"The offers lower {_WORDS[measure]}: {between}."
    return f"It is not certain that the offers change {_WORDS[measure]} at all: {between}."


def _shown(measure: str, value: float) -> str:
    return f"{100.0 * value:+.2f}" if measure == "conversion" else f"{value:+.3f}"
