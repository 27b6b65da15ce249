"""Each fault has a notice in words, and none where all is well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream_app.live.notices import Said, counted, lasting, notice_facts, notices
from stream_app.live.signs import FORGOTTEN_S, Signs
from tests.live.batches import MINUTE, T0, batch, example
from tests.live.test_signs import letter, scored

NOW = 1_000.0


def kinds(signs: Signs, said: Said = Said(), now: float = NOW) -> list[str]:  # noqa: B008 (it cannot change)
    return [notice.kind for notice in notices(signs, said, now=now)]


def test_without_a_fault_there_is_no_notice() -> None:
    signs = Signs()
    for second in range(100):
        signs.take(
            scored(10, dead_letters=[letter("not_json")] * (second % 20 == 0)), model_version=1, now=float(second)
        )
    assert kinds(signs, Said(redis_wait_s=1.5, lag_records=40, lag_s=4.0), now=100.0) == []


def test_redis_that_is_away_is_one_notice_and_not_another_of_the_worker_that_waits_for_it() -> None:
    said = Said(
        not_ready={"worker": "partition 0 has waited 12 s for Redis", "trainer": "Kafka has not answered for 3 s"},
        redis_wait_s=12.0,
        batches_queued=7,
    )
    redis, trainer = notices(Signs(), said, now=NOW)
    assert (redis.kind, redis.severity, redis.since) == ("redis_away", "critical", NOW - 12.0)
    assert "For 12 s; 7 batches of states wait" in redis.detail
    assert (trainer.kind, trainer.of) == ("not_ready", "trainer")
    assert "Kafka has not answered for 3 s" in trainer.detail


def test_records_are_rejected_from_one_in_a_hundred_and_five_a_minute_on() -> None:
    for rejected, good, told in ((4, 20, False), (5, 494, True), (5, 495, False), (50, 1_000, True)):
        signs = Signs()
        effects = scored(good, dead_letters=[letter("not_json")] * (rejected - 1) + [letter("no_visitor")])
        effects.events["unknown", "rejected"] = rejected
        signs.take(effects, model_version=1, now=NOW)
        assert kinds(signs) == ["records_rejected"] * told, (rejected, good)
    (notice,) = notices(signs, Said(), now=NOW)
    assert notice.detail.startswith(
        "50 records of the last minute cannot be used, 49 of them for the reason not_json (cl"
    )
    assert kinds(signs, now=NOW + 60) == []


def test_a_source_of_checkouts_that_falls_silent_is_missed_until_it_is_forgotten() -> None:
    signs = Signs()
    for second in range(100):
        effects = scored(100)
        effects.labels["matched"] = 10
        effects.events["purchase", "scored"] = 2
        signs.take(effects, model_version=1, now=float(second))
    for second in range(100, 104):
        signs.take(scored(100), model_version=1, now=float(second))
    (notice,) = notices(signs, Said(), now=104.0)
    assert (notice.kind, notice.of, notice.since) == ("checkouts_missing", "label", 99.0)
    assert "Nothing for 5 s, in which about 40 were to be expected" in notice.detail
    assert kinds(signs, now=98.0 + FORGOTTEN_S) == ["checkouts_missing"]
    assert kinds(signs, now=100.0 + FORGOTTEN_S) == []


def test_nobody_learns_when_outcomes_have_waited_for_a_model_for_a_quarter_of_a_minute() -> None:
    signs = Signs()
    told = [example("ann", 1, label=0, source="session_end", label_time=T0 + MINUTE)]
    signs.take(batch([], examples=told), model_version=3, now=NOW)
    assert kinds(signs, now=NOW + 15) == []
    (notice,) = notices(signs, Said(), now=NOW + 16)
    assert (notice.kind, notice.severity, notice.since) == ("nobody_learns", "critical", NOW)
    signs.serves(4)
    assert kinds(signs, now=NOW + 17) == []


def test_scores_come_late_when_an_event_has_waited_for_five_seconds() -> None:
    (notice,) = notices(Signs(), Said(lag_records=12_345, lag_s=5.2), now=NOW)
    assert (notice.kind, notice.alert) == ("behind", "LagHigh")
    assert "Waiting in Kafka: 12,345 records, the oldest for 5 s" in notice.detail
    (notice,) = notices(Signs(), Said(lag_records=None, lag_s=300.0), now=NOW)
    assert "Waiting in Kafka, the oldest for 5 min" in notice.detail


def test_a_change_of_behaviour_is_a_warning_and_one_of_the_scores_more() -> None:
    (notice,) = notices(Signs(), Said(changed=["n_cart", "mobile"]), now=NOW)
    assert (notice.kind, notice.severity, notice.alert) == ("behaviour_changed", "warning", "Drift")
    assert "n cart, mobile" in notice.detail
    features = ["a", "b", "c", "d", "e", "f"]
    (notice,) = notices(Signs(), Said(changed=[*features, "log_loss"]), now=NOW)
    assert (notice.severity, notice.alert) == ("critical", "DriftOfTheScores")
    assert "log loss, a, b, c, d and 2 more" in notice.detail


def test_the_critical_ones_come_first() -> None:
    said = Said(redis_wait_s=3.0, lag_s=9.0, not_ready={"trainer": "restoring"}, changed=["score"])
    assert [notice.severity for notice in notices(Signs(), said, now=NOW)] == ["critical"] * 2 + ["warning"] * 2


def test_a_notice_as_json_says_since_when_by_the_wall_clock() -> None:
    (notice,) = notices(Signs(), Said(redis_wait_s=3.0), now=NOW)
    facts = notice_facts(notice, now=NOW + 1.0, now_ms=50_000)
    assert facts["since"] == 46_000
    (notice,) = notices(Signs(), Said(changed=["score"]), now=NOW)
    assert notice_facts(notice, now=NOW, now_ms=50_000)["since"] is None


def test_every_notice_leads_to_a_section_of_the_runbook() -> None:
    source = Path(__file__).parents[2].joinpath("stream_app/live/notices.py").read_text()
    runbook = Path(__file__).parents[2].joinpath("docs/runbook.md").read_text()
    sections = set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE))
    named = set(re.findall(r'"([A-Z]\w+[A-Z]\w+)"', source)) | {"Drift"}
    assert len(named) == 8
    assert named <= sections


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99.0, "99 s"), (100.0, "2 min"), (7_200.0, "2 h"), (200_000.0, "2 days")]
)
def test_times_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


def test_numbers_are_told_with_their_noun() -> None:
    assert [counted(1, "batch", "batches"), counted(2, "batch", "batches"), counted(1_204, "record"), counted(3)] == [
        "1 batch",
        "2 batches",
        "1,204 records",
        "3",
    ]
