"""Drift is told when it is there, and not for what a day, a wild half hour or a learning model makes of a shop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_app.core import drift as charts
from stream_app.core.drift import BLOCK_EPISODES, LIMIT, SETTLED_BLOCKS, WATCHED, Alarm, Drift
from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES, FeatureValues
from stream_app.core.snapshots import SnapshotReader, encode_snapshot
from tests.core.examples import example, learner
from tests.core.streams import T0

DAY, HOUR = 86_400_000, 3_600_000

#: Episodes of a day: a block an hour.
PER_DAY = 24_000

_PRICE, _AGE = FEATURE_NAMES.index("price"), FEATURE_NAMES.index("age")

Change = Callable[[float, Any], None]


class Shop:
    """Episodes of a shop in which nothing happens but what is told; scores are right."""

    def __init__(self, seed: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        self.drift = Drift()
        self.time = float(T0 - T0 % DAY)
        self.start = self.time

    def run(self, days: float, change: Change = lambda day, row: None) -> Shop:
        """Let days pass; `change` alters a row, a dict of what an episode is drawn from, knowing the day."""
        for _ in range(round(days * PER_DAY)):
            self.time += DAY / PER_DAY
            day = (self.time - self.start) / DAY
            row = {"p": 0.0, "score": None, "price": self.random.normal(3.0, 1.0), "age": self.random.normal(5.0, 2.0)}
            row["p"] = 1 / (1 + math.exp(3.3 - self.random.normal()))
            change(day, row)
            self.add(row)
        return self

    def add(self, row: Any) -> None:
        p = row["p"] if row["score"] is None else row["score"]
        label = int(self.random.random() < row["p"])
        features = [0.0] * len(FEATURE_NAMES)
        features[_PRICE], features[_AGE] = row["price"], row["age"]
        loss, surprise = -math.log(p if label else 1 - p), -(label - p) * math.log(p / (1 - p))
        self.drift.add((loss, surprise, label - p, p, *features), int(self.time))

    def alarmed(self) -> dict[str, int]:
        return {what: count for what, count in self.drift.counts().items() if count}


def state(drift: Drift) -> bytes:
    return msgspec.msgpack.encode(drift.export(), enc_hook=lambda array: [array.shape, array.tobytes()])


def through_a_snapshot(drift: Drift) -> Drift:
    reader = SnapshotReader(secret=b"s")
    for record in encode_snapshot({"it": drift.export()}, {}, {}, version=1, published_at=0, secret=b"s"):
        read = reader.read(*record)
    assert read is not None
    restored = Drift()
    restored.restore(read.head.state["it"])
    return restored


def dearer(day: float, row: Any) -> None:
    if day > 3:
        row["price"] += 0.3


def test_a_shop_that_stays_as_it_is_gives_no_alarm() -> None:
    shop = Shop().run(8)
    assert shop.alarmed() == {}
    levels = shop.drift.levels()
    assert all(0.0 <= level < 1.0 for level in levels.values())
    assert not any(shop.drift.changed().values())


def test_the_hours_of_the_day_and_uneven_days_are_no_drift() -> None:
    # By night all is different: half as dear, other ages; every day a little otherwise.
    def by_the_hour(day: float, row: Any) -> None:
        night = math.cos(2 * math.pi * day)
        row["price"] += 0.7 * night + 0.1 * math.sin(7 * math.floor(day))
        row["age"] -= 1.5 * night

    assert Shop().run(7, by_the_hour).alarmed() == {}


def test_a_change_much_smaller_than_the_daily_swing_is_seen_because_hours_are_compared_with_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def evenings(day: float, row: Any) -> None:
        row["price"] += 2.0 * (day % 1 > 5 / 8) + 0.3 * (day > 3)

    assert Shop().run(4, evenings).alarmed() == {"price": 1}
    monkeypatch.setattr(charts, "PARTS", 1)
    assert Shop().run(4, evenings).alarmed() == {}, "as one kind of hour, the day's swing hides it"


def test_a_feature_that_moves_by_a_third_of_its_spread_is_told_within_hours_with_what_it_was() -> None:
    shop = Shop().run(4.5, dearer)
    assert shop.alarmed() == {"price": 1}
    (alarm,) = shop.drift.alarms
    hours = (alarm.time - shop.start) / HOUR - 3 * 24
    assert 0 < hours <= 12
    assert alarm.what == "price"
    assert alarm.usual == pytest.approx(3.0, abs=0.05)
    assert alarm.now == pytest.approx(3.3, abs=0.1)
    assert alarm.size == pytest.approx(0.3, abs=0.1)
    assert shop.drift.changed()["price"]
    assert math.isnan(shop.drift.levels()["price"]), "it is learned anew, and not watched meanwhile"
    shop.run(2.5, lambda day, row: row.update(price=row["price"] + 0.3))
    assert not shop.drift.changed()["price"], "the new level is what is usual now"
    assert shop.alarmed() == {"price": 1}


def test_a_fall_is_told_as_a_rise_is() -> None:
    shop = Shop().run(4.5, lambda day, row: row.update(price=row["price"] - 0.3 * (day > 3)))
    assert [alarm.what for alarm in shop.drift.alarms] == ["price"]
    assert shop.drift.alarms[0].size == pytest.approx(-0.3, abs=0.1)


def test_scores_that_are_no_longer_right_are_told_and_scores_that_get_better_are_not() -> None:
    # From day 3 on, scores are drawn by lot: their mean stays what it was, and so does the base rate.
    shop = Shop()
    lot = np.random.default_rng(2)

    def blind(day: float, row: Any) -> None:
        if day > 3:
            row["score"] = 1 / (1 + math.exp(3.3 - lot.normal()))

    assert set(shop.run(5, blind).alarmed()) == {"log_loss", "surprise"}
    # The other way round: blind first. A lower log-loss is no alarm.
    seeing = Shop()

    def blind_first(day: float, row: Any) -> None:
        if day <= 3:
            row["score"] = 1 / (1 + math.exp(3.3 - lot.normal()))

    assert seeing.run(5, blind_first).alarmed() == {}


def test_scores_that_miss_a_new_base_rate_are_told() -> None:
    def sale(day: float, row: Any) -> None:
        if day > 3:
            row["score"], row["p"] = row["p"], min(0.9, 1.6 * row["p"])

    found = Shop().run(5, sale).alarmed()
    assert "bias" in found
    assert not {"price", "age", "score"} & set(found)


def test_one_wild_block_is_no_alarm() -> None:
    def burst(day: float, row: Any) -> None:
        if 3.0 < day <= 3.0 + 1 / 24:
            row["price"] += 50.0

    assert Shop().run(4, burst).alarmed() == {}
    assert LIMIT / (charts.STEP_MAX - charts.SLACK) > 6, "it takes seven blocks at least"


def test_nothing_is_watched_before_two_days_have_been_seen() -> None:
    def early(day: float, row: Any) -> None:
        row["price"] += 3.0 * (day > 1)

    shop = Shop().run(1.9, early)
    assert shop.alarmed() == {}
    assert all(math.isnan(level) for level in shop.drift.levels().values())
    assert SETTLED_BLOCKS < 2 * PER_DAY / BLOCK_EPISODES


def test_a_feature_that_never_varied_and_begins_to_is_told() -> None:
    def new_feature(day: float, row: Any) -> None:
        row["price"] = 0.0 if day <= 3 else float(day % 0.1 > 0.05)

    assert "price" in Shop().run(4, new_feature).alarmed()


def test_a_restart_anywhere_changes_nothing() -> None:
    steady, restarted = Shop(3), Shop(3)
    for days in (0.7, 1.801, 0.9, 0.9, 0.013):
        steady.run(days, dearer)
        restarted.run(days, dearer)
        restarted.drift = through_a_snapshot(restarted.drift)
        assert state(restarted.drift) == state(steady.drift)
    assert restarted.alarmed() == {"price": 1}
    assert restarted.drift.alarms == steady.drift.alarms


def test_all_that_is_counted_travels() -> None:
    counted = {name for name, value in vars(Drift()).items() if isinstance(value, np.ndarray)}
    assert counted == {f"_{name}" for name in charts._ARRAYS}


def test_what_is_usual_fades_with_a_half_life_of_a_week_so_that_new_days_count_more() -> None:
    drift = Drift()
    for array in (drift._blocks, drift._squares, drift._compared):
        array[:] = 8.0
    drift._last = T0
    drift._fade(T0 + 14 * DAY)
    for array in (drift._blocks, drift._squares, drift._compared):
        assert array == pytest.approx(2.0)


def test_when_it_is_looked_at_is_of_no_consequence() -> None:
    steady, watched = Shop(4), Shop(4)
    steady.run(0.2)
    for _ in range(round(0.2 * PER_DAY)):
        watched.run(1 / PER_DAY)
        if watched.random.bit_generator.state["state"]["state"] % 3 == 0:
            watched.drift.export()
    assert state(watched.drift) == state(steady.drift)


def rows_of(label: int, scores: tuple[float, ...], **fields: Any) -> list[TypedExample]:
    return [example(n, label=label, score=p, left=len(scores) - 1 - n, **fields) for n, p in enumerate(scores)]


def test_an_episode_is_one_value_whatever_the_number_of_its_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[tuple[float, ...], int]] = []
    drift = Drift()
    monkeypatch.setattr(drift, "add", lambda values, time: seen.append((values, time)))
    last = FeatureValues(*[float(n) for n in range(len(FEATURE_NAMES))])
    rows = rows_of(1, (0.2, 0.4))
    rows[1] = msgspec.structs.replace(rows[1], features=last, label_time=T0 + 5)
    drift.observe(rows)
    drift.observe(rows_of(0, (0.5,), cold=True))
    (values, time) = seen[0]
    assert len(seen) == 1, "cold scores do not count"
    assert time == T0 + 5
    surprise = (-(1 - 0.2) * math.log(0.2 / 0.8) - (1 - 0.4) * math.log(0.4 / 0.6)) / 2
    assert values[:4] == pytest.approx((-(math.log(0.2) + math.log(0.4)) / 2, surprise, 0.7, 0.3))
    assert values[4:] == msgspec.structs.astuple(last)


def test_a_score_that_is_right_is_not_surprised_on_average() -> None:
    # surprise = log-loss − entropy of the score, whose mean over outcomes drawn with p is 0.
    for p in (0.01, 0.3, 0.8):
        entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
        logit = math.log(p / (1 - p))
        bought, not_bought = -(1 - p) * logit, p * logit
        assert bought == pytest.approx(-math.log(p) - entropy)
        assert p * bought + (1 - p) * not_bought == pytest.approx(0.0)


def test_the_learner_watches_the_episodes_that_it_learns_and_takes_the_charts_along() -> None:
    one = learner()
    for n, each in enumerate(rows_of(0, (0.1, 0.2, 0.3))):
        one.fold(0, n, msgspec.structs.replace(each, position=(1, 0, n)))
    assert one.drift.export()["block"][0] == 1
    other = learner()
    other.restore(one.export(), {})
    assert state(other.drift) == state(one.drift)


@pytest.mark.parametrize(
    "damage",
    [
        {"chart": np.zeros(3)},
        {"usual": np.full((charts.PARTS, len(WATCHED)), math.nan)},
        {"block": [1, 2]},
        {"block": ["x", 0, 0, 0]},
        {"alarms": [["x"]]},
        {"sums": None},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage: dict[str, Any]) -> None:
    shop = Shop().run(0.1)
    before = state(shop.drift)
    with pytest.raises((ValueError, KeyError, TypeError)):
        shop.drift.restore({**shop.drift.export(), **damage})
    assert state(shop.drift) == before


def test_the_clock_is_not_watched_and_alarms_are_bounded() -> None:
    assert not {"hour_sin", "hour_cos", "weekday_sin", "weekday_cos"} & set(WATCHED)
    assert set(FEATURE_NAMES) - set(WATCHED) == {"hour_sin", "hour_cos", "weekday_sin", "weekday_cos"}
    drift = Drift()
    drift.alarms = [Alarm(n, "price", 0.0, 1.0, 1.0) for n in range(charts.ALARMS_MAX)]
    drift._chart[0, :] = LIMIT + 1
    drift._run[0, :] = 1.0
    drift._alarm(7)
    assert len(drift.alarms) == charts.ALARMS_MAX
    assert drift.alarms[-1].time == 7
    assert sum(drift.counts().values()) == len(WATCHED)
