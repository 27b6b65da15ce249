"""Measuring on a real broker: by hand, after a restart, beside a second process, and with records deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stream_app import topics
from stream_app.discounts.core.figures import ExperimentFigures
from stream_app.discounts.core.records import Arm, Exposure
from stream_app.discounts.core.uplift import ALL
from tests.discounts.core.exposures import exposure
from tests.discounts_measuring.shop import MINUTE, T0, Told, measuring
from tests.support.fixtures import Names, skip_or_fail
from tests.support.servers import RealKafka, UnavailableError

pytestmark = pytest.mark.real_kafka


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second for each step."""
    monkeypatch.setattr("stream_app.discounts.measuring._CHECK_S", 0.1)


@contextmanager
def own_kafka() -> Iterator[RealKafka]:
    """One that may be killed."""
    try:
        kafka = RealKafka().start()
    except UnavailableError as reason:
        skip_or_fail(reason)
    with kafka:
        yield kafka


def exposed(visitor_id: str, arm: Arm = "treatment", *, at: int = 0, **fields: Any) -> Exposure:
    """At `at` minutes."""
    return exposure(visitor_id, time=T0 + at * MINUTE, arm=arm, **fields)


async def autumn(told: Told) -> None:
    """Four treated with 10 % off and two held out; four of them buy.

    minute      0 ─────────── 20 ──────────── 40 ─────────── 60 = end of the window ──── 70 = settled
    t1          exposed       two rows, 30 + 2·20, of order o1
    t2          exposed                        label: 90 paid, 10 % off redeemed
    t3          exposed       label, cancelled at 50
    t4          exposed                                       buys at 60: too late
    h1          held out      event 50 and label 50 of one order
    h2          held out
    """
    await told.expose(*(exposed(name) for name in ("t1", "t2", "t3", "t4")))
    await told.expose(exposed("h1", "holdout"), exposed("h2", "holdout"))
    await told.buy("t1", at=20, price=30.0, order_id="o1")
    await told.buy("t1", at=20, price=20.0, quantity=2.0, order_id="o1")
    await told.label("t2", "o2", at=40, value=90.0, discount_percent=10.0)
    await told.label("t3", "o3", at=20, value=500.0)
    await told.label("t3", "o3", at=50, kind="cancel")
    await told.buy("t4", at=60, price=500.0, order_id="o4")
    await told.buy("h1", at=20, price=50.0, order_id="o5")
    await told.label("h1", "o5", at=21, value=50.0)
    # The engine takes no event under another visitor's key, and neither does this.
    await told.buy("h2", at=20, price=700.0, order_id="o6", key="h1")


def essence(figures: ExperimentFigures) -> dict[str, Any]:
    """Everything that is reported but the p-value's minimum over the looks."""
    assert figures.ratio is not None
    return {
        "arms": {arm: found.export() for arm, found in figures.uplift.slices[ALL].items()},
        "slices": sorted(figures.uplift.slices),
        "exposures": dict(figures.exposures),
        "seen": dict(figures.seen),
        "odds": pytest.approx(figures.ratio.log_odds),
        "profits": figures.bandit.profits(),
        "span": (figures.from_ms, figures.to_ms, figures.settled_to_ms),
    }


async def test_figures_are_those_worked_out_by_hand_and_a_restart_comes_to_the_same(
    real_kafka: RealKafka, names: Names
) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        await autumn(told)
        await told.pass_until(69)
        async with measuring(told.settings) as first:
            await first.until("all read", lambda measuring: measuring.ready()[1] == "measures")
            figures = first.measuring.figures.experiments["autumn"]
            # All is known, and nothing is told before its time.
            assert (figures.open("treatment"), figures.open("holdout"), figures.settled("holdout")) == (4, 2, 0)
            await told.pass_until(71)
            await first.until_settled(6)
            arms = figures.uplift.slices[ALL]
            assert (arms["treatment"].n, arms["treatment"].converted) == (4, 2)
            assert (arms["holdout"].n, arms["holdout"].converted) == (2, 1)
            # Margin 0.30: t1 70 · 0.3; t2 100 · 0.3 − 10; h1 50 · 0.3.
            assert arms["treatment"].spread("revenue").mean == pytest.approx((70.0 + 90.0) / 4)
            assert arms["treatment"].spread("profit").mean == pytest.approx((21.0 + 20.0) / 4)
            assert arms["holdout"].spread("profit").mean == pytest.approx(15.0 / 2)
            await first.until("shown", lambda _: first.metric(
                "intent_experiment_units", experiment="autumn", arm="treatment", state="settled") == 4.0)  # fmt: skip
            assert first.metric("intent_experiment_profit_per_visitor", experiment="autumn", arm="holdout") == 7.5
            before = essence(figures)
        async with measuring(told.settings) as second:
            await second.until("ready", lambda measuring: measuring.ready()[0])
            assert essence(second.measuring.figures.experiments["autumn"]) == before
        assert len(await told.outcomes()) == 6


async def test_what_is_open_at_a_restart_is_settled_afterwards_from_orders_told_before_it(
    real_kafka: RealKafka, names: Names
) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        await autumn(told)
        await told.pass_until(65)
        async with measuring(told.settings) as first:
            await first.until("all read", lambda measuring: measuring.ready()[1] == "measures")
        await told.pass_until(71)
        async with measuring(told.settings) as second:
            await second.until_settled(6)
            arms = second.measuring.figures.experiments["autumn"].uplift.slices[ALL]
            assert (arms["treatment"].converted, arms["holdout"].converted) == (2, 1)
            assert arms["treatment"].spread("revenue").mean == pytest.approx(40.0)


