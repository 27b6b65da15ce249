"""Every metric there is, declared once. The registry's objects and `docs/metrics.md` are made from this list.

Names begin with `intent_` and end with their base unit (`_seconds`, `_bytes`), counters with `_total`. Labels have few
values: a visitor, a session or an item is never one. What moves them is `observe.py`.

    python -m stream_app.metrics > docs/metrics.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import Metric as Family

from stream_app.histogram import Histogram

Kind = Literal["counter", "gauge", "histogram"]


class MetricSpec(NamedTuple):
    """One family. `moves_when` is its help text; `buckets` are a histogram's upper bounds in its unit."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    moves_when: str
    buckets: tuple[float, ...] = ()


#: From half a millisecond, a batch's best, to a minute, a restart; two a factor of ten are not enough for a p99.
_LATENCY_BUCKETS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
#: A stage is part of a batch: some take microseconds.
_STAGE_BUCKETS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
_BATCH_BUCKETS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 20_000.0)
#: A restore reads a changelog: from an empty one to millions of states.
_RESTORE_BUCKETS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0)
#: From a checkout in the next minute to an order system that is a month late.
_DELAY_BUCKETS: Final = (
    10.0, 60.0, 300.0, 900.0, 1_800.0, 2_700.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0, 2_592_000.0,
)  # fmt: skip

#: One round trip on a host is a fraction of a millisecond; a transaction tens, a client's time-out half a minute.
_ROUND_TRIP_BUCKETS: Final = (
    0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0,
)  # fmt: skip
#: Twentieths, and finer where most visitors are: at a base rate of 3 % half of all scores lie below it.
_SCORE_BUCKETS: Final = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75,
    0.8, 0.85, 0.9, 0.95, 1.0,
)  # fmt: skip
#: Events of a session, up to the bound at which it is ended.
_EVENTS_BUCKETS: Final = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1_000.0, 10_000.0)
#: From a single page to the bound of a day; the inactivity that ended it is not part of it.
_SESSION_BUCKETS: Final = (
    1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 86_400.0,
)  # fmt: skip
#: A visitor's state has 400 bytes after one event, some kilobytes usually, and fits into a Kafka record at its worst.
_STATE_BUCKETS: Final = (
    250.0, 500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0, 32_000.0, 64_000.0, 256_000.0, 1_048_576.0,
)  # fmt: skip

_P: Final = ("partition",)
_SLICE: Final = ("window", "slice")

