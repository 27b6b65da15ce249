"""A partition's owner on a real broker: who is decided about, once, by whom, and what it costs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from stream_app import topics
from stream_app.backends.redis import RedisView, connect
from stream_app.core import state
from stream_app.core.effects import Position
from stream_app.discounts.beginning import group_id
from stream_app.discounts.budget import Limits
from stream_app.discounts.core.records import Moment
from stream_app.discounts.deliberation import Deliberation
from stream_app.discounts.remembered import Remembered
from tests.discounts_app.moments import MomentSink, moment
from tests.discounts_app.owner import NothingLearned, Owner
from tests.discounts_app.policies import policy_file, policy_text
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]


@pytest.fixture
async def deployment(real_servers: Servers, names: Names, tmp_path: Path) -> AsyncIterator[Deployment]:
    """Topics of the test's own, and a policy by which everybody on the fence is eligible."""
    async with Deployment(real_servers, names, discount_policy=policy_file(tmp_path)) as made:
        yield made


def rewritten(deployment: Deployment, **said: object) -> None:
    """Save another policy into the file."""
    Path(deployment.settings.discount_policy).write_text(policy_text(**said))  # type: ignore[arg-type]


def outcomes(owner: Owner) -> dict[str, float]:
    """What became of the moments, without zeros."""
    family = next(each for each in owner.registry.collect() if each.name == "intent_discount_moments")
    return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total") and s.value}


async def test_of_a_sessions_moments_one_is_decided_about_and_all_are_acknowledged(deployment: Deployment) -> None:
    sent = [moment(f"v{n}", f"s{n}", number=event) for n in range(50) for event in (1, 2, 3)]
    async with Owner(deployment.settings) as owner:
        await owner.decided(sent)
        assert owner.acknowledged == sorted(owner.acknowledged)
        assert outcomes(owner) == {"eligible": 50, "decided": 100}
    verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=1e6, per_day=1e6)
    assert len(verdict.exposures) == 50
    offers = owner.counted("intent_discount_offers_total", kind="band")
    assert 30 < offers == len(verdict.offers) == verdict.spent  # one offer costs 1.00
    assert {place for place, _, _ in await deployment.read(topics.OFFERS)} == {0}, "the partition of the moments"


async def test_a_next_owner_knows_who_was_decided_about_and_the_former_one_can_write_nothing(
    deployment: Deployment,
) -> None:
    former, following = Owner(deployment.settings), Owner(deployment.settings)
    async with former:
        await former.decided([moment("v1", "s1")])
        async with following:
            await following.until(lambda: following.partition.state == "ready")
            await former.hand([moment("v2", "s2")])
            await former.until(lambda: former.partition.state == "fenced")
            assert former.counted("intent_discount_fenced_total") == 1
            # It would fence back after a pause; the group stops it before.
            former.partition.stop()
            await following.decided([moment("v1", "s1", number=2), moment("v2", "s2")])
            assert outcomes(following) == {"decided": 1, "eligible": 1}
    verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=1e6, per_day=1e6)
    assert verdict.sessions == {("v1", "s1"), ("v2", "s2")}


async def test_what_was_booked_before_a_crash_is_found_and_not_booked_again(deployment: Deployment) -> None:
    owner = Owner(deployment.settings)
    async with owner:
        await owner.until(lambda: owner.partition.state == "ready")
        account = await owner.budget.account()
        # As far as booking, and no further.
        lost = Deliberation(
            owner.policy.current, Remembered(since_ms=0), budget=owner.budget, account=account,
            gap_ms=1_800_000, windows=NothingLearned(), chooser=None,
        )  # fmt: skip
        sent = [moment(f"v{n}", f"s{n}") for n in range(5)]
        for each in sent:
            await lost.moment(each, int(time.time() * 1000) - 200)
        before = await owner.budget.spent(account, sent[0].event_time)
        await owner.decided(sent)
        assert await owner.budget.spent(account, sent[0].event_time) == before
    verdict = await Verdict.of(deployment)
    booked = {exposure.exposure_id: (exposure.booking, exposure.decided_at) for exposure, _ in lost.decided}
    assert {e["exposure_id"]: (e["booking"], e["decided_at"]) for e in verdict.exposures} == booked


