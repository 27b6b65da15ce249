"""Each internal event is a log line and a metric: both asserted together."""

from __future__ import annotations

import logging
import math
from collections import Counter

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stream_app.core.drift import WATCHED, Alarm
from stream_app.core.effects import DeadLetter, Effects, Position
from stream_app.core.learner import Learner
from stream_app.core.records import ClosedSession, encode
from stream_app.log_lines import TEXT_LENGTH_MAX
from stream_app.metrics import OF_TRAINERS
from stream_app.observe import LINES_PER_MINUTE_MAX, Observer
from tests.core.examples import example
from tests.core.streams import T0


class _Seen:
    """An observer, its registry and the clock it lives by."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now = 1_000.0
        self.observer = Observer(self.registry, monotonic=lambda: self.now)

    def value(self, name: str, **labels: str) -> float:
        found = self.registry.get_sample_value(name, labels)
        assert found is not None, f"{name} has no series {labels}"
        return found

    def missing(self, name: str, **labels: str) -> bool:
        return self.registry.get_sample_value(name, labels) is None


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> _Seen:
    caplog.set_level(logging.INFO, logger="stream_app")
    return _Seen()


def _letter(offset: int = 7, *, topic: str = "shop.clickstream.events.v1", detail: str = "cut off") -> DeadLetter:
    return DeadLetter(b"k", b"{", "not_json", detail, topic, 3, offset)


def _effects() -> Effects:
    return Effects(
        Position(seq=5),
        events=Counter({("view_item", "scored"): 8, ("purchase", "late"): 1, ("unknown", "not_json"): 1}),
        labels=Counter({"resolved": 2}),
        bands=Counter({"unlikely": 6, "likely": 3}),
        examples=[(b"k", b"{}")] * 4,
        sessions_opened=3,
        sessions_closed=2,
        sessions_bound=1,
        ahead=5,
        dead_letters=[_letter()],
        score_values=np.array([0.004, 0.02, 0.021, 0.5]),
        moments_told=Counter(band=2, quiet=1),
        states={"a": b"x" * 400, "b": b"x" * 500, "c": b"x" * 5_000},
        closed=[
            (b"k", encode(_closed(events=3, duration_ms=90_000))),
            (b"k", encode(_closed(events=1, duration_ms=0))),
        ],
    )


def _closed(*, events: int, duration_ms: int) -> ClosedSession:
    return ClosedSession(
        visitor_id="v", session_id="s", start=0, end=duration_ms, duration_ms=duration_ms, events=events, purchases=0,
        labelled_checkouts=0, spend=0.0, source=None, country=None, reason="gap",
    )  # fmt: skip


def test_a_batch_moves_every_count_of_it(seen: _Seen) -> None:
    seen.observer.batch(
        3,
        _effects(),
        records=12,
        received_ms=[1_000, 1_990, 2_500],
        now_ms=2_000,
        stages={"fold": 0.004},
        first_offset=77,
    )
    assert seen.value("intent_events_total", type="view_item", outcome="scored") == 8
    assert seen.value("intent_events_total", type="purchase", outcome="late") == 1
    assert seen.value("intent_events_total", type="unknown", outcome="rejected") == 1
    assert seen.value("intent_labels_total", outcome="resolved") == 2
    assert seen.value("intent_scores_total", band="unlikely") == 6
    assert seen.value("intent_moments_total", kind="band") == 2
    assert seen.value("intent_moments_total", kind="quiet") == 1
    assert seen.value("intent_examples_total") == 4
    assert seen.value("intent_sessions_opened_total") == 3
    assert seen.value("intent_sessions_closed_total", reason="gap") == 1
    assert seen.value("intent_sessions_closed_total", reason="bound") == 1
    assert seen.value("intent_events_ahead_total") == 5
    assert seen.value("intent_batch_records_sum") == 12
    assert seen.value("intent_stage_seconds_count", stage="fold") == 1
    # 1 s, 10 ms, and a broker whose clock is ahead of ours: 0
    assert seen.value("intent_end_to_end_seconds_sum") == pytest.approx(1.01)
    assert seen.value("intent_end_to_end_seconds_count") == 3
    # The one that waited longest, by its place and by nothing else.
    (exemplar,) = seen.observer.end_to_end.exemplars.values()
    assert exemplar == ({"partition": "3", "offset": "77"}, 1.0, 2.0)
    assert [seen.value("intent_score_bucket", le=bound) for bound in ("0.005", "0.02", "0.03", "0.5", "+Inf")] == [
        1, 2, 3, 4, 4,
    ]  # fmt: skip
    assert [seen.value("intent_state_bytes_bucket", le=bound) for bound in ("250", "500", "8000")] == [0, 2, 3]
    assert seen.value("intent_session_events_sum") == 4
    assert seen.value("intent_session_seconds_bucket", le="1") == 1
    assert seen.value("intent_session_seconds_sum") == 90
    assert seen.value("intent_last_checkout_time_seconds", source="purchase") == 2.0
    assert seen.value("intent_last_checkout_time_seconds", source="label") == 2.0


def test_an_exemplar_names_the_trace_of_an_event_of_its_batch(seen: _Seen) -> None:
    effects = _effects()
    effects.score_headers = {"e9": [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]}
    seen.observer.batch(3, effects, records=1, received_ms=[1_000], now_ms=2_000, stages={}, first_offset=77)
    (exemplar,) = seen.observer.end_to_end.exemplars.values()
    assert exemplar.labels == {"partition": "3", "offset": "77", "trace_id": "0af7651916cd43dd8448eb211c80319c"}


def test_what_tells_of_no_new_checkout_moves_no_checkout_time(seen: _Seen) -> None:
    effects = Effects(
        Position(),
        events=Counter({("view_item", "scored"): 3, ("purchase", "duplicate"): 1}),
        labels=Counter({"duplicate": 2, "refund": 1}),
    )
    seen.observer.batch(0, effects, records=7, received_ms=[1], now_ms=5_000, stages={})
    assert seen.missing("intent_last_checkout_time_seconds", source="purchase")
    assert seen.missing("intent_last_checkout_time_seconds", source="label")


def test_lag_in_seconds_is_bounded_by_what_was_scored_and_by_when_nothing_waited(seen: _Seen) -> None:
    observer = seen.observer

    def lag() -> float:
        return seen.value("intent_lag_seconds", partition="1")

    # Taken over with records that wait, and nothing scored yet: not known.
    observer.lag(1, 500, -1, 100_000)
    assert math.isnan(lag())
    # The last event scored came 40 s ago, so those that wait came later.
    observer.batch(1, Effects(Position()), records=9, received_ms=[59_000, 60_000], now_ms=100_000, stages={})
    observer.lag(1, 400, -1, 100_000)
    assert lag() == 40.0
    # It grows while nobody looks: a loop that hangs is seen.
    seen.now += 25
    assert lag() == 65.0
    observer.lag(1, 0, -1, 130_000)
    seen.now += 3_600
    assert lag() == 0.0
    # After an idle hour two records come: they waited no longer than since the last look.
    observer.lag(1, 0, -1, 3_730_000)
    observer.lag(1, 2, -1, 3_730_200)
    assert lag() == pytest.approx(0.2)
    # A look that cannot tell changes nothing.
    observer.lag(1, -1, -1, 3_731_000)
    assert lag() == pytest.approx(0.2)


def test_the_longest_wait_is_that_of_the_partitions_that_know(seen: _Seen) -> None:
    observer = seen.observer
    assert observer.longest_wait_s() == 0.0
    observer.lag(1, 500, -1, 100_000)  # taken over with records that wait: not known for how long
    assert observer.longest_wait_s() == 0.0
    for partition, scored_ms in ((2, 60_000), (3, 90_000)):
        observer.batch(partition, Effects(Position()), records=9, received_ms=[scored_ms], now_ms=100_000, stages={})
        observer.lag(partition, 400, -1, 100_000)
    seen.now += 5
    assert observer.longest_wait_s() == 45.0
    observer.partition_state(2, "stopped")
    assert observer.longest_wait_s() == 15.0


def test_an_owned_partition_is_asked_at_each_scrape_and_a_given_back_one_no_more(seen: _Seen) -> None:
    owned = _Owned()
    seen.observer.own(4, owned)
    for name in ("failing", "redis_wait"):
        assert seen.value(f"intent_{name}_seconds", partition="4") == 0.0
    seen.now += 12
    owned.failing_since, owned.behind.waiting_since = seen.now - 5, seen.now - 3
    assert seen.value("intent_progress_age_seconds", partition="4") == 12.0
    assert seen.value("intent_failing_seconds", partition="4") == 5.0
    assert seen.value("intent_redis_wait_seconds", partition="4") == 3.0
    seen.observer.partition_state(4, "stopped")
    for name in ("progress_age", "failing", "redis_wait"):
        assert seen.missing(f"intent_{name}_seconds", partition="4")


class _Owned:
    """A partition, as far as it is asked."""

    def __init__(self) -> None:
        self.progress = 1_000.0
        self.failing_since: float | None = None
        self.behind = self
        self.waiting_since: float | None = None


def test_what_is_running_is_told_with_its_engine_and_guarantee() -> None:
    registry = CollectorRegistry()
    Observer(registry, engine="compiled", guarantee="exactly_once")
    (sample,) = (s for f in registry.collect() for s in f.samples if s.name == "intent_build_info")
    assert sample.labels["engine"] == "compiled"
    assert sample.labels["guarantee"] == "exactly_once"
    assert set(sample.labels) == {"version", "python", "engine", "guarantee"}


def test_answers_are_timed_by_what_was_asked(seen: _Seen) -> None:
    seen.observer.redis_answered("write", 0.0011)
    seen.observer.kafka_answered("outputs", 0.004)
    assert seen.value("intent_redis_seconds_bucket", op="write", le="0.002") == 1
    assert seen.value("intent_redis_seconds_bucket", op="write", le="0.001") == 0
    assert seen.value("intent_kafka_seconds_sum", op="outputs") == 0.004


def test_stray_visitors_are_counted_and_told_once_a_minute(seen: _Seen, caplog: pytest.LogCaptureFixture) -> None:
    for strays in (2, 3, 0):
        effects = Effects(Position(), strays=strays)
        seen.observer.batch(3, effects, records=9, received_ms=[], now_ms=0, stages={})
    assert seen.value("intent_stray_visitors_total", partition="3") == 5
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("stray_visitors partition=3 visitors=2 ")


def test_a_dead_letter_is_one_line_with_its_coordinates_and_one_count(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    seen.observer.dead_letter(_letter(detail="got a visitor's words"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "stream_app"
    # The detail may quote the record, whose contents are nobody's business above DEBUG.
    assert record.getMessage() == "dead_letter topic=shop.clickstream.events.v1 partition=3 offset=7 reason=not_json"
    assert seen.value("intent_dead_letters_total", topic="clickstream.events.v1", reason="not_json") == 1


def test_who_debugs_sees_what_was_wrong_with_a_record_on_one_line_of_bounded_length(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="stream_app")
    seen.observer.dead_letter(_letter(detail='got "x"\n' + "y" * 1_000))
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith(
        'dead_letter topic=shop.clickstream.events.v1 partition=3 offset=7 reason=not_json detail="got \\"x\\"\\ny'
    )
    assert "\n" not in line
    assert line.count("y") == TEXT_LENGTH_MAX - len('got "x"\n')


def test_a_rejected_label_is_no_rejected_event(seen: _Seen) -> None:
    seen.observer.dead_letter(_letter(topic="checkout.labels.v1"))
    assert seen.value("intent_dead_letters_total", topic="checkout.labels.v1", reason="not_json") == 1
    assert seen.missing("intent_events_total", type="unknown", outcome="rejected")


def test_a_flood_of_dead_letters_is_cut_off_and_summed_up_while_all_are_counted(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    for offset in range(1_000):
        seen.observer.dead_letter(_letter(offset))
    assert len(caplog.records) == LINES_PER_MINUTE_MAX
    assert seen.value("intent_dead_letters_total", topic="clickstream.events.v1", reason="not_json") == 1_000
    seen.now += 59
    seen.observer.lag(0, 0, -1, 0)
    assert len(caplog.records) == LINES_PER_MINUTE_MAX
    seen.now += 1
    seen.observer.lag(0, 0, -1, 0)
    assert caplog.records[-1].getMessage() == 'dead_letter left_out=980 of=1000 within="the last minute"'
    assert len(caplog.records) == LINES_PER_MINUTE_MAX + 1
    seen.observer.dead_letter(_letter())
    assert len(caplog.records) == LINES_PER_MINUTE_MAX + 2


def test_failures_that_are_tried_again_are_warnings_and_those_that_need_a_person_errors(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    observer = seen.observer
    for event, level, metric, labels in (
        (lambda: observer.redis_error("view", OSError("refused")), "WARNING", "redis_errors", {"op": "view"}),
        (lambda: observer.kafka_error("partition", OSError("gone")), "WARNING", "kafka_errors", {"op": "partition"}),
        (lambda: observer.view_lost(1, "got seq none"), "WARNING", "views_lost", {}),
        (lambda: observer.view_behind(1, 16), "WARNING", "view_waits", {"partition": "1"}),
        (lambda: observer.fenced(1, "the view has seq 9"), "WARNING", "fenced", {}),
        (lambda: observer.unusable(1, "a newer state"), "ERROR", "unusable", {}),
        (
            lambda: observer.snapshot_refused("signature", "wrong"),
            "ERROR",
            "snapshots_refused",
            {"reason": "signature"},
        ),
        (lambda: observer.model_error("weights became non-finite"), "ERROR", "model_errors", {}),
    ):
        caplog.clear()
        event()
        (record,) = caplog.records
        assert record.levelname == level
        assert seen.value(f"intent_{metric}_total", **labels) == 1


def test_waiting_for_redis_is_one_line_a_minute_however_often_it_is_looked_at(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(500):
        seen.observer.view_behind(2, 16)
    assert len(caplog.records) == 1
    assert seen.value("intent_view_waits_total", partition="2") == 500
    seen.observer.behind(2, queued=15, view=0.4)
    assert seen.value("intent_view_queue_batches", partition="2") == 15
    assert seen.value("intent_stage_seconds_sum", stage="view") == 0.4


def test_a_partition_has_one_state_and_is_forgotten_when_it_is_given_back(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    observer = seen.observer
    observer.partition_state(2, "restoring")
    observer.restored(2, "changelog", 120, 0.5, "not of this changelog")
    assert caplog.records[-1].getMessage() == (
        'restored partition=2 source=changelog visitors=120 seconds=0.5 reason="not of this changelog"'
    )
    assert seen.value("intent_restore_seconds_count", source="changelog") == 1
    assert seen.value("intent_restored_visitors_total", source="changelog") == 120
    observer.partition_state(2, "ready")
    observer.lag(2, 40, 5_000, 8_500)
    observer.open_sessions(2, 9)
    observer.cache(2, 11)
    assert seen.value("intent_lag_records", partition="2") == 40
    assert seen.value("intent_watermark_delay_seconds", partition="2") == 3.5
    assert seen.value("intent_partition_state", partition="2", state="ready") == 1
    assert seen.value("intent_partition_state", partition="2", state="restoring") == 0
    observer.partition_state(2, "stopped")
    for gone in ("lag_records", "watermark_delay_seconds", "open_visitors", "cached_visitors"):
        assert seen.missing(f"intent_{gone}", partition="2")
    observer.partition_state(2, "stopped")
    assert seen.value("intent_partition_state", partition="2", state="stopped") == 1


def test_a_snapshots_age_grows_until_the_next_one_and_turning_warm_is_told_once(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    age = seen.value("intent_snapshot_age_seconds")
    assert age is not None
    assert age != age  # NaN: there is none yet
    assert seen.value("intent_model_cold") == 1
    seen.observer.snapshot_followed(4, 0.2, 60_000, 900, True)
    assert not caplog.records
    seen.now += 3
    assert seen.value("intent_snapshot_age_seconds") == pytest.approx(3.2)
    seen.observer.snapshot_followed(5, 0.1, 61_000, 1_800, False)
    seen.observer.snapshot_followed(6, 0.1, 62_000, 1_900, False)
    assert [record.getMessage() for record in caplog.records] == [
        "snapshot_followed version=5 updates=1800 cold=False bytes=61000 age=0.1"
    ]
    assert seen.value("intent_snapshot_age_seconds") == pytest.approx(0.1)
    assert seen.value("intent_model_version") == 6
    assert seen.value("intent_model_updates") == 1_900
    assert seen.value("intent_model_cold") == 0
    assert seen.value("intent_snapshot_bytes") == 62_000
    assert seen.value("intent_snapshots_followed_total") == 3


def test_learning_shows_counts_and_quality(seen: _Seen) -> None:
    observer = seen.observer
    observer.trainer_state("learning")
    observer.examples(10, 3, 2, 1, True)
    observer.examples(5, 0, 0, 0, False)
    for label, source in ((1, "purchase"), (0, "session_end"), (0, "session_end")):
        told = msgspec.structs.replace(example(label=label), label_source=source)
        observer.example(msgspec.structs.replace(told, event_time=T0, label_time=T0 + 1_800_000))
    observer.examples_lag(12)
    observer.trainer_progress(lambda: seen.now - 7.0)
    observer.snapshot_published(8, 50_000, 0.02, 30)
    assert seen.value("intent_trainer_state", state="learning") == 1
    assert seen.value("intent_trainer_state", state="standby") == 0
    assert seen.value("intent_examples_learned_total") == 15
    assert seen.value("intent_checkouts_learned_total") == 3
    assert seen.value("intent_examples_repeated_total") == 2
    assert seen.value("intent_examples_held") == 0
    assert seen.value("intent_trainer_cold") == 0
    assert seen.value("intent_label_delay_seconds_bucket", le="1800") == 1
    assert seen.value("intent_label_delay_seconds_count") == 1
    assert seen.value("intent_outcomes_total", source="purchase", label="1") == 1
    assert seen.value("intent_outcomes_total", source="session_end", label="0") == 2
    assert seen.value("intent_examples_lag_records") == 12
    assert seen.value("intent_trainer_progress_age_seconds") == 7.0
    assert seen.value("intent_snapshot_published_version") == 8
    assert seen.value("intent_snapshot_published_bytes_total") == 50_000


def _lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def some_learner() -> Learner:
    return Learner(["newton", "bins"], base_rate=0.03)


def test_quality_is_shown_by_window_and_slice_once_it_says_something(seen: _Seen) -> None:
    learner = some_learner()
    rows = ((0.9, 1), (0.2, 0), (0.1, 0), (0.6, 0))
    for score, label in rows:
        learner.prequential.observe(example(score=score, label=label))
    seen.observer.quality(learner)
    everything = {"window": "recent", "slice": "all"}
    assert seen.value("intent_quality_examples", **everything) == 4
    for name in (
        "log_loss", "log_loss_constant", "roc_auc", "pr_auc", "base_rate", "brier_score", "calibration_error", "f1",
        "f1_all_positive",
    ):  # fmt: skip
        assert math.isnan(seen.value(f"intent_{name}", **everything)), name
    assert math.isnan(seen.value("intent_reliability_score", **everything, bin="1"))
    assert math.isnan(seen.value("intent_f1_threshold"))
    for score, label in rows * 299:
        learner.prequential.observe(example(score=score, label=label))
    seen.now += 5.0
    seen.observer.quality(learner)
    for window in ("recent", "total"):
        for name in ("all", "event_3"):
            place = {"window": window, "slice": name}
            assert seen.value("intent_roc_auc", **place) == 1.0
            assert seen.value("intent_base_rate", **place) == 0.25
            assert seen.value("intent_mean_score", **place) == pytest.approx(0.45)
            assert seen.value("intent_brier_score", **place) == pytest.approx((0.01 + 0.04 + 0.01 + 0.36) / 4)
            assert seen.value("intent_calibration_error", **place) == pytest.approx((0.1 + 0.2 + 0.1 + 0.6) / 4)
            assert seen.value("intent_f1", **place) == 1.0
            assert seen.value("intent_f1_all_positive", **place) == pytest.approx(0.4)
            assert seen.value("intent_quality_examples", **place) == 1200
            # Of each tenth: the scores come in four kinds, so the others are empty.
            curve = [
                (seen.value("intent_reliability_score", **place, bin=str(n)),
                 seen.value("intent_reliability_bought", **place, bin=str(n)))
                for n in range(1, 11)
            ]  # fmt: skip
            told = [(pytest.approx(score), bought) for score, bought in curve if not math.isnan(score)]
            assert told == [(0.1, 0.0), (0.2, 0.0), (0.6, 0.0), (0.9, 1.0)]
        for name in ("event_1", "before_cart", "before_checkout"):
            assert seen.value("intent_quality_examples", window=window, slice=name) == 0
    assert 0.59 < seen.value("intent_f1_threshold") <= 0.9


def test_quality_is_computed_every_five_seconds_and_at_once_when_there_is_news(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    learner = some_learner()
    seen.observer.quality(learner)
    learner.prequential.observe(example(score=0.5, label=0))
    seen.now += 4.9
    seen.observer.quality(learner)
    assert seen.value("intent_quality_examples", window="total", slice="all") == 0
    learner.champion.change("bins", "by hand", time=1, updates=2)
    seen.observer.quality(learner)
    assert seen.value("intent_quality_examples", window="total", slice="all") == 1
    assert _lines(caplog) == [(logging.INFO, 'champion model=bins former=newton reason="by hand"')]


def test_models_are_shown_with_who_serves_and_how_they_compare(seen: _Seen) -> None:
    learner = some_learner()
    champion, challenger = learner.contenders.values()
    champion.p = champion.raw = [0.2]
    challenger.p = challenger.raw = [0.1]
    for each in (champion, challenger):
        each.observe(1, [1.0], champion)
    learner.champion.pinned = True
    seen.observer.quality(learner)
    assert seen.value("intent_champion", model="newton") == 1
    assert seen.value("intent_champion", model="bins") == 0
    assert seen.value("intent_champion_pinned") == 1
    assert seen.value("intent_model_log_loss", model="newton") == pytest.approx(-math.log(0.2))
    assert seen.value("intent_model_log_loss", model="bins") == pytest.approx(-math.log(0.1))
    assert seen.value("intent_model_log_loss_difference", model="bins") == pytest.approx(math.log(2))
    assert seen.value("intent_calibrator_serving", model="newton") == 0
    assert seen.value("intent_band_min", band="on_the_fence") == 0.08
    assert seen.value("intent_band_min", band="likely") == 0.4
    assert seen.value("intent_champion_changes_total") == 0
    learner.champion.change("bins", "better", time=1, updates=2)
    del learner.contenders["newton"]
    seen.observer.quality(learner)
    assert seen.value("intent_champion", model="bins") == 1
    assert seen.value("intent_champion_changes_total") == 1
    assert seen.missing("intent_champion", model="newton"), "who learns no more is not shown"


def test_an_alarm_of_drift_is_a_warning_and_counted_from_zero(seen: _Seen, caplog: pytest.LogCaptureFixture) -> None:
    learner = some_learner()
    seen.observer.quality(learner)
    assert seen.value("intent_drift_alarms_total", what="price") == 0
    assert math.isnan(seen.value("intent_drift_last_alarm_time_seconds"))
    at = WATCHED.index("price")
    learner.drift.alarms.append(Alarm(1_735_700_000_000, "price", 2.5, 3.25, 0.5))
    learner.drift._counts[at] = learner.drift._changed[at] = 1
    seen.observer.quality(learner)
    seen.observer.quality(learner)
    (line,) = _lines(caplog)
    assert line[0] == logging.WARNING
    assert line[1].startswith("drift what=price usual=2.5 now=3.25 size=0.5 time=1735700000000 ")
    assert seen.value("intent_drift_alarms_total", what="price") == 1
    assert seen.value("intent_drift_alarms_total", what="score") == 0
    assert seen.value("intent_drift_changed", what="price") == 1
    assert seen.value("intent_drift_changed", what="score") == 0
    assert seen.value("intent_drift_last_alarm_time_seconds") == 1_735_700_000
    assert math.isnan(seen.value("intent_drift_level", what="score")), "nothing is watched yet"


def test_alarms_of_before_a_restart_are_counted_but_not_told_again(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    learner = some_learner()
    learner.drift.alarms.append(Alarm(1_735_700_000_000, "price", 2.5, 3.25, 0.5))
    learner.drift._counts[WATCHED.index("price")] = 3
    seen.observer.quality(learner)
    assert _lines(caplog) == []
    assert seen.value("intent_drift_alarms_total", what="price") == 3


def test_what_was_changed_before_a_restart_is_no_change_of_this_trainer_and_what_comes_next_is(
    seen: _Seen, caplog: pytest.LogCaptureFixture
) -> None:
    learner = some_learner()
    learner.champion.change("bins", "better", time=1, updates=2)
    seen.observer.learner_restored(alarms=0, changes=learner.champion.changed)
    # A command that had waited for the trainer is heeded before anything is shown.
    learner.champion.change("newton", "by hand", time=2, updates=3)
    seen.observer.quality(learner)
    assert seen.value("intent_champion_changes_total") == 1
    assert [line[1].split(" ")[:2] for line in _lines(caplog)] == [["champion", "model=newton"]]


def test_errors_have_a_series_for_each_thing_that_may_fail_before_anything_has() -> None:
    def ops(family: str, **runs: bool) -> set[str]:
        registry = CollectorRegistry()
        Observer(registry, **runs)  # type: ignore[arg-type]
        (found,) = [found for found in registry.collect() if found.name == family]
        counts = [sample for sample in found.samples if sample.name.endswith("_total")]
        assert all(sample.value == 0 for sample in counts)
        return {sample.labels["op"] for sample in counts}

    assert ops("intent_redis_errors", trainer=False) == {"partition", "view"}
    assert ops("intent_redis_errors", worker=False) == set()
    assert ops("intent_kafka_errors", worker=False) == {"trainer"}
    assert ops("intent_kafka_errors", trainer=False) == {
        "assignment", "group", "hand-over", "partition", "snapshots", "worker",
    }  # fmt: skip


def test_a_worker_says_nothing_of_a_training_that_is_elsewhere() -> None:
    alone, both = CollectorRegistry(), CollectorRegistry()
    Observer(alone, trainer=False)
    Observer(both)
    families = [{family.name for family in registry.collect()} for registry in (alone, both)]
    assert families[1] - families[0] == {name.removesuffix("_total") for name in OF_TRAINERS}
    assert families[0] < families[1]


def test_more_checkouts_taken_back_than_made_count_as_none(seen: _Seen) -> None:
    seen.observer.examples(5, 2, 0, 0, True)
    # A refund alone in a poll: the learner's checkouts are one fewer, and a counter only counts.
    seen.observer.examples(1, -1, 0, 0, True)
    assert seen.value("intent_checkouts_learned_total") == 2
    assert seen.value("intent_examples_learned_total") == 6


def test_the_quality_before_a_silence_is_shown_in_it(seen: _Seen) -> None:
    learner = some_learner()
    seen.observer.quality(learner)
    learner.prequential.observe(example(score=0.5, label=0))
    seen.now += 1.0
    seen.observer.quality(learner)
    everything = {"window": "recent", "slice": "all"}
    assert seen.value("intent_quality_examples", **everything) == 0
    # No more examples, and so no snapshot; the trainer goes on looking.
    seen.now += 5.0
    seen.observer.examples_lag(0)
    assert seen.value("intent_quality_examples", **everything) == 1
