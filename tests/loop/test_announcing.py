"""When a batch must be announced, and how long a next owner leaves labels alone."""

from __future__ import annotations

import msgspec
import pytest

from stream_app.announcing import LABELS_S, WINDOW_EVENTS, Announcements
from stream_app.backends.ports import LogError
from stream_app.core.effects import Planned, Position
from stream_app.core.plan import Plan
from stream_app.core.watermark import Watermark
from tests.loop.shop import Shop

LEASE_S = 5.0
START = Position(seq=7, events_offset=100, labels_offset=10, watermark=Watermark(1_000, True))


class Commits:
    """What was committed; a commit takes as long as it is told to."""

    def __init__(self) -> None:
        self.found: list[Position] = []
        self.clock, self.takes_s = 50.0, 0.0

    async def commit(self, position: Position) -> None:
        self.found.append(position)
        self.clock += self.takes_s

    @property
    def planned(self) -> Planned:
        planned = self.found[-1].planned
        assert planned is not None
        return planned


def announcements(commits: Commits, planned: Planned | None = None, *, events_end: int = 100) -> Announcements:
    made = Announcements(commits, lease_s=LEASE_S, boottime=lambda: commits.clock)  # type: ignore[arg-type]
    made.start(START, planned, events_end=events_end)
    return made


def plan(events_to: int, *, more_due: bool = False) -> Plan:
    return Plan(watermark=START.watermark, events_offset=events_to, labels_offset=10, more_due=more_due)


async def test_after_an_announcement_events_alone_need_none_within_the_window_and_the_lease() -> None:
    commits = Commits()
    made = announcements(commits)
    assert made.needed(plan(110), alone=True)  # the group has not been heard since the take-over
    await made.announce(START, plan(110), 0, durable=START)
    window_to = commits.planned.window_to
    assert window_to == 110 + WINDOW_EVENTS
    assert not made.needed(plan(window_to), alone=True)
    assert made.needed(plan(window_to + 1), alone=True)
    assert made.needed(plan(120), alone=False)
    assert made.needed(plan(120, more_due=True), alone=True)
    commits.clock += LEASE_S
    assert made.needed(plan(120), alone=True)


async def test_the_lease_runs_from_when_the_commit_was_sent_not_from_its_answer() -> None:
    commits = Commits()
    made = announcements(commits)
    commits.takes_s = LEASE_S
    await made.announce(START, plan(110), 0, durable=START)
    assert made.needed(plan(120), alone=True)


async def test_a_commit_in_a_pause_says_that_events_alone_may_follow_and_is_made_once() -> None:
    commits = Commits()
    made = announcements(commits)
    later = msgspec.structs.replace(START, seq=8, events_offset=130)
    await made.commit(later, durable=START)
    assert not commits.found  # the view has nothing that was not committed
    await made.commit(later, durable=later)
    await made.commit(later, durable=later)
    assert len(commits.found) == 1
    assert commits.planned == Planned(130, 10, 130, 10, START.watermark, 0, 130 + WINDOW_EVENTS)
    assert not made.needed(plan(140), alone=True)


@pytest.mark.parametrize(("events_end", "held_to"), [(105, 105), (100_000, 300)])
async def test_labels_wait_for_the_events_that_a_former_owner_may_have_scored_without_them(
    events_end: int, held_to: int
) -> None:
    commits = Commits()
    former = Planned(90, 10, 95, 10, START.watermark, 0, window_to=300)
    made = announcements(commits, former, events_end=events_end)
    before = msgspec.structs.replace(START, events_offset=held_to - 1)
    assert made.labels_wait_s(before) > 0
    assert made.labels_wait_s(msgspec.structs.replace(START, events_offset=held_to)) == 0
    # What this owner announces while it holds them leaves a third one to hold them as long.
    await made.announce(before, plan(held_to - 1), 0, durable=START)
    assert commits.planned.window_to >= held_to
    # The log may end in offsets without records.
    made.nothing_more_before(held_to)
    assert made.labels_wait_s(before) == 0


async def test_what_was_taken_over_is_committed_until_it_is_carried_out() -> None:
    commits = Commits()
    former = Planned(90, 10, 95, 12, START.watermark, 0, window_to=300)
    made = announcements(commits, former)
    seen = msgspec.structs.replace(START, seq=8)
    await made.commit(seen, durable=seen)
    assert commits.planned == former
    made.carried_out()
    later = msgspec.structs.replace(START, seq=9, events_offset=120)
    await made.commit(later, durable=later)
    assert commits.planned.events_from == 120


async def test_labels_that_come_one_by_one_wait_for_each_other() -> None:
    commits = Commits()
    made = announcements(commits)
    assert made.labels_wait_s(START) == 0
    made.took_labels()
    assert made.labels_wait_s(START) == pytest.approx(LABELS_S)
    commits.clock += LABELS_S
    assert made.labels_wait_s(START) == 0


async def test_a_worker_that_slept_through_its_lease_asks_the_group_before_it_writes() -> None:
    shop = Shop(lease_s=LEASE_S)
    if shop.exactly_once:
        return  # a transaction asks by itself
    shop.say("a", "view_item", 0)
    await shop.settle()

    async def given_away(position: Position) -> None:
        raise LogError("the partition is another's")

    shop.partition.log.commit = given_away  # type: ignore[method-assign]
    scores = shop.broker.outputs["scores"]
    published = len(scores)
    shop.say("a", "view_item", 1)
    await shop.until(lambda: len(scores) == published + 1)  # within the lease
    shop.slept = LEASE_S
    shop.say("a", "view_item", 2)
    await shop.until(lambda: shop.partition.failing_since is not None)
    assert len(scores) == published + 1
    await shop.end()