#: The families by heading, in the order of the documentation.
SECTIONS: Final[tuple[tuple[str, tuple[MetricSpec, ...]], ...]] = (
    (
        "Input",
        (
            MetricSpec("intent_events_total", "counter", ("type", "outcome"), "events",
                "an events record was dealt with: `scored`, scored but `late`, `duplicate`, `replayed` (its state has"
                " it from before a crash) or `rejected` (of type `unknown`)"),
            MetricSpec("intent_labels_total", "counter", ("outcome",), "labels",
                "a checkout label came: `resolved` events at once, `matched` an open session (it is settled when that"
                " ends), `early` (its events are yet to come), `corrected` what had been learned, `duplicate`,"
                " `unmatched` (nothing is remembered that it fits), `refund` or `cancel` of nothing that is known,"
                " `taken_back` before it was learned, or `replayed`"),
            MetricSpec("intent_dead_letters_total", "counter", ("topic", "reason"), "records",
                "a record was rejected; its bytes and the reason are on `dead.letters.v1`"),
            MetricSpec("intent_events_ahead_total", "counter", (), "events",
                "an event's own time lay more than the grace ahead of the broker's: a visitor's clock is wrong"),
            MetricSpec("intent_bot_events_total", "counter", (), "events",
                "an event of a bot's session was scored: its own flag, or what the session did, says so; nothing is"
                " learned from it, and no moment told (docs/quality.md)"),
            MetricSpec("intent_stray_visitors_total", "counter", _P, "visitors",
                "a visitor was on a partition where the shop's partitioner does not put it: two producers differ"),
            MetricSpec("intent_lag_records", "gauge", _P, "records",
                "at each poll: input records of an owned partition that have not been read yet"),
            MetricSpec("intent_lag_seconds", "gauge", _P, "seconds",
                "always: how long the oldest record that waits has waited at most, by the broker's clock; 0 when none"
                " waits"),
            MetricSpec("intent_watermark_time_seconds", "gauge", _P, "seconds",
                "at each poll: the event time up to which sessions are over, since 1970"),
            MetricSpec("intent_last_checkout_time_seconds", "gauge", ("source",), "seconds",
                "a checkout was told, by a `purchase` event or by a `label` of the order system: when, since 1970"),
            MetricSpec("intent_watermark_delay_seconds", "gauge", _P, "seconds",
                "at each poll: wall clock less the event time up to which sessions are over; large in a replay"),
        ),
    ),
    (
        "Scores",
        (
            MetricSpec("intent_scores_total", "counter", ("band",), "scores",
                "an event was scored, by band of the score"),
            MetricSpec("intent_moments_total", "counter", ("kind",), "moments",
                "a session entered a `band`, its score's `trend` turned, it went `quiet` with something in its cart, or"
                " it `bought`: told on `intent.moments.v1`"),
            MetricSpec("intent_score", "histogram", (), "probability", "an event was scored", _SCORE_BUCKETS),
            MetricSpec("intent_end_to_end_seconds", "histogram", (), "seconds",
                "an event was scored: from the broker's timestamp of its record to the acknowledgement of its score;"
                " exemplars name partition and offset",
                _LATENCY_BUCKETS),
            MetricSpec("intent_stage_seconds", "histogram", ("stage",), "seconds",
                "a batch passed a stage: `announce` it, `load` states, `fold` and score, `publish`; behind it `view`"
                " (Redis); in the ingest `adapt` and `publish`", _STAGE_BUCKETS),
            MetricSpec("intent_batch_records", "histogram", (), "records", "a batch was published", _BATCH_BUCKETS),
        ),
    ),
    (
        "Sessions and their state",
        (
            MetricSpec("intent_sessions_opened_total", "counter", (), "sessions", "a session began"),
            MetricSpec("intent_sessions_closed_total", "counter", ("reason",), "sessions",
                "a session ended, by its `gap` or at a `bound` (10,000 events, 24 hours, four open at once): bots do"),
            MetricSpec("intent_bot_sessions_total", "counter", (), "sessions", "a bot's session ended"),
            MetricSpec("intent_session_events", "histogram", (), "events", "a session ended: how many events it had",
                _EVENTS_BUCKETS),
            MetricSpec("intent_session_seconds", "histogram", (), "seconds",
                "a session ended: from its first event to its last, in event time", _SESSION_BUCKETS),
            MetricSpec("intent_shop_sessions", "gauge", ("source",), "sessions",
                "every 5 s: closed sessions of the whole shop that this process has read, by what they came by: the"
                " eight most frequent, `(none)` without any, and `(other)`"),
            MetricSpec("intent_shop_bought_share", "gauge", ("source",), "share",
                "as above: the share of them that bought, from 30 sessions on"),
            MetricSpec("intent_shop_journeys", "gauge", ("kind",), "journeys",
                "as above: journeys that are over, by kind (docs/live-page.md); 1 is the kind with the fewest steps"),
            MetricSpec("intent_shop_journeys_bought_share", "gauge", ("kind",), "share",
                "as above: the share of them that bought, from 30 journeys on"),
            MetricSpec("intent_examples_total", "counter", (), "examples", "a worker wrote a resolved example"),
            MetricSpec("intent_state_bytes", "histogram", (), "bytes", "a visitor's state was written: its size",
                _STATE_BUCKETS),
            MetricSpec("intent_open_visitors", "gauge", _P, "visitors",
                "after each batch: visitors with an open session, nearly always one each"),
            MetricSpec("intent_cached_visitors", "gauge", _P, "visitors", "after each batch: states held in memory"),
            MetricSpec("intent_partition_state", "gauge", ("partition", "state"), "0 or 1",
                "a partition became `restoring`, `ready`, `fenced` or `stopped`: 1 for the state it is in"),
            MetricSpec("intent_restore_seconds", "histogram", ("source",), "seconds",
                "a partition's view was brought up from `source` when it was taken over", _RESTORE_BUCKETS),
            MetricSpec("intent_restored_visitors_total", "counter", ("source",), "visitors",
                "a restore wrote visitors' states to the view"),
            MetricSpec("intent_view_queue_batches", "gauge", _P, "batches",
                "a batch was queued for or written to Redis: batches that Redis is behind"),
            MetricSpec("intent_view_waits_total", "counter", _P, "waits",
                "scoring had to wait because the queue to Redis was full"),
            MetricSpec("intent_views_lost_total", "counter", (), "restores",
                "Redis was wiped, rolled back or lost keys; the changelog mends it"),
        ),
    ),
    (
        "Failures",
        (
            MetricSpec("intent_ready", "gauge", ("component",), "0 or 1",
                "at each scrape: whether the `worker`, the `trainer`, the `discounts`, the `ingest` or the `collector`"
                " is ready, as /readyz says; alert when it is 0, or when the scrape itself fails"),
            MetricSpec("intent_progress_age_seconds", "gauge", _P, "seconds",
                "always: time since the partition last finished a batch, looked for records, or waited on purpose"),
            MetricSpec("intent_failing_seconds", "gauge", _P, "seconds",
                "always: how long no batch of the partition has got through; 0 when the last one did"),
            MetricSpec("intent_redis_wait_seconds", "gauge", _P, "seconds",
                "always: how long the partition has waited for a Redis that does not answer; 0 while it answers"),
            MetricSpec("intent_trainer_progress_age_seconds", "gauge", (), "seconds",
                "always: time since the trainer last came round; trainers alone have it"),
            MetricSpec("intent_redis_seconds", "histogram", ("op",), "seconds",
                "Redis answered: `load` and `write` states, read the `deadlines`, `clear` a partition",
                _ROUND_TRIP_BUCKETS),
            MetricSpec("intent_kafka_seconds", "histogram", ("op",), "seconds",
                "Kafka answered: a batch's `outputs` are written, its `states` (with `exactly_once` all of it, as one"
                " transaction), `commit` offsets, `take_over` a partition, `pulse` (asking for end offsets)",
                _ROUND_TRIP_BUCKETS),
            MetricSpec("intent_redis_errors_total", "counter", ("op",), "errors",
                "a call to Redis failed; it is tried again until it works"),
            MetricSpec("intent_kafka_errors_total", "counter", ("op",), "errors",
                "a call to Kafka failed; it is tried again until it works"),
            MetricSpec("intent_fenced_total", "counter", (), "partitions",
                "a partition, or the training, was given up because another process has it"),
            MetricSpec("intent_unusable_total", "counter", (), "partitions",
                "a partition was stopped until a person acts; the log says what to do"),
        ),
    ),
    (
        "The model that serves",
        (
            MetricSpec("intent_model_version", "gauge", (), "number", "a snapshot was taken over by this worker"),
            MetricSpec("intent_model_updates", "gauge", (), "examples",
                "a snapshot was taken over: examples its model has learned"),
            MetricSpec("intent_model_cold", "gauge", (), "0 or 1",
                "1 while scores are only the base rate: nothing or too little was learned"),
            MetricSpec("intent_snapshot_age_seconds", "gauge", (), "seconds",
                "always: time since the serving model was published; it grows when the trainer stops"),
            MetricSpec("intent_snapshot_bytes", "gauge", (), "bytes",
                "a snapshot was taken over: what was read for it"),
            MetricSpec("intent_snapshots_followed_total", "counter", (), "snapshots", "a snapshot was taken over"),
            MetricSpec("intent_snapshots_refused_total", "counter", ("reason",), "snapshots",
                "a snapshot was not believed, for example its signature is wrong; the model before it goes on serving"),
        ),
    ),
    (
        "Learning (on the trainer)",
        (
            MetricSpec("intent_examples_learned_total", "counter", (), "examples", "the model learned from an example"),
            MetricSpec("intent_checkouts_learned_total", "counter", (), "episodes",
                "an episode that ended in a checkout was learned"),
            MetricSpec("intent_examples_repeated_total", "counter", (), "examples",
                "the trainer passed over an example it had learned before"),
            MetricSpec("intent_outcomes_total", "counter", ("source", "label"), "examples",
                "the trainer read an example, by what told its outcome: a `purchase` event, a `label` of the order"
                " system, or the `session_end`; label 1 is a checkout"),
            MetricSpec("intent_examples_lag_records", "gauge", (), "records",
                "at each look for examples: those that the trainer has not read yet"),
            MetricSpec("intent_examples_held", "gauge", (), "examples",
                "positives that wait until negatives of the same age have come"),
            MetricSpec("intent_label_delay_seconds", "histogram", (), "seconds",
                "an example of a checkout was taken in: from its event to the checkout, in event time", _DELAY_BUCKETS),
            MetricSpec("intent_trainer_cold", "gauge", (), "0 or 1", "1 until the trainer's model has seen enough"),
            MetricSpec("intent_trainer_state", "gauge", ("state",), "0 or 1",
                "the trainer became `standby`, `restoring`, `learning` or `stopped`: 1 for the state it is in"),
            MetricSpec("intent_snapshots_published_total", "counter", (), "snapshots", "a snapshot was published"),
            MetricSpec("intent_snapshot_published_version", "gauge", (), "number",
                "a snapshot was published: its version, which workers are to serve soon (`intent_model_version`)"),
            MetricSpec("intent_snapshot_published_bytes_total", "counter", (), "bytes", "a snapshot was published"),
            MetricSpec("intent_snapshot_published_entries_total", "counter", (), "entries",
                "a snapshot was published: prior entries that had changed"),
            MetricSpec("intent_snapshot_publish_seconds", "histogram", (), "seconds",
                "a snapshot was published: from the export to the acknowledgement", _STAGE_BUCKETS),
            MetricSpec("intent_model_errors_total", "counter", (), "errors",
                "an example or the model was not finite; the trainer went back to its last good state"),
        ),
    ),
    (
        "Quality of the scores as served (on the trainer)",
        (
            MetricSpec("intent_log_loss", "gauge", _SLICE, "nats", "every 5 s while examples come; lower is better"),
            MetricSpec("intent_log_loss_constant", "gauge", _SLICE, "nats",
                "as above: what always serving the base rate would cost, to be undercut"),
            MetricSpec("intent_roc_auc", "gauge", _SLICE, "share",
                "as above: chance that a buyer's score is above a non-buyer's"),
            MetricSpec("intent_pr_auc", "gauge", _SLICE, "share",
                "as above: average precision; a constant score has the base rate"),
            MetricSpec("intent_base_rate", "gauge", _SLICE, "share", "as above: share that ended in a checkout"),
            MetricSpec("intent_mean_score", "gauge", _SLICE, "probability",
                "as above; near the base rate when calibrated"),
            MetricSpec("intent_brier_score", "gauge", _SLICE, "probability²", "as above: mean squared error"),
            MetricSpec("intent_calibration_error", "gauge", _SLICE, "probability",
                "as above: mean distance of score and share bought over 20 bins of equal weight (ECE)"),
            MetricSpec("intent_f1", "gauge", _SLICE, "share",
                "as above: F1 at the threshold that was in use when each label came"),
            MetricSpec("intent_f1_all_positive", "gauge", _SLICE, "share",
                "as above: F1 of calling everybody a buyer, to be exceeded"),
            MetricSpec("intent_f1_threshold", "gauge", (), "probability",
                "every 1,000 examples: the threshold in use, the best on all examples before"),
            MetricSpec("intent_quality_examples", "gauge", _SLICE, "examples",
                "as above: how many the figures rest on"),
            MetricSpec("intent_reliability_score", "gauge", (*_SLICE, "bin"), "probability",
                "as above: mean score of each tenth of the scores, `1` the lowest"),
            MetricSpec("intent_reliability_bought", "gauge", (*_SLICE, "bin"), "share",
                "as above: what share of that tenth bought; the same as its mean score when calibrated"),
        ),
    ),
    (
        "Drift (on the trainer)",
        (
            MetricSpec("intent_drift_alarms_total", "counter", ("what",), "alarms",
                "what is watched has changed: `log_loss`, `surprise`, `bias`, `score` or the feature of that name; goes"
                " on counting after a restart (docs/adr/0024)"),
            MetricSpec("intent_drift_changed", "gauge", ("what",), "0 or 1",
                "1 from an alarm until the new level is known well enough to be watched, two days at least"),
            MetricSpec("intent_drift_level", "gauge", ("what",), "share",
                "with each block of 1,000 episodes: how far it is on the way to an alarm, 0 to 1; NaN while unwatched"),
            MetricSpec("intent_drift_last_alarm_time_seconds", "gauge", (), "seconds",
                "an alarm came: its event time, since 1970"),
        ),
    ),
    (
        "Champion and challengers (on the trainer)",
        (
            MetricSpec("intent_champion", "gauge", ("model",), "0 or 1",
                "another model serves: 1 for the one that does"),
            MetricSpec("intent_champion_pinned", "gauge", (), "0 or 1", "a person chose: 1 while that holds"),
            MetricSpec("intent_champion_changes_total", "counter", (), "changes",
                "a change of champion, or a note on a challenger, was recorded since this trainer began"),
            MetricSpec("intent_model_log_loss", "gauge", ("model",), "nats",
                "examples were learned: of each model's own predictions over the fading window `champion_window`"),
            MetricSpec("intent_model_log_loss_difference", "gauge", ("model",), "nats",
                "as above: a challenger's less the champion's on the same examples; below 0 it is the better one"),
            MetricSpec("intent_model_log_loss_difference_z", "gauge", ("model",), "standard errors",
                "as above: the same difference; below −4 it may take over"),
            MetricSpec("intent_calibrator_serving", "gauge", ("model",), "0 or 1",
                "a model's online calibrator began to pay, or stopped to"),
            MetricSpec("intent_band_min", "gauge", ("band",), "probability",
                "the bands' thresholds moved: the lowest score of `on_the_fence` and of `likely`"),
        ),
    ),
    (
        "Experiments (on the discounts)",
        (
            MetricSpec("intent_experiment_exposures", "gauge", ("experiment", "arm"), "exposures",
                "an exposure was read from `discount.exposures.v1`: the experiment's, as far as the topic is kept"),
            MetricSpec("intent_experiment_units", "gauge", ("experiment", "arm", "state"), "visitors",
                "a visitor was exposed for the first time (`open`), or its window and the delay after it are over"
                " (`settled`)"),
            MetricSpec("intent_experiment_conversions", "gauge", ("experiment", "arm"), "visitors",
                "a settled visitor had ordered"),
            MetricSpec("intent_experiment_revenue_per_visitor", "gauge", ("experiment", "arm"), "money",
                "a visitor was settled: the mean of what was paid; NaN without any"),
            MetricSpec("intent_experiment_profit_per_visitor", "gauge", ("experiment", "arm"), "money",
                "as above: the mean profit, margin on list prices less discounts"),
            MetricSpec("intent_experiment_uplift", "gauge", ("experiment", "measure", "bound"), "per visitor",
                "as above: treatment less holdout in `conversion`, `revenue`, `profit`; `estimate`, and `low` and"
                " `high` of the interval that holds however often one looks, NaN before each arm has enough buyers"),
            MetricSpec("intent_experiment_sample_ratio_p_value", "gauge", ("experiment",), "probability",
                "a visitor was exposed: 1 at first, never rises; below 0.001 the arms have not the shares they should"),
            MetricSpec("intent_experiment_level_profit", "gauge", ("experiment", "level"), "money",
                "a visitor was settled: the mean profit of a visitor to be expected of a level (percent off, 0: none),"
                " as the bandit has learned it over all contexts"),
            MetricSpec("intent_experiment_unused", "gauge", ("experiment", "reason"), "records",
                "an exposure or outcome was left out: `repeated`, of an `other_window` or `other_share` than the"
                " experiment's first, `wrong` probabilities, `crowded_out` by a bound"),
            MetricSpec("intent_measuring_not_used", "gauge", ("what",), "records",
                "a record could not count while outcomes are settled: exposures told again or too late, orders too late"
                " or crowded out by a bound, units refused by a bound or `incomplete`: their orders were deleted"),
            MetricSpec("intent_measuring_unreadable_total", "counter", ("topic",), "records",
                "an exposure or outcome could not be read: something else writes to the topic"),
        ),
    ),
    (
        "Offers (on the discounts)",
        (
            MetricSpec("intent_discount_moments_total", "counter", ("outcome",), "moments",
                "a moment was decided about: `eligible` (exposed), or the check that it failed (docs/discounts.md);"
                " `bought` tells of a checkout, `not_ready` waits for what the bandit has learned, `rejected` is none"
                " of ours; the looks at hesitating sessions count as well"),
            MetricSpec("intent_discount_exposures_total", "counter", ("arm",), "sessions",
                "an exposure was committed: a session of the `treatment`, or one of the `holdout`"),
            MetricSpec("intent_discount_offers_total", "counter", ("kind",), "offers",
                "an offer was committed, by the kind of moment that led to it"),
            MetricSpec("intent_discount_offer_seconds", "histogram", ("kind",), "seconds",
                "an offer was committed: from the time at which its moment was told (`hesitates`: at which its look was"
                " due) to the acknowledgement", _LATENCY_BUCKETS),
            MetricSpec("intent_discount_spent", "gauge", ("window",), "money",
                "every 5 s: what the offers made in this `hour` and on this `day` (UTC) are reckoned to cost"),
            MetricSpec("intent_discount_left", "gauge", ("window",), "money",
                "as above: what is left of the policy's budget"),
            MetricSpec("intent_discount_accounts_total", "counter", ("what",), "accounts",
                "the budget's account in Redis was `lost` (wiped, restarted or rolled back), or `opened` anew from the"
                " exposures"),
            MetricSpec("intent_discount_timers", "gauge", _P, "sessions",
                "after each batch: sessions that are looked at again if nothing happens"),
            MetricSpec("intent_discount_timers_refused_total", "counter", (), "sessions",
                "a session is not looked at again because too many others are"),
            MetricSpec("intent_discount_visitors_crowded_out_total", "counter", (), "visitors",
                "a visitor's cool-down ended early because too many others were exposed since"),
            MetricSpec("intent_discount_policy_info", "gauge", ("version",), "1",
                "a policy came into force: 1 for the one that is"),
            MetricSpec("intent_discount_policy_enabled", "gauge", (), "0 or 1", "as above: 0 when it is switched off"),
            MetricSpec("intent_discount_policy_age_seconds", "gauge", (), "seconds",
                "always: time since the policy came into force in this process"),
            MetricSpec("intent_discount_policy_errors_total", "counter", (), "files",
                "a changed policy file could not be used; the one before it stays in force"),
            MetricSpec("intent_discount_partition_state", "gauge", ("partition", "state"), "0 or 1",
                "a partition became `restoring`, `ready`, `fenced` or `stopped`: 1 for the state it is in"),
            MetricSpec("intent_discount_restore_seconds", "histogram", (), "seconds",
                "a partition was taken over: fenced, and its decisions read back", _RESTORE_BUCKETS),
            MetricSpec("intent_discount_fenced_total", "counter", (), "partitions",
                "another process has taken a partition over while this one still had it"),
            MetricSpec("intent_discount_inbox_records", "gauge", _P, "records",
                "after each batch: records that the agents have handed in and that wait"),
            MetricSpec("intent_discount_progress_age_seconds", "gauge", _P, "seconds",
                "always: time since the partition last came round"),
            MetricSpec("intent_discount_errors_total", "counter", ("what",), "errors",
                "a call to `kafka` or `redis` failed; it is tried again until it works"),
        ),
    ),
    (
        "Taking in (on the ingest)",
        (
            MetricSpec("intent_ingest_records_total", "counter", ("outcome",), "records",
                "a record of the raw topic was dealt with: it came to `events`, all of it was `ignored`, or it was"
                " `rejected` (events that were in it all the same are counted below)"),
            MetricSpec("intent_ingest_events_total", "counter", ("type",), "events",
                "an event was committed to `clickstream.events.v1`"),
            MetricSpec("intent_ingest_ignored_total", "counter", (), "parts",
                "a record, or a part of one, said nothing that a visit is made of"),
            MetricSpec("intent_ingest_seconds", "histogram", (), "seconds",
                "events were committed: from the timestamp of their raw record", _LATENCY_BUCKETS),
            MetricSpec("intent_ingest_schemas_total", "counter", ("outcome",), "answers",
                "with `--format avro`: the schema registry was asked for a schema that records name: `found`, `unknown`"
                " (those records are dead letters), or `away` (no answer of use: asked again until there is one)"),
        ),
    ),
    (
        "Collecting (on the collector)",
        (
            MetricSpec("intent_collect_requests_total", "counter", ("outcome",), "requests",
                "a request was answered: `taken` (all of it is in Kafka), or refused (docs/collect.md): `forbidden` and"
                " `unauthorized`; `address_limit` and `key_limit`; `too_large`, `too_slow`, `unsupported`, `broken`;"
                " `busy` (no room), `unavailable` (Kafka); `unknown` (path or method); `failed` (a mistake of ours)"),
            MetricSpec("intent_collect_events_total", "counter", ("kind", "outcome"), "events",
                "an event of a taken request, as it was sent, was dealt with: `canonical`, `segment` or `ga4`"
                " (`unknown`: no JSON); `accepted`, `rejected` or `ignored`"),
            MetricSpec("intent_collect_rejected_total", "counter", ("reason",), "events",
                "an event was rejected; its bytes and the reason are on `dead.letters.v1`"),
            MetricSpec("intent_collect_times_corrected_total", "counter", (), "events",
                "an event's time was moved: when its request says that it was sent is 5 s or more from its arrival"),
            MetricSpec("intent_collect_seconds", "histogram", (), "seconds",
                "a request was taken: from its headers to its answer", _LATENCY_BUCKETS),
            MetricSpec("intent_collect_acknowledge_seconds", "histogram", (), "seconds",
                "Kafka acknowledged a group of records of one partition", _ROUND_TRIP_BUCKETS),
            MetricSpec("intent_collect_group_records", "histogram", (), "records", "as above: how many they were",
                _BATCH_BUCKETS),
            MetricSpec("intent_collect_waiting_bytes", "gauge", (), "bytes",
                "always: reserved for requests that are being read, or wait for Kafka"),
        ),
    ),
    (
        "At the door (on the ingest and the collector)",
        (
            MetricSpec("intent_door_events_total", "counter", ("source",), "events",
                "an event was let in, by source: the raw topic, or the collector's write key (64, then `(other)`)"),
            MetricSpec("intent_door_findings_total", "counter", ("source", "finding"), "events",
                "something is odd about one of them (docs/quality.md): `bot`, `clock_ahead`, `clock_behind`,"
                " `unknown_type` (which is not let in), `currency_unknown`, `currency_mixed`, `price_odd`,"
                " `constant_id`, `duplicate`; one event may have several"),
        ),
    ),
    (
        "The program",
        (
            MetricSpec("intent_build_info", "gauge", ("version", "python", "engine", "guarantee"), "1",
                "never: says what is running, with which `engine` (`compiled` or `python`) and processing guarantee"),
        ),
    ),
)  # fmt: skip

