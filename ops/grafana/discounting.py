"""Discounting: may discounts be decided by these scores now, for how many visitors, and what do they earn?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import units

from ops.grafana.intent import figure
from ops.grafana.panel import GREEN, RED, YELLOW, Board, Panel, Row, quantiles, query

_RATE: Final = "[$__rate_interval]"


def _share(band: str) -> str:
    return f'sum(rate(intent_scores_total{{band="{band}"}}{_RATE})) / sum(rate(intent_scores_total{_RATE}))'


_MAY: Final = Row(
    "May discounts be decided by the scores?",
    (
        Panel(
            title="What this shows",
            why="An offer is worth its cost for visitors **on the fence**: not those who buy anyway, nor those who"
            " never do. That needs scores that are calibrated *before the checkout begins*, bands that stand still, and"
            " answers while the visitor is still there. This dashboard shows these, and, where the discount application"
            " runs, what the offers have earned against a holdout.",
            kind="text", width=24, height=3,
        ),
        Panel(
            title="Calibration error",
            why="How far scores and what was bought are apart on average, by window, for the chosen slice. Red: make no"
            " offers by these scores.",
            queries=(query(figure("intent_calibration_error", "window", '{slice="$slice"}'), "{{window}}"),),
            kind="stat", unit=units.PercentUnit, decimals=2, steps=((0.02, YELLOW), (0.04, RED)), width=6, height=5,
            runbook="ScoresNotCalibrated",
        ),
        Panel(
            title="Of the visitors on the fence",
            why="Share of the scores that lie in the band `on_the_fence`: about as many would be made an offer.",
            queries=(query(_share("on_the_fence"), "on the fence"),),
            kind="stat", unit=units.PercentUnit, decimals=1, width=6, height=5,
        ),
        Panel(
            title="Received until scored, p99",
            why="An offer must be there with the next page.",
            queries=quantiles("intent_end_to_end_seconds", 0.99),
            kind="stat", unit=units.Seconds, steps=((0.5, YELLOW), (1, RED)), width=6, height=5,
            runbook="EndToEndLatencyHigh",
        ),
        Panel(
            title="Changed scores",
            why="Which of the scores' own quantities have changed: look before the next campaign.",
            queries=(
                query('sum(max by (what) (intent_drift_changed{what=~"log_loss|surprise|bias|score"}))', "changed"),
            ),
            kind="stat", unit=units.NoUnit, steps=((1, RED),), width=6, height=5, runbook="DriftOfTheScores",
        ),
    ),
)  # fmt: skip

_WHO: Final = Row(
    "For whom?",
    (
        Panel(
            title="Scores by band",
            why="How many events a second lie in each band.",
            queries=(query(f"sum by (band) (rate(intent_scores_total{_RATE}))", "{{band}}"),),
            kind="stack", unit=units.EventsPerSecond, width=12,
        ),
        Panel(
            title="Scores",
            why="How the scores lie over time, to see how many lie near where a band begins.",
            queries=(query(f"sum by (le) (rate(intent_score_bucket{_RATE}))"),),
            kind="heatmap", unit=units.PercentUnit, width=12,
        ),
        Panel(
            title="Share of each band",
            why="The same as shares. A share that moves while the shop does not is the thresholds moving.",
            queries=tuple(query(_share(band), band) for band in ("unlikely", "on_the_fence", "likely")),
            kind="stack", unit=units.PercentUnit, minimum=0, maximum=1, width=12,
        ),
        Panel(
            title="Where the bands begin",
            why="The lowest score of `on_the_fence` and of `likely`, found from the outcomes (`band_rule`). They move"
            " only for a gain.",
            queries=(query("max by (band) (intent_band_min)", "{{band}}"),),
            unit=units.PercentUnit, minimum=0, decimals=1, width=12,
        ),
        Panel(
            title="Mean score and share that bought",
            why="Of the chosen slice and window. The score above the share: offers go to more visitors than planned,"
            " who would rather not have bought; below it: to some who buy anyway.",
            queries=(
                query(figure("intent_mean_score"), "mean score"),
                query(figure("intent_base_rate"), "share that bought"),
            ),
            unit=units.PercentUnit, minimum=0, width=24, runbook="ScoresNotCalibrated",
        ),
    ),
)  # fmt: skip

_WHEN: Final = Row(
    "In time?",
    (
        Panel(
            title="Received until scored",
            why="How long a decision waits for its score.",
            queries=quantiles("intent_end_to_end_seconds", 0.5, 0.95, 0.99),
            unit=units.Seconds, minimum=0, steps=((0.5, YELLOW), (1, RED)), width=12,
            runbook="EndToEndLatencyHigh",
        ),
        Panel(
            title="From event to checkout",
            why="How long buyers need, in the shop's time: outcomes of a campaign are complete after p99 of it.",
            queries=quantiles("intent_label_delay_seconds", 0.5, 0.9, 0.99),
            unit=units.DurationSeconds, minimum=0, width=12,
        ),
    ),
)  # fmt: skip

#: Every process of the discount application has the same figures: one of them is enough.
_BY_ARM: Final = "max by (experiment, arm)"
_CONVERSION: Final = (
    f'{_BY_ARM} (intent_experiment_conversions) / {_BY_ARM} (intent_experiment_units{{state="settled"}})'
)
_BY_LEVEL: Final = "max by (experiment, level) (intent_experiment_level_profit)"


def _uplift(measure: str) -> str:
    return f'max by (experiment, bound) (intent_experiment_uplift{{measure="{measure}"}})'


_EARNED: Final = Row(
    "What do the offers earn?",
    (
        Panel(
            title="Shares of the arms",
            why="The smallest p-value of all looks at whether treatment and holdout have the visitors that they should."
            " Red: believe no other panel of this row.",
            queries=(query("min by (experiment) (intent_experiment_sample_ratio_p_value)", "{{experiment}}"),),
            kind="stat", unit=units.NoUnit, decimals=4, steps=((float("-inf"), RED), (0.001, YELLOW), (0.01, GREEN)),
            width=6, height=8, runbook="SampleRatioMismatch",
        ),
        Panel(
            title="Visitors of the experiment",
            why="Exposed visitors by arm: those whose window and delay are over (`settled`), of whom the figures are"
            " made, and those who are still open.",
            queries=(
                query("max by (experiment, arm, state) (intent_experiment_units)", "{{experiment}} {{arm}} {{state}}"),
            ),
            unit=units.NoUnit, minimum=0, width=9,
        ),
        Panel(
            title="Conversion by arm",
            why="The share of settled visitors who ordered. Two curves that differ are no proof: look at the uplift.",
            queries=(query(_CONVERSION, "{{experiment}} {{arm}}"),),
            unit=units.PercentUnit, minimum=0, decimals=1, width=9,
        ),
        Panel(
            title="Uplift in conversion",
            why="Treatment less holdout, with the bounds that hold however often you look. The offers make visitors"
            " order when the lower bound is above 0. Bounds come with 30 buyers in each arm.",
            queries=(query(_uplift("conversion"), "{{experiment}} {{bound}}"),),
            unit=units.PercentUnit, decimals=1, width=12,
        ),
        Panel(
            title="Uplift in profit",
            why="The same in money for each visitor exposed, margin on list prices less discounts: what the experiment"
            " is for. Bounds come with 100 buyers in each arm.",
            queries=(query(_uplift("profit"), "{{experiment}} {{bound}}"),),
            unit=units.NoUnit, decimals=2, width=12,
        ),
        Panel(
            title="Profit for each visitor, by arm",
            why="Means of the settled visitors, in the shop's currency. The distance of the arms times the visitors is"
            " what the offers have earned.",
            queries=(query(f"{_BY_ARM} (intent_experiment_profit_per_visitor)", "{{experiment}} {{arm}}"),),
            unit=units.NoUnit, decimals=2, width=8,
        ),
        Panel(
            title="Profit to be expected, by level",
            why="What the bandit has learned of each level over all contexts, 0 is no offer. Few visitors pull it"
            " towards 0.",
            queries=(query(_BY_LEVEL, "{{experiment}} {{level}} %"),),
            unit=units.NoUnit, decimals=2, width=8,
        ),
        Panel(
            title="Left out",
            why="Exposures and orders that could not count, whatever their arm: too late, crowded out, or deleted"
            " before they were read. Orders that are late often want a longer delay (`discount_delay_ms`).",
            queries=(query("max by (what) (intent_measuring_not_used)", "{{what}}"),),
            unit=units.NoUnit, minimum=0, width=8,
        ),
    ),
)  # fmt: skip

DISCOUNTING: Final = Board(
    uid="stream-app-discounting",
    title="Stream-App: discounting",
    description="May discounts be decided by these scores now, for how many visitors, and what do they earn?",
    variables=("window", "slice"),
    rows=(_MAY, _EARNED, _WHO, _WHEN),
)  # fmt: skip
