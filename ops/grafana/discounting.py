"""Discounting: may discounts be decided by these scores now, and for how many visitors would they be?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import units

from ops.grafana.intent import figure
from ops.grafana.panel import RED, YELLOW, Board, Panel, Row, quantiles, query

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
            " answers while the visitor is still there. This dashboard shows these. Offers, exposures and uplift are"
            " not among the metrics of this version.",
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

DISCOUNTING: Final = Board(
    uid="stream-app-discounting",
    title="Stream-App: discounting",
    description="May discounts be decided by these scores now, and for how many visitors would they be?",
    variables=("window", "slice"),
    rows=(_MAY, _WHO, _WHEN),
)  # fmt: skip