METRICS: Final[tuple[MetricSpec, ...]] = tuple(spec for _, specs in SECTIONS for spec in specs)

#: What a process that does not train has nothing to say of: a 0 there would be a statement. Headings say so to readers.
OF_TRAINERS: Final = frozenset(
    spec.name for heading, specs in SECTIONS if heading.endswith("(on the trainer)") for spec in specs
) | {"intent_trainer_progress_age_seconds"}

#: What only the discount application moves.
OF_DISCOUNTS: Final = frozenset(
    spec.name for heading, specs in SECTIONS if heading.endswith("(on the discounts)") for spec in specs
)

#: What it shares with the others.
_OF_ALL: Final = frozenset({"intent_ready", "intent_build_info"})

#: What everything moves that events pass on their way in.
OF_DOORS: Final = frozenset(
    spec.name for heading, specs in SECTIONS if heading.startswith("At the door") for spec in specs
)

#: What only the ingest moves, and what it shares with a worker: its partitions are those of the raw topic.
OF_INGEST: Final = frozenset(
    spec.name for heading, specs in SECTIONS if heading.endswith("(on the ingest)") for spec in specs
)
_LIKE_A_WORKER: Final = frozenset({
    "intent_batch_records", "intent_dead_letters_total", "intent_failing_seconds", "intent_fenced_total",
    "intent_kafka_errors_total", "intent_kafka_seconds", "intent_lag_records", "intent_lag_seconds",
    "intent_partition_state", "intent_progress_age_seconds", "intent_stage_seconds", "intent_unusable_total",
})  # fmt: skip