async def test_two_processes_come_to_the_same_and_each_outcome_counts_once(real_kafka: RealKafka, names: Names) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        await autumn(told)
        await told.pass_until(71)
        async with measuring(told.settings) as one, measuring(told.settings) as other:
            for each in (one, other):
                await each.until_settled(6)
            both = [each.measuring.figures.experiments["autumn"] for each in (one, other)]
            assert both[0].settled("treatment") == both[1].settled("treatment") == 4
            assert both[0].uplift.slices[ALL]["treatment"].export() == both[1].uplift.slices[ALL]["treatment"].export()


async def test_units_whose_orders_were_deleted_unread_are_left_out_and_others_are_not(
    real_kafka: RealKafka, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        await told.expose(exposed("t1"), exposed("t2"), exposed("t3", at=30))
        await told.buy("t1", at=10, price=80.0, order_id="o1")
        await told.buy("t3", at=40, price=60.0, order_id="o3")
        await told.pass_until(75)
        # Of partition 1 the first event, t1's order, is gone: what is kept begins with minute 40.
        await told.forget(topics.EVENTS, {1: 1})
        async with measuring(told.settings) as measured:
            await told.pass_until(101)
            await measured.until_settled(1)
            await told.pass_until(102)
            await measured.until_settled(1)
            counted = {outcome.exposure.visitor_id: outcome.orders for outcome in await told.outcomes()}
            # t3 was exposed at 30, before what is kept of its partition begins: nobody can know what it bought by then.
            assert counted == {"t2": 0}
            assert measured.metric("intent_measuring_not_used", what="incomplete") == 2.0
    assert "measuring_incomplete topic=clickstream.events.v1 partition=1 units=2" in caplog.text


async def test_what_is_no_record_of_ours_is_told_and_passed_over(
    real_kafka: RealKafka, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        await told.raw(topics.EXPOSURES, b"{}")
        await told.raw(topics.OUTCOMES, b"?")
        await told.raw(topics.EVENTS, b'{"purchase')
        await told.raw(topics.LABELS, b"")
        await autumn(told)
        await told.pass_until(71)
        async with measuring(told.settings) as measured:
            await measured.until_settled(6)
            assert measured.metric("intent_measuring_unreadable_total", topic=topics.EXPOSURES) == 1.0
            assert measured.metric("intent_measuring_unreadable_total", topic=topics.OUTCOMES) == 1.0
    assert caplog.text.count("measuring_unreadable") == 2


async def test_a_bandit_learns_from_outcomes_and_chooses_when_they_were_read(
    real_kafka: RealKafka, names: Names
) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        await autumn(told)
        await told.pass_until(71)
        async with measuring(told.settings) as measured:
            assert measured.measuring.chooser is None
            await measured.until_settled(6)
            profits = measured.measuring.figures.experiments["autumn"].bandit.profits()
            assert list(profits) == [0.0, 10.0]
            chooser = measured.measuring.chooser
            assert chooser is not None
            chosen = chooser("shoes", [0.0, 5.0, 10.0], 0.5)
            assert sum(probability for _, probability in chosen.levels) == pytest.approx(1.0)
            # The policy's exploration, a tenth over three levels.
            assert min(probability for _, probability in chosen.levels) >= 0.1 / 3


async def test_an_arm_that_loses_exposures_is_told_in_the_log_and_by_the_metric_that_alerts(
    real_kafka: RealKafka, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    async with Told(real_kafka.bootstrap, names) as told, measuring(told.settings) as measured:
        # Of even arms all of the holdout is lost on the way: certain from 126 visitors on.
        await told.expose(*(exposed(f"v{number}", holdout_share=0.5) for number in range(130)))
        await measured.until("an alarm", lambda _: "sample_ratio_mismatch" in caplog.text)
        p_value = measured.metric("intent_experiment_sample_ratio_p_value", experiment="autumn")
        assert p_value is not None
        assert p_value < 0.001
        await told.expose(exposed("h1", "holdout", holdout_share=0.5))
        await measured.until("the next look", lambda each: each.figures.experiments["autumn"].seen["holdout"] == 1)
    assert caplog.text.count("sample_ratio_mismatch experiment=autumn") == 1


async def test_series_of_an_experiment_go_when_another_has_run_for_window_and_delay(
    real_kafka: RealKafka, names: Names
) -> None:
    async with Told(real_kafka.bootstrap, names) as told, measuring(told.settings) as measured:
        shown = {"experiment": "autumn", "arm": "treatment"}
        await told.expose(exposed("v1"), exposed("v2", experiment="winter", at=70))
        await measured.until("both shown", lambda _: measured.metric("intent_experiment_exposures", **shown) == 1.0)
        await told.expose(exposed("v3", experiment="winter", at=71))
        await measured.until("one shown", lambda _: measured.metric("intent_experiment_exposures", **shown) is None)
        assert "autumn" in measured.measuring.figures.experiments


@pytest.mark.long
async def test_after_an_outage_of_kafka_everything_is_read_again_and_settled(names: Names) -> None:
    with own_kafka() as kafka:
        async with Told(kafka.bootstrap, names) as told:
            await autumn(told)
            await told.pass_until(65)
            async with measuring(told.settings) as measured:
                await measured.until("all read", lambda each: each.ready()[1] == "measures")
                kafka.kill()
                failed = {"what": "kafka"}
                await measured.until(
                    "a failure", lambda _: (measured.metric("intent_discount_errors_total", **failed) or 0.0) > 0.0
                )
                assert measured.measuring.figures.experiments["autumn"].open("treatment") == 4
                kafka.restart()
                await told.pass_until(71)
                await measured.until_settled(6)
            assert len(await told.outcomes()) == 6
