"""Bots: scored like anybody, learned from never. By hand, for both engines.

a bot's flag         e0   e1*  e2   e3          * says that it is a bot
learned from         –    –    –    –           the session, from e1 on and what waited before it
told moments         yes  –    –    –
scored               yes  yes  yes  yes
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from stream_app.core import session, state
from stream_app.core.native import native
from stream_app.core.processor import Rules
from tests.core.streams import MINUTE, RULES, Partition, Record, event, label

ENGINES = ["python", *(["compiled"] if native is not None else [])]

#: Everything is worth a moment: any score is `likely`, and a cart is quiet after two minutes.
EAGER = replace(RULES, band_fence_min=0.0001, band_likely_min=0.0002, quiet_ms=2 * MINUTE)


@pytest.fixture(params=ENGINES)
def rules(request: pytest.FixtureRequest) -> Rules:
    return replace(EAGER, engine=request.param)


def after(partition: Partition, minutes: float) -> None:
    """Time passes: three others are seen, whom the watermark believes."""
    first = 90_000 + 10 * int(minutes)
    partition.step([event(first + n, f"other {n}", "page_view", minutes) for n in range(3)])


def of(partition: Partition, kind: str, visitor: str = "v") -> list[dict[str, Any]]:
    return [record for record in getattr(partition, kind) if record["visitor_id"] == visitor]


def bought(offset: int = 0, **fields: Any) -> list[Record]:
    """Two looks, a cart, a purchase."""
    kinds = ("view_item", "view_item", "add_to_cart", "purchase")
    return [event(offset + n, "v", kind, n, item_id="i", price=9.0, **fields) for n, kind in enumerate(kinds)]


def of_a_person(rules: Rules) -> Partition:
    partition = Partition(rules)
    partition.step(bought())
    after(partition, 300)
    return partition


# ---- the flag --------------------------------------------------------------------------------------------------------


def test_a_bots_events_are_scored_with_the_same_features_as_a_persons(rules: Rules) -> None:
    partition = Partition(rules)
    effects = partition.step(bought(bot=True))
    after(partition, 300)
    person = of_a_person(rules)
    assert of(partition, "features") == of(person, "features")
    told = of(partition, "scores")
    assert [score.pop("bot") for score in told] == [True] * 4
    assert told == of(person, "scores")
    assert effects.events == {("view_item", "scored"): 2, ("add_to_cart", "scored"): 1, ("purchase", "scored"): 1}
    assert effects.bot_events == 4


def test_a_persons_score_says_nothing_of_bots(rules: Rules) -> None:
    assert not any("bot" in score for score in of(of_a_person(rules), "scores"))
    partition = Partition(rules)
    partition.step(bought(bot=False))
    assert not any("bot" in score for score in of(partition, "scores"))


def test_nothing_is_learned_from_a_bot_be_it_that_it_buys_or_not(rules: Rules) -> None:
    assert len(of(of_a_person(rules), "examples")) == 4
    for events in (bought(bot=True), bought(bot=True)[:3]):
        partition = Partition(rules)
        partition.step(events)
        after(partition, 300)
        assert of(partition, "examples") == []
        assert [(closed["bot"], closed["reason"]) for closed in of(partition, "closed")] == [(True, "gap")]


def test_no_moment_is_told_of_a_bot(rules: Rules) -> None:
    assert {moment["kind"] for moment in of(of_a_person(rules), "moments")} == {"band", "bought"}
    partition = Partition(rules)
    partition.step(bought(bot=True)[:3])
    after(partition, 10)  # the cart would be quiet
    after(partition, 300)
    assert of(partition, "moments") == []


def test_a_cart_that_is_quiet_is_told_of_a_person(rules: Rules) -> None:
    """What the test before would see."""
    partition = Partition(rules)
    partition.step(bought()[:3])
    after(partition, 10)
    assert [moment["kind"] for moment in of(partition, "moments")] == ["band", "quiet"]


def test_a_session_that_turns_out_to_be_a_bots_is_one_from_there_on_and_what_waits_is_not_learned(rules: Rules) -> None:
    partition = Partition(rules)
    partition.step([event(n, "v", "view_item", n, bot=n == 1) for n in range(4)])
    after(partition, 300)
    assert [score.get("bot", False) for score in of(partition, "scores")] == [False, True, True, True]
    assert of(partition, "examples") == []
    assert [(moment["kind"], moment["event_id"]) for moment in of(partition, "moments")] == [("band", "e0")]


def test_what_was_learned_before_it_was_known_stays(rules: Rules) -> None:
    """A purchase teaches at once, and nobody takes it back."""
    partition = Partition(rules)
    partition.step([*bought(), event(4, "v", "view_item", 4, bot=True), event(5, "v", "view_item", 5)])
    after(partition, 300)
    assert [(example["event_id"], example["label"]) for example in of(partition, "examples")] == [
        ("e0", 1),
        ("e1", 1),
        ("e2", 1),
    ]


def test_a_purchase_event_of_a_bot_teaches_nothing_of_what_was_before(rules: Rules) -> None:
    partition = Partition(rules)
    partition.step([*bought()[:3], event(3, "v", "purchase", 3, item_id="i", price=9.0, bot=True)])
    after(partition, 300)
    assert of(partition, "examples") == []


@pytest.mark.parametrize("told_at_once", [True, False])
def test_a_checkout_that_a_label_tells_of_a_bot_teaches_nothing_and_is_no_moment(
    rules: Rules, told_at_once: bool
) -> None:
    partition = Partition(rules)
    partition.step(bought(bot=True)[:3])
    if not told_at_once:
        after(partition, 300)
    effects = partition.step(labels=[label(0, "v", 2.5, "o1")])
    after(partition, 600)
    assert of(partition, "examples") == of(partition, "moments") == []
    assert effects.labels == {"matched" if told_at_once else "unmatched": 1}


def test_the_next_session_of_a_bots_visitor_is_learned_from_unless_it_says_so_too(rules: Rules) -> None:
    partition = Partition(rules)
    partition.step([event(0, "v", "view_item", 0, bot=True), event(1, "v", "view_item", 100)])
    after(partition, 300)
    assert [closed["bot"] for closed in of(partition, "closed")] == [True, False]
    assert [example["event_id"] for example in of(partition, "examples")] == ["e1"]


def test_of_two_sessions_at_once_only_the_bots_is_one(rules: Rules) -> None:
    partition = Partition(rules)
    partition.step([event(n, "v", "view_item", n, session_id="st"[n % 2], bot=n % 2 == 1) for n in range(6)])
    after(partition, 300)
    assert [example["session_id"] for example in of(partition, "examples")] == ["s"] * 3


# ---- what no person does ---------------------------------------------------------------------------------------------


def hurried(count: int, *, per_second: float, start: int = 0) -> list[Record]:
    return [event(start + n, "v", "view_item", (start + n) / per_second / 60) for n in range(count)]


def test_a_session_a_minute_ahead_of_an_event_a_second_is_a_bots(rules: Rules) -> None:
    """At four a second each event but the first gains 750 ms: the eightieth is beyond sixty seconds, 1 + 79 × 0.75."""
    partition = Partition(rules)
    partition.step(hurried(100, per_second=4))
    told = [score.get("bot", False) for score in of(partition, "scores")]
    assert told == [False] * 79 + [True] * 21
    after(partition, 300)
    assert of(partition, "examples") == []
    assert of(partition, "closed")[0]["bot"] is True


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (hurried(1_000, per_second=1), "one a second, for a quarter of an hour"),
        (hurried(79, per_second=4), "a burst, and an end"),
        ([event(n, "v", "purchase", 1, item_id=f"i{n}", order_id="o") for n in range(200)], "an order of 200 lines"),
        ([e for n in range(60) for e in hurried(20, per_second=20, start=n * 400)], "twenty in a second, each 20 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_person_who_hurries_is_none(rules: Rules, events: list[Record], why: str) -> None:
    partition = Partition(rules)
    partition.step([record._replace(offset=n) for n, record in enumerate(events)])
    assert not any("bot" in score for score in of(partition, "scores"))


def test_a_session_that_its_bound_ends_was_a_bots_and_so_is_what_follows(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SESSION_EVENTS_MAX", 5)
    partition = Partition(rules)
    effects = partition.step([event(n, "v", "view_item", n) for n in range(8)])
    assert (effects.sessions_bound, effects.bot_sessions, effects.bot_events) == (1, 1, 3)
    after(partition, 300)
    assert [(closed["reason"], closed["events"], closed["bot"]) for closed in of(partition, "closed")] == [
        ("bound", 5, True),
        ("gap", 3, True),
    ]
    assert of(partition, "examples") == []


def test_a_session_that_lasts_a_day_was_a_bots(rules: Rules) -> None:
    partition = Partition(rules)
    partition.step([event(n, "v", "view_item", n * 25) for n in range(60)])
    after(partition, 3_000)
    assert [(closed["reason"], closed["bot"]) for closed in of(partition, "closed")] == [("bound", True), ("gap", True)]
    assert of(partition, "examples") == []


def test_one_that_had_to_go_for_a_fifth_of_its_visitors_is_no_bots(rules: Rules) -> None:
    """Four at once are a bound as well, and the visitor of a shared device has them."""
    partition = Partition(rules)
    partition.step([event(n, "v", "view_item", n, session_id=f"s{n}") for n in range(5)])
    assert [(closed["reason"], closed["bot"]) for closed in of(partition, "closed")] == [("bound", False)]
    assert len(of(partition, "examples")) == 1


# ---- states ----------------------------------------------------------------------------------------------------------


def without(session_fields: list[Any]) -> list[Any]:
    """A session as the version before wrote it: without the last two fields."""
    return session_fields[:-2]


def as_before(blob: bytes) -> bytes:
    fields = msgspec.msgpack.decode(blob[1:], strict=False)
    fields[3] = [without(one) for one in fields[3]]
    return blob[:1] + msgspec.msgpack.encode(fields)


def test_a_state_of_the_version_before_is_read_and_goes_on(rules: Rules) -> None:
    old, new = Partition(rules), Partition(rules)
    for partition in (old, new):
        partition.step(bought()[:2])
    old.states = {visitor: as_before(blob) for visitor, blob in old.states.items()}
    assert state.decode(old.states["v"]).sessions[0].bot is False
    old.restart()
    new.restart()
    for partition in (old, new):
        partition.step([event(2, "v", "view_item", 2, bot=True)])
        after(partition, 300)
    assert of(old, "scores") == of(new, "scores")
    assert of(old, "examples") == of(new, "examples") == []


def test_a_state_of_this_version_is_read_by_the_version_before() -> None:
    partition = Partition(replace(EAGER, engine="python"))
    partition.step(bought(bot=True)[:2])
    visitor = partition.visitor("v")
    assert visitor.sessions[0].bot is True
    before = state.decode(as_before(partition.states["v"]))
    assert msgspec.structs.replace(before.sessions[0], bot=True, haste=visitor.sessions[0].haste) == visitor.sessions[0]