async def test_two_partitions_share_one_budget_and_leave_nothing_of_it(deployment: Deployment) -> None:
    rewritten(deployment, per_hour=12.0, holdout=0.0)
    one, other = Owner(deployment.settings, 0), Owner(deployment.settings, 1)
    async with one, other:
        await asyncio.gather(
            one.decided([moment(f"v{n}", f"s{n}") for n in range(40)]),
            other.decided([moment(f"w{n}", f"t{n}") for n in range(40)]),
        )
        refused = outcomes(one)["budget"] + outcomes(other)["budget"]
    verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=12.0, per_day=1e6)
    assert (verdict.spent, len(verdict.offers), refused) == (12.0, 12, 68)


async def test_the_held_out_need_the_budget_as_well_and_take_nothing_of_it(deployment: Deployment) -> None:
    rewritten(deployment, per_hour=3.0, holdout=0.5)
    async with Owner(deployment.settings) as owner:
        await owner.decided([moment(f"v{n}", f"s{n}") for n in range(60)])
    verdict = await Verdict.of(deployment)
    verdict.hold(per_hour=3.0, per_day=1e6)
    # The third offer takes the last of it, and from there on nobody is exposed, whatever the arm.
    last = max(verdict.exposures, key=lambda each: each["booking"])
    assert (verdict.spent, last["arm"]) == (3.0, "treatment")


async def test_a_session_without_news_hesitates_and_is_offered_something(deployment: Deployment) -> None:
    rewritten(deployment, earliest=1.0, holdout=0.0)
    async with Owner(deployment.settings) as owner:
        await owner.ready()
        first = moment("v1", "s1")
        await owner.decided([first])
        assert outcomes(owner) == {"early": 1}
        await owner.until(lambda: outcomes(owner).get("eligible"))
        assert owner.counted("intent_discount_offer_seconds_count", kind="hesitates") == 1
    (offer,) = (await Verdict.of(deployment)).offers
    assert offer["reason"] == "hesitates"
    assert 1_000 <= offer["issued_at"] - first.event_time < 2_500


@pytest.mark.parametrize("end", ["bought", "closed"])
async def test_a_session_that_buys_or_is_closed_is_waited_for_no_longer(deployment: Deployment, end: str) -> None:
    rewritten(deployment, earliest=1.0, holdout=0.0)
    async with Owner(deployment.settings) as owner:
        await owner.ready()
        await owner.decided([moment("v1", "s1"), moment("v2", "s2")])
        if end == "bought":
            await owner.decided([moment("v1", "s1", number=2, kind="bought")])
        else:
            await owner.raw(b'{"visitor_id":"v1","session_id":"s1"}', moment=False)
        await owner.until(lambda: outcomes(owner).get("eligible"))
        assert owner.partition.sizes == (0, 0)
        # A moment of it that comes late is refused as well.
        await owner.decided([moment("v1", "s1", number=3)])
        assert outcomes(owner)["over"] == 1
    assert (await Verdict.of(deployment)).sessions == {("v2", "s2")}


async def test_a_session_that_goes_on_without_a_moment_does_not_hesitate(deployment: Deployment) -> None:
    rewritten(deployment, earliest=1.5, holdout=0.0)
    settings = deployment.settings
    owner = Owner(settings)
    async with owner:
        await owner.ready()
        first, last = await goes_on(deployment)
        await owner.decided([first])
        await owner.until(lambda: outcomes(owner).get("eligible"))
        assert outcomes(owner) == {"early": 2, "eligible": 1}
    (exposure,) = (await Verdict.of(deployment)).exposures
    assert exposure["event_time"] == last
    assert exposure["decided_at"] >= last + 1_500


