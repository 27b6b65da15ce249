"""What a worker's batches show of faults elsewhere: rejects of a minute, sources that fall silent, nobody learns."""

from __future__ import annotations

import math

import pytest

from stream_app.core.effects import DeadLetter, Effects
from stream_app.live.seconds import SECONDS, SecondCounts
from stream_app.live.signs import Signs, Silence
from tests.live.batches import MINUTE, T0, batch, example, score


def letter(reason: str, topic: str = "clickstream.events.v1") -> DeadLetter:
    return DeadLetter(b"", b"{", reason, "", topic, 0, 1)


def scored(number: int, **more: object) -> Effects:
    return batch([score(f"v{n}", 1, 0.1) for n in range(number)], **more)


def test_counts_within_some_seconds_are_those_and_the_second_that_runs() -> None:
    counts = SecondCounts()
    assert counts.within(60, 5.0) == 0
    for second in range(10):
        counts.add(second + 1, second + 0.5)
    assert counts.within(1, 9.9) == 10
    assert counts.within(3, 9.9) == 8 + 9 + 10
    assert counts.within(60, 9.9) == 55
    assert counts.within(3, 11.0) == 10
    assert counts.within(3, 12.0) == 0
    assert counts.within(60, 9.0 + SECONDS) == 0


def test_rejected_records_are_told_by_topic_and_reason_for_a_minute_the_most_frequent_first() -> None:
    signs = Signs()
    letters = [letter("not_json"), letter("wrong_type", "checkout.labels.v1"), letter("not_json")]
    signs.take(batch([], dead_letters=letters), model_version=1, now=0.0)
    signs.take(batch([], dead_letters=letters[1:2] * 4), model_version=1, now=30.0)
    expected = {("checkout.labels.v1", "wrong_type"): 5, ("clickstream.events.v1", "not_json"): 2}
    assert list(signs.rejected(59.0).items()) == list(expected.items())
    assert signs.rejected(60.0) == {("checkout.labels.v1", "wrong_type"): 4}
    assert signs.rejected(90.0) == {}


def test_records_are_events_of_any_outcome_and_labels() -> None:
    signs = Signs()
    effects = scored(3)
    effects.events["unknown", "not_json"] = 2
    effects.events["view_item", "duplicate"] = 1
    effects.labels["matched"] = 4
    signs.take(effects, model_version=1, now=0.0)
    assert signs.records.within(60, 0.0) == 10


def test_a_silence_is_measured_in_checkouts_that_were_to_be_expected() -> None:
    silence = Silence()
    for second in range(100):
        silence.add(1, 50, float(second))
    assert silence.missed == silence.surprise == 0.0
    silence.add(0, 500, 100.0)
    assert silence.missed == pytest.approx(10.0, rel=0.01)
    # Worked out: 100 checkouts heard of in 5,000 scores, none in 500: −log((5000 / 5500)^100) = 9.53.
    assert silence.surprise == pytest.approx(100 * math.log(1.1), rel=0.01)
    assert silence.heard == 99.0
    silence.add(1, 50, 101.0)
    assert silence.surprise == 0.0


def test_of_a_source_that_was_heard_once_a_silence_says_little() -> None:
    silence = Silence()
    silence.add(1, 10, 0.0)
    silence.add(0, 10_000, 1.0)
    assert silence.missed == pytest.approx(1_000.0)
    assert silence.surprise < 7


def test_how_often_a_source_tells_is_forgotten_within_hours_of_talking_and_not_by_a_silence() -> None:
    silence = Silence()
    silence.add(1_000, 10_000, 0.0)
    silence.add(0, 10_000, 6 * 3_600.0)
    assert silence.missed == pytest.approx(1_000.0)
    silence.add(1, 100_000, 2 * 86_400.0)
    silence.add(0, 110_000, 2 * 86_400.0 + 1.0)
    assert silence.missed < 2


@pytest.mark.parametrize(
    ("kind", "outcome", "heard"),
    [
        ("purchase", "scored", True), ("purchase", "late", True), ("purchase", "duplicate", False),
        ("view_item", "scored", False),
    ],
)  # fmt: skip
def test_a_purchase_is_heard_of_where_it_is_new(kind: str, outcome: str, heard: bool) -> None:
    signs = Signs()
    effects = batch([])
    effects.events[kind, outcome] = 1
    signs.take(effects, model_version=1, now=7.0)
    assert (signs.silences["purchase"].heard == 7.0) == heard
    assert signs.silences["label"].heard is None


@pytest.mark.parametrize(
    ("outcome", "heard"), [("matched", True), ("early", True), ("refund", False), ("replayed", False)]
)
def test_a_label_is_heard_of_where_it_tells_of_a_checkout(outcome: str, heard: bool) -> None:
    signs = Signs()
    effects = batch([])
    effects.labels[outcome] = 1
    signs.take(effects, model_version=1, now=7.0)
    assert (signs.silences["label"].heard == 7.0) == heard
    assert signs.silences["purchase"].heard is None


def test_outcomes_wait_from_the_first_one_on_until_another_model_serves() -> None:
    signs = Signs()
    told = [example("ann", 1, label=0, source="session_end", label_time=T0 + MINUTE)]
    signs.take(batch([]), model_version=3, now=0.0)
    assert signs.unlearned_since is None
    signs.take(batch([], examples=told), model_version=3, now=5.0)
    signs.take(batch([], examples=told), model_version=3, now=9.0)
    signs.serves(3)
    assert signs.unlearned_since == 5.0
    signs.serves(4)
    assert signs.unlearned_since is None
    # A batch that was scored by a new model has outcomes that this one has not seen.
    signs.take(batch([], examples=told), model_version=5, now=11.0)
    assert signs.unlearned_since == 11.0