#: What only the collector moves, and what it shares with a worker.
OF_COLLECTOR: Final = frozenset(
    spec.name for heading, specs in SECTIONS if heading.endswith("(on the collector)") for spec in specs
)
_OF_COLLECTOR_TOO: Final = frozenset({"intent_kafka_errors_total"})

_ALL: Final = frozenset(spec.name for spec in METRICS)

_CLIENT_CLASSES: Final = {"counter": Counter, "gauge": Gauge}


class Metrics:
    """The list made into objects on a registry; `counter`, `gauge` and `histogram` find one by its name.

    Without `trainer` those that only a trainer moves are there and not shown. `discounts` shows those of the discount
    application and hardly any other, `ingest` its own and those that it has as a worker has them, `collector` those of
    the collector.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        trainer: bool = True,
        discounts: bool = False,
        ingest: bool = False,
        collector: bool = False,
    ) -> None:
        self._objects: dict[str, Any] = {}
        hidden = OF_DISCOUNTS | OF_INGEST | OF_COLLECTOR | OF_DOORS | (frozenset() if trainer else OF_TRAINERS)
        if discounts:
            hidden = _ALL - OF_DISCOUNTS - _OF_ALL
        if ingest:
            hidden = _ALL - OF_INGEST - OF_DOORS - _LIKE_A_WORKER - _OF_ALL
        if collector:
            hidden = _ALL - OF_COLLECTOR - OF_DOORS - _OF_COLLECTOR_TOO - _OF_ALL
        for spec in METRICS:
            if spec.kind == "histogram":
                made: Any = Histogram(spec.name, spec.moves_when, spec.labels, spec.buckets)
            else:
                made = _CLIENT_CLASSES[spec.kind](spec.name, spec.moves_when, spec.labels, registry=None)
            if spec.name not in hidden:
                registry.register(made)
            self._objects[spec.name] = made

    def counter(self, name: str) -> Counter:
        """The counter of that name."""
        return self._of(name, Counter)  # type: ignore[no-any-return]

    def gauge(self, name: str) -> Gauge:
        """The gauge of that name."""
        return self._of(name, Gauge)  # type: ignore[no-any-return]

    def histogram(self, name: str) -> Histogram:
        """The histogram of that name."""
        return self._of(name, Histogram)  # type: ignore[no-any-return]

    def _of(self, name: str, kind: type) -> Any:
        found = self._objects[name]
        assert isinstance(found, kind), f"{name} is declared as a {type(found).__name__}"
        return found


class Shown:
    """A registry as it is shown: without the `_created` series, which double the counters and answer no question."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        """The families, for the client library's text encoders."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