async def test_nobody_waits_for_a_session_that_turns_out_to_be_a_bots(deployment: Deployment) -> None:
    rewritten(deployment, earliest=1.0, holdout=0.0)
    async with Owner(deployment.settings) as owner:
        await owner.ready()
        first, _ = await goes_on(deployment, bot=True)
        await owner.decided([first])
        assert owner.partition.sizes == (0, 1)
        await owner.until(lambda: owner.partition.sizes == (0, 0))
        assert outcomes(owner) == {"early": 1}
    assert (await Verdict.of(deployment)).exposures == []


async def goes_on(deployment: Deployment, *, bot: bool = False) -> tuple[Moment, int]:
    """A moment, and the time of an event of its session that came a second later and told none."""
    settings = deployment.settings
    first = moment("v1", "s1")
    last = first.event_time + 1_000
    going_on = state.Visitor(sessions=[state.Session("s1", None, 0, first.event_time - 30_000, last, bot=bot)])
    redis = connect(settings.redis_url.get_secret_value(), timeout_ms=500)
    view = RedisView(redis, prefix=settings.namespace, ttl_ms=60_000)
    position = Position(seq=1, events_offset=1, labels_offset=0)
    await view.write(
        0, expected_seq=0, position=position, states={"v1": state.encode(going_on)}, deadlines={"v1": last}
    )
    await view.close()
    return first, last


async def test_a_next_owner_goes_on_waiting_for_those_who_may_hesitate(deployment: Deployment) -> None:
    rewritten(deployment, earliest=2.0, holdout=0.0)
    settings = deployment.settings
    waits, bought = moment("v1", "s1"), moment("v2", "s2")
    async with MomentSink(settings) as sink:
        await sink.send([waits, bought, moment("v2", "s2", number=2, kind="bought")], partition=0)
        await sink.send([moment("v3", "s3")], partition=0)
    # The group has read the first three; the fourth would come by the agent.
    await committed(deployment, 3)
    async with Owner(settings) as owner:
        await owner.until(lambda: owner.partition.state == "ready")
        assert owner.partition.sizes == (0, 1)
        await owner.until(lambda: outcomes(owner).get("eligible"))
    (offer,) = (await Verdict.of(deployment)).offers
    assert (offer["session_id"], offer["reason"]) == ("s1", "hesitates")
    assert offer["issued_at"] >= waits.event_time + 2_000


async def committed(deployment: Deployment, offset: int) -> None:
    """As if the group had read so far of partition 0's moments."""
    settings = deployment.settings
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, group_id=group_id(settings), enable_auto_commit=False
    )
    await consumer.start()
    place = TopicPartition(settings.topic(topics.MOMENTS), 0)
    consumer.assign([place])
    await consumer.commit({place: OffsetAndMetadata(offset, "")})
    await consumer.stop()


async def test_the_kill_switch_and_a_new_policy_hold_from_the_next_look_on_and_a_bad_file_changes_nothing(
    deployment: Deployment,
) -> None:
    rewritten(deployment, holdout=0.0)
    async with Owner(deployment.settings) as owner:
        await owner.decided([moment("v1", "s1")])
        rewritten(deployment, holdout=0.0, enabled=False)
        await owner.policy.look()
        await owner.decided([moment("v2", "s2")])
        rewritten(deployment, holdout=0.0, fixed=15.0)
        await owner.policy.look()
        await owner.decided([moment("v3", "s3")])
        rewritten(deployment, holdout=0.0, fixed=16.0)
        await owner.policy.look()
        assert "fixed 16" in owner.policy.problem
        await owner.decided([moment("v4", "s4")])
        assert outcomes(owner) == {"eligible": 3, "off": 1}
        assert owner.counted("intent_discount_policy_errors_total") == 1
        assert owner.counted("intent_discount_policy_info", version=owner.policy.current.version) == 1
    offers = {each["session_id"]: each["percent"] for each in (await Verdict.of(deployment)).offers}
    assert offers == {"s1": 10.0, "s3": 15.0, "s4": 15.0}


