"""Intent and model: how good are the scores, are they calibrated, what has changed, and does it learn?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import units

from ops.grafana.panel import GREEN, RED, YELLOW, Board, Panel, Row, quantiles, query

_NOW: Final = '{window="$window", slice="$slice"}'


def figure(name: str, by: str = "", of: str = _NOW) -> str:
    """A gauge of the trainer that learns: every process shows it, and those that do not learn show 0."""
    grouped = f"max by ({by}) " if by else "max"
    return f'{grouped}({name}{of} and on (job, instance) intent_trainer_state{{state="learning"}} == 1)'


_GAIN: Final = f"1 - {figure('intent_log_loss')} / {figure('intent_log_loss_constant')}"

_TRUST: Final = Row(
    "Can the scores be trusted?",
    (
        Panel(
            title="ROC AUC",
            why="Chance that a buyer's score is above a non-buyer's; 0.5 is guessing.",
            queries=(query(figure("intent_roc_auc"), "ROC AUC"),),
            kind="stat", unit=units.NoUnit, decimals=3, steps=((float("-inf"), RED), (0.6, YELLOW), (0.7, GREEN)),
            width=4, height=5,
        ),
        Panel(
            title="Better than the base rate by",
            why="How much less log-loss the scores have than always saying the base rate. Below 0 they do harm.",
            queries=(query(_GAIN, "gain"),),
            kind="stat", unit=units.PercentUnit, decimals=1, steps=((float("-inf"), RED), (0, YELLOW), (0.05, GREEN)),
            width=4, height=5, runbook="ScoresWorseThanConstant",
        ),
        Panel(
            title="Calibration error",
            why="How far scores and what was bought are apart on average (ECE). Discounts are decided by the score as a"
            " probability, so this decides whether they may be.",
            queries=(query(figure("intent_calibration_error"), "ECE"),),
            kind="stat", unit=units.PercentUnit, decimals=2, steps=((0.02, YELLOW), (0.04, RED)), width=4, height=5,
            runbook="ScoresNotCalibrated",
        ),
        Panel(
            title="Examples behind this",
            why="On how many outcomes the figures of this window and slice rest; with a few hundred they are noise.",
            queries=(query(figure("intent_quality_examples"), "examples"),),
            kind="stat", unit=units.Short, width=4, height=5,
        ),
        Panel(
            title="Model that serves",
            why="The champion. `stream-app models status` says why, and `rollback` goes back.",
            queries=(query("max by (model) (intent_champion) == 1", "{{model}}"),),
            kind="stat", states=((1, "serves", GREEN),), width=4, height=5,
        ),
        Panel(
            title="Changed",
            why="How many of the watched quantities are no longer as they were at the same hours of the days before.",
            queries=(query("sum(max by (what) (intent_drift_changed))", "changed"),),
            kind="stat", unit=units.NoUnit, steps=((1, YELLOW), (5, RED)), width=4, height=5, runbook="Drift",
        ),
    ),
)  # fmt: skip

_QUALITY: Final = Row(
    "How good are they?",
    (
        Panel(
            title="Log-loss",
            why="The score's own measure, lower is better, against always saying the base rate. Where the lines touch"
            " nothing has been learned that helps.",
            queries=(
                query(figure("intent_log_loss"), "scores"),
                query(figure("intent_log_loss_constant"), "base rate"),
            ),
            unit=units.NoUnit, decimals=3, runbook="ScoresWorseThanConstant",
        ),
        Panel(
            title="ROC and PR AUC",
            why="How well buyers are told from others. PR AUC is hard at a low base rate: a constant score has the base"
            " rate itself.",
            queries=(
                query(figure("intent_roc_auc"), "ROC AUC"),
                query(figure("intent_pr_auc"), "PR AUC"),
                query(figure("intent_base_rate"), "base rate"),
            ),
            unit=units.NoUnit, minimum=0, maximum=1, decimals=3,
        ),
        Panel(
            title="F1",
            why="At the threshold in use when each label came, against calling everybody a buyer.",
            queries=(
                query(figure("intent_f1"), "scores"),
                query(figure("intent_f1_all_positive"), "all called buyers"),
                query(figure("intent_f1_threshold", of=""), "threshold"),
            ),
            unit=units.NoUnit, minimum=0, decimals=3,
        ),
        Panel(
            title="ROC AUC by slice",
            why="Where the scores are good: after the first event little is known; `before_cart` and `before_checkout`"
            " are those that a discount can still move.",
            queries=(query(figure("intent_roc_auc", "slice", '{window="$window"}'), "{{slice}}"),),
            kind="bars", unit=units.NoUnit, decimals=3, minimum=0.5, maximum=1,
            steps=((float("-inf"), RED), (0.6, YELLOW), (0.7, GREEN)), width=12,
        ),
        Panel(
            title="Brier score by slice",
            why="Mean squared error of the probability, lower is better; it is smaller where fewer buy.",
            queries=(query(figure("intent_brier_score", "slice", '{window="$window"}'), "{{slice}}"),),
            unit=units.NoUnit, decimals=4, minimum=0, width=12,
        ),
    ),
)  # fmt: skip

_CALIBRATION: Final = Row(
    "Is a score of 10 % bought by 10 %?",
    (
        Panel(
            title="Scores",
            why="How the scores lie over time. All in one line: the model is cold or has collapsed.",
            queries=(query("sum by (le) (rate(intent_score_bucket[$__rate_interval]))"),),
            kind="heatmap", unit=units.PercentUnit, width=24,
        ),
        Panel(
            title="Reliability by tenth of the scores",
            why="Each tenth of the scores, the lowest first: what they said, and what share bought. Equal when"
            " calibrated; columns that differ in the upper tenths make discounts go to the wrong visitors.",
            queries=(
                query(figure("intent_reliability_score", "bin"), "mean score"),
                query(figure("intent_reliability_bought", "bin"), "share that bought"),
            ),
            kind="columns", unit=units.PercentUnit, minimum=0, width=12, runbook="ScoresNotCalibrated",
        ),
        Panel(
            title="Mean score and share that bought",
            why="The same over everything. Apart for long: the base rate has moved and the model has not followed yet.",
            queries=(
                query(figure("intent_mean_score"), "mean score"),
                query(figure("intent_base_rate"), "share that bought"),
            ),
            unit=units.PercentUnit, minimum=0, width=6, runbook="ScoresNotCalibrated",
        ),
        Panel(
            title="Calibration error",
            why="Over time, of both windows. Chance alone makes 0.01 of 10,000 examples.",
            queries=(
                query(figure("intent_calibration_error", "window", '{slice="$slice"}'), "{{window}}"),
            ),
            unit=units.PercentUnit, minimum=0, steps=((0.04, RED),), width=6, runbook="ScoresNotCalibrated",
        ),
    ),
)  # fmt: skip

_DRIFT: Final = Row(
    "What has changed?",
    (
        Panel(
            title="Changed",
            why="From an alarm until the new level is known, two days at least. `log_loss`, `surprise`, `bias` and"
            " `score` are the scores themselves; all others are features: ask whether the shop or its feed has"
            " changed.",
            queries=(query("max by (what) (intent_drift_changed)", "{{what}}"),),
            kind="states", states=((0, "as usual", GREEN), (1, "changed", RED)), width=12, height=14, runbook="Drift",
        ),
        Panel(
            title="Alarms",
            why="How often each has changed, restarts included.",
            queries=(query("max by (what) (intent_drift_alarms_total)", "{{what}}"),),
            kind="bars", unit=units.NoUnit, steps=((1, YELLOW),), width=12, height=14, runbook="Drift",
        ),
    ),
)  # fmt: skip

_MODELS: Final = Row(
    "Champion and challengers",
    (
        Panel(
            title="Who serves",
            why="Which model's scores are served.",
            queries=(query('max by (model) (intent_champion{model=~"$model"})', "{{model}}"),),
            kind="states", states=((0, "challenger", "blue"), (1, "serves", GREEN)), width=12,
            runbook="ChampionChanged",
        ),
        Panel(
            title="Log-loss of each",
            why="Of each model's own predictions over the window in which they are compared.",
            queries=(query('max by (model) (intent_model_log_loss{model=~"$model"})', "{{model}}"),),
            unit=units.NoUnit, decimals=4, width=12,
        ),
        Panel(
            title="Challenger against champion",
            why="Difference of log-loss on the same examples, in standard errors. Below −4 the challenger may take"
            " over; near 0 nobody knows. Empty without challengers.",
            queries=(query('min by (model) (intent_model_log_loss_difference_z{model=~"$model"})', "{{model}}"),),
            unit=units.NoUnit, decimals=1, steps=((float("-inf"), GREEN), (-4, "text")), width=8,
        ),
        Panel(
            title="Challenger less champion",
            why="The same difference in nats of log-loss: whether it matters, where the standard errors say whether it"
            " is chance.",
            queries=(query('min by (model) (intent_model_log_loss_difference{model=~"$model"})', "{{model}}"),),
            unit=units.NoUnit, decimals=4, width=8,
        ),
        Panel(
            title="Calibrator, pinned, changes",
            why="Whether the champion's online calibrator pays, whether a person has pinned the champion, and how often"
            " the champion has changed.",
            queries=(
                query("max(max by (model) (intent_calibrator_serving) * (max by (model) (intent_champion)))",
                      "calibrator"),
                query(figure("intent_champion_pinned", of=""), "pinned"),
                query(figure("intent_champion_changes_total", of=""), "changes"),
            ),
            kind="stat", unit=units.NoUnit, width=8,
        ),
    ),
)  # fmt: skip

_LEARNING: Final = Row(
    "Does it learn?",
    (
        Panel(
            title="Examples written and learned",
            why="What the workers write and what the trainer learns. Apart for long: no trainer learns, or it is too"
            " slow.",
            queries=(
                query("sum(rate(intent_examples_total[$__rate_interval]))", "written"),
                query("sum(rate(intent_examples_learned_total[$__rate_interval]))", "learned"),
                query("sum(rate(intent_examples_repeated_total[$__rate_interval]))", "repeated"),
            ),
            unit=units.RecordsPerSecond, minimum=0, runbook="NobodyLearns",
        ),
        Panel(
            title="Examples that wait for the trainer",
            why="Those that it has not read yet. Steadily growing: it is too slow, or stands still.",
            queries=(query(figure("intent_examples_lag_records", of=""), "examples"),),
            unit=units.Short, minimum=0, runbook="NobodyLearns",
        ),
        Panel(
            title="Outcomes, by who told them",
            why="Per minute: checkouts told by a `purchase` event or by a `label` of the order system, and sessions"
            " that ended without one. A source that ends is a broken feed.",
            queries=(
                query('sum by (source) (rate(intent_outcomes_total{label="1"}[$__rate_interval])) * 60',
                      "bought: {{source}}"),
                query('sum by (source) (rate(intent_outcomes_total{label="0"}[$__rate_interval])) * 60',
                      "did not: {{source}}"),
            ),
            unit=units.Short, minimum=0, logarithmic=True, runbook="LabelsMissing",
        ),
        Panel(
            title="Checkouts learned",
            why="Episodes that ended in a checkout. Without any for long, labels are missing and the scores fall.",
            queries=(query("sum(rate(intent_checkouts_learned_total[$__rate_interval])) * 60", "per minute"),),
            unit=units.Short, minimum=0, runbook="LabelsMissing",
        ),
        Panel(
            title="Held back",
            why="Buyers' examples that wait until negatives of the same age have come, so that the model does not learn"
            " from buyers alone.",
            queries=(query(figure("intent_examples_held", of=""), "examples"),),
            unit=units.Short, minimum=0,
        ),
        Panel(
            title="Age of the model, by worker",
            why="A worker that is older than the others does not follow: see what it refuses.",
            queries=(query("intent_snapshot_age_seconds >= 0", "{{instance}}"),),
            unit=units.DurationSeconds, minimum=0, steps=((30, YELLOW), (60, RED)), runbook="SnapshotStale",
        ),
        Panel(
            title="Snapshots",
            why="Published by the trainer and taken over by the workers, which take each of them.",
            queries=(
                query("sum(rate(intent_snapshots_published_total[$__rate_interval]))", "published"),
                query("sum(rate(intent_snapshots_followed_total[$__rate_interval]))", "taken over"),
            ),
            unit=units.CountsPerSecond, minimum=0, runbook="SnapshotStale",
        ),
        Panel(
            title="Versions behind, by worker",
            why="How many snapshots the serving model is older than the newest published one: a few for a moment.",
            queries=(
                query("scalar(max(intent_snapshot_published_version)) - (intent_model_version > 0)", "{{instance}}"),
            ),
            unit=units.NoUnit, decimals=0, runbook="SnapshotStale",
        ),
        Panel(
            title="Snapshots refused",
            why="Snapshots that a worker did not believe, since it began; the model before goes on serving. A wrong"
            " signature means that somebody else writes there, or that the keys differ.",
            queries=(query("sum by (reason) (intent_snapshots_refused_total)", "{{reason}}"),),
            kind="bars", unit=units.NoUnit, steps=((1, RED),), runbook="SnapshotsRefused",
        ),
        Panel(
            title="Bytes of a snapshot",
            why="Mean of what is published, and what a worker read last: it grows with the items that have priors.",
            queries=(
                query(
                    "sum(rate(intent_snapshot_published_bytes_total[$__rate_interval]))"
                    " / sum(rate(intent_snapshots_published_total[$__rate_interval]))",
                    "published",
                ),
                query("max(intent_snapshot_bytes)", "read"),
            ),
            unit=units.BytesIEC, minimum=0,
        ),
        Panel(
            title="Publishing a snapshot",
            why="From the export to the acknowledgement; nothing is learned meanwhile.",
            queries=quantiles("intent_snapshot_publish_seconds", 0.5, 0.99),
            unit=units.Seconds, minimum=0,
        ),
        Panel(
            title="Not finite",
            why="How often learning came to something that is not finite and was undone, since the trainer began.",
            queries=(query("sum(intent_model_errors_total)", "errors"),),
            kind="stat", unit=units.NoUnit, steps=((1, RED),), width=4, runbook="ModelNotFinite",
        ),
        Panel(
            title="Cold",
            why="Workers whose scores are only the base rate, because the model they serve has learned too little; and"
            " whether the trainer's own model has.",
            queries=(
                query('sum(intent_model_cold and on (job, instance) intent_ready{component="worker"})', "workers"),
                query(figure("intent_trainer_cold", of=""), "trainer"),
            ),
            kind="stat", unit=units.NoUnit, steps=((1, YELLOW),), width=4,
        ),
    ),
)  # fmt: skip

INTENT: Final = Board(
    uid="stream-app-intent",
    title="Stream-App: intent and model",
    description="How good are the scores, are they calibrated, what has changed, and does it learn?",
    variables=("window", "slice", "model"),
    rows=(_TRUST, _QUALITY, _CALIBRATION, _DRIFT, _MODELS, _LEARNING),
)  # fmt: skip