#: Measured by hand: the page is made without a benchmark's help.
SCRAPING: Final = (
    "`python -m benchmarks.scraping`, median of 200 expositions, CPU time of the process (Python 3.11, two cores of a",
    "virtual machine, other work beside it). What Prometheus asks for is OpenMetrics, gzipped.",
    "",
    "| process | format | series | bytes, gzipped | CPU ms a scrape | share of a core, every 5 s |",
    "| --- | --- | --- | --- | --- | --- |",
    "| worker, 16 partitions | OpenMetrics | 1,163 | 9,391 | 20.7 | 0.41 % |",
    "| worker, 16 partitions | plain | 1,163 | 9,384 | 14.4 | 0.29 % |",
    "| trainer | OpenMetrics | 868 | 7,968 | 11.9 | 0.24 % |",
    "| trainer | plain | 868 | 7,981 | 11.5 | 0.23 % |",
    "",
    "A process scores with one core, so that share is what scraping takes of its throughput: below 1 % at the interval",
    "that is shipped, 5 s, and above it at 1 s.",
)


def documentation() -> str:
    """`docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "Made from `stream_app/metrics.py` by `python -m stream_app.metrics > docs/metrics.md`; a test compares them.",
        "",
        "Served as Prometheus text on `/metrics` of the web port (`--web-port`, 8088). A worker moves the first five",
        "sections, a trainer those that say so, which a worker does not show; `stream-app run` is both. `stream-app",
        "discounts` shows its own, `intent_ready` and `intent_build_info`; `stream-app ingest` its own, and of a",
        "worker's those of its lag, its partitions and failures, for the partitions of the raw topic; `stream-app",
        "collect` its own and `intent_kafka_errors_total`. Counters start",
        "at 0 with the process, those of errors with a series for each `op`, so that a rate knows the first one. On",
        "Linux the process' own `intent_process_*` (CPU, memory, open files) come along.",
        "",
        "Quality is told by `window`, `total` since the start or `recent`, the last 10,000 examples (these fill again",
        "after a restart), and by `slice`: `all`; the event's number in its session, `event_1`, `event_2`, `event_3`,",
        "`event_5`, `event_10_on`; `before_cart` and `before_checkout`, while there was nothing of the kind in the",
        "session. It is NaN with fewer than 20 examples of buyers or of others.",
        "",
        "Exemplars, on request in OpenMetrics: `intent_end_to_end_seconds` names partition and offset of a batch's",
        "first event, which waited longest, and the trace of one of its events where events are traced. No label and",
        "no exemplar ever holds a visitor, a session or an item.",
        "",
        "Alerts are in `ops/prometheus/alerts.yml`, on recording rules in `rules.yml`; what to do about each is in",
        "[runbook.md](runbook.md).",
        "",
        "Several processes on one host: give each `--web-port 0`, a `--worker-id` of its own and the same",
        "`--web-targets` directory. Each leaves a target file there while it runs, which `ops/prometheus/host.yml`",
        "reads (`file_sd`).",
        "",
        "## What being scraped costs",
        "",
        *SCRAPING,
    ]
    for heading, specs in SECTIONS:
        lines += ["", f"## {heading}", ""]
        lines += ["| metric | kind | labels | unit | moves when |", "| --- | --- | --- | --- | --- |"]
        for spec in specs:
            labels = ", ".join(f"`{label}`" for label in spec.labels) or "–"
            lines.append(f"| `{spec.name}` | {spec.kind} | {labels} | {spec.unit} | {spec.moves_when} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(documentation(), end="")