async def test_moments_of_sessions_that_must_be_over_are_refused_however_late_they_come(
    deployment: Deployment,
) -> None:
    now_ms = int(time.time() * 1000)
    gap_ms = deployment.settings.session_gap_ms
    old = moment("v1", "s1", event_time=now_ms - gap_ms, scored_at=now_ms - gap_ms)
    days = math.log1p(3 * 86_400.0)
    # It began before anything that is remembered: it may have had its decision.
    ancient = moment("v2", "s2", features={"age": days})
    ahead = moment("v3", "s3", event_time=now_ms + 86_400_000)
    async with Owner(deployment.settings) as owner:
        await owner.decided([old, ancient, ahead])
        assert outcomes(owner) == {"over": 1, "decided": 1, "eligible": 1}
    (exposure,) = (await Verdict.of(deployment)).exposures
    assert exposure["event_time"] == ahead.scored_at, "no event is later than its score"


async def test_a_visitor_is_looked_at_again_after_its_cool_down_also_by_the_next_owner(
    deployment: Deployment,
) -> None:
    rewritten(deployment, cool_down_s=3.0)
    async with Owner(deployment.settings) as owner:
        await owner.decided([moment("v1", "s1"), moment("v1", "s2")])
        assert outcomes(owner) == {"eligible": 1, "cool_down": 1}
    async with Owner(deployment.settings) as owner:
        await owner.decided([moment("v1", "s3")])
        assert outcomes(owner) == {"cool_down": 1}
        await asyncio.sleep(3.0)
        await owner.decided([moment("v1", "s4")])
    assert (await Verdict.of(deployment)).sessions == {("v1", "s1"), ("v1", "s4")}


async def test_what_is_no_moment_is_told_and_passed_over(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    async with Owner(deployment.settings) as owner:
        await owner.raw(b"{")
        await owner.raw(b"[]", moment=False)
        await owner.decided([moment("v1", "s1")])
        assert outcomes(owner) == {"rejected": 2, "eligible": 1}
    told = [record.getMessage() for record in caplog.records if "discounts_rejected" in record.getMessage()]
    assert [line.split(" detail=")[0] for line in told] == [
        "discounts_rejected partition=0 offset=0 reason=not_json",
        "discounts_rejected partition=0 offset=1 reason=invalid_value",
    ]


async def test_a_bandit_that_has_learned_nothing_yet_makes_no_offer(deployment: Deployment) -> None:
    rewritten(deployment, rule="bandit")
    async with Owner(deployment.settings) as owner:
        await owner.decided([moment("v1", "s1")])
        assert outcomes(owner) == {"not_ready": 1}
    assert (await Verdict.of(deployment)).exposures == []


async def test_booking_again_finds_the_same_and_too_little_left_refuses(deployment: Deployment) -> None:
    async with Owner(deployment.settings) as owner:
        await owner.until(lambda: owner.partition.state == "ready")
        account, now_ms = await owner.budget.account(), int(time.time() * 1000)
        limits = Limits(now_ms, per_hour=2.5, per_day=10.0)
        booked = []
        for name, decision in (("a", b"1"), ("a", b"2"), ("b", b"3"), ("c", b"4")):
            booked.append(await owner.budget.book(account, name, decision, needs=1.0, cost=1.0, limits=limits))
        assert [(each.decision, each.booking, each.spent.hour) for each in booked] == [
            (b"1", 1, 1.0), (b"1", 1, 1.0), (b"3", 2, 2.0), (None, 0, 2.0),
        ]  # fmt: skip
        held_out = await owner.budget.book(account, "d", b"5", needs=0.5, cost=0.0, limits=limits)
        assert (held_out.decision, held_out.spent.hour) == (b"5", 2.0)
