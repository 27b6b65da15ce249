"""`stream-app session`: what it says of a visitor is what was written to Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from stream_app.backends.redis import hash_tag
from stream_app.cli_session import session_command
from stream_app.core import processor, state
from stream_app.core.effects import Position, encode_position
from stream_app.core.events import Event
from stream_app.core.plan import WithoutReasons
from stream_app.core.processor import PartitionProcessor, Rules
from stream_app.visitor_facts import visitor_facts
from tests.support.fixtures import Names, Servers

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

_START = 1_750_000_000_000
_GAP_MS = 1_800_000


class _BaseRate(WithoutReasons):
    name, version, updates, cold = "newton", 12, 3_456, False
    bands = None

    def score_many(self, x: Any, keys: Any) -> Any:
        return 0.1 + 0.01 * x[:, 0]


class _Record:
    topic, key = "clickstream.events.v1", b"k"

    def __init__(self, offset: int, event: Event) -> None:
        self.offset, self.timestamp = offset, _START
        self.value = processor.codec.encode(event)


def _blob() -> bytes:
    """Two views of one item, one of another, then it goes into the cart; the visitor has one session from before."""
    rules = Rules(
        gap_ms=_GAP_MS, grace_ms=60_000, history_ttl_ms=10**9, late_label_ms=0, reservoir_size=2,
        cache_visitors_max=100, band_fence_min=0.08, band_likely_min=0.4,
    )  # fmt: skip
    owner = PartitionProcessor(rules, partition=1)
    steps = [
        ("s0", "view_item", "i9", 0),
        ("s1", "view_item", "i1", 0),
        ("s1", "view_item", "i1", 5),
        ("s1", "view_item", "i2", 7),
    ]
    steps.append(("s1", "add_to_cart", "i2", 65))
    records = [
        _Record(
            n,
            Event(
                f"e{n}", kind, _START - (_GAP_MS + 3_600_000 if session == "s0" else 0) + 1_000 * second, "v é/1",  # type: ignore[arg-type]
                session_id=session, item_id=item, category="shoes", price=20.0, source="email", device="mobile",
            ),
        )
        for n, (session, kind, item, second) in enumerate(steps)
    ]  # fmt: skip
    plan = owner.plan(records, [])
    return owner.apply(plan, dict.fromkeys(plan.missing), _BaseRate(), now_ms=_START).states["v é/1"]


def test_facts_are_those_of_the_events_counted_by_hand() -> None:
    facts = visitor_facts(state.decode(_blob()), watermark_ms=None, gap_ms=_GAP_MS)
    assert facts["history"]["sessions"] == 1
    assert facts["history"]["purchases"] == 0
    (session,) = facts["sessions"]
    assert session["session_id"] == "s1"
    assert session["events"] == session["episode_events"] == 4
    assert session["by_kind"] == {"item": 3, "cart": 1}
    assert session["items"] == {"i1": 2, "i2": 2}
    assert session["categories"] == {"shoes": 4}
    assert session["cart"] == {"items": 1, "value": 20.0}
    assert (session["start"], session["last_event"], session["age_ms"]) == (_START, _START + 65_000, 65_000)
    assert session["ends_at"] == _START + 65_000 + _GAP_MS
    assert session["pending_examples"] == 2
    assert session["scored_events_they_stand_for"] == 4
    assert session["mobile"] is True
    score = facts["last_score"]
    assert score["event_id"] == "e4"
    assert (score["model_version"], score["cold"], score["band"]) == (12, False, "on_the_fence")
    # ln(1 + 4 events), kept to four digits
    assert facts["features"]["events"] == pytest.approx(1.6094, abs=1e-4)
    assert facts["features"]["has_cart"] == 1.0


def test_a_visitor_between_sessions_has_a_history_and_nothing_open() -> None:
    visitor = state.Visitor(history=state.History(sessions=2, purchases=1, spend=9.5, last_seen=_START))
    facts = visitor_facts(visitor, watermark_ms=_START, gap_ms=_GAP_MS)
    assert facts["sessions"] == []
    assert facts["last_score"] is None
    assert facts["features"] == {}
    assert facts["history"] == {"sessions": 2, "purchases": 1, "spend": 9.5, "last_seen": _START}


class _Deployment:
    """The keys of a deployment of four partitions, as a worker writes them."""

    def __init__(self, servers: Servers, names: Names) -> None:
        self.servers, self.names = servers, names
        self.redis = redis.Redis.from_url(servers.redis_url)

    def tag(self, partition: int) -> str:
        return hash_tag(f"{self.names.topic_prefix}{self.names.group_id}", partition)

    def position(self, partition: int, *, partitions: int = 4) -> None:
        position = Position(seq=1, partitions=partitions)
        position.watermark.newest = _START + 65_000
        self.redis.set(f"{self.tag(partition)}:position", encode_position(position), ex=60)

    def visitor(self, partition: int, visitor: str, blob: bytes) -> None:
        self.redis.set(f"{self.tag(partition)}:v:{visitor}", blob, ex=60)

    def ask(self, visitor: str, *more: str) -> Result:
        where = ["--redis-url", self.servers.redis_url, "--topic-prefix", self.names.topic_prefix]
        where += ["--group-id", self.names.group_id]
        return CliRunner().invoke(session_command, [visitor, *where, *more], catch_exceptions=False)


@pytest.fixture
def deployment(embedded_servers: Servers, names: Names) -> Iterator[_Deployment]:
    made = _Deployment(embedded_servers, names)
    yield made
    made.redis.close()


def test_a_known_visitor_for_people_and_for_programs(deployment: _Deployment) -> None:
    for partition in range(4):
        deployment.position(partition)
    deployment.visitor(2, "v é/1", _blob())
    shown = deployment.ask("v é/1")
    assert shown.exit_code == 0
    for text in (
        "visitor v é/1, partition 2",
        "1 finished sessions, 0 purchases",
        "session s1: open",
        "3 item, 1 cart",
        "items      2: i1 ×2, i2 ×2",
        "cart       1 items, 20.00",
        "last score: 0.1161 on_the_fence (model version 12) after event e4",
        "has_cart",
    ):
        assert text in shown.output
    facts = json.loads(deployment.ask("v é/1", "--json").output)
    assert facts["partition"] == 2
    assert facts["also_in_partitions"] == []
    assert facts["watermark_time"] == _START + 5_000
    assert facts["sessions"][0]["events"] == 4


def test_the_number_of_partitions_is_the_deployments_not_the_settings(deployment: _Deployment) -> None:
    deployment.position(1, partitions=12)  # partition 0 has had no events yet
    deployment.visitor(11, "v1", _blob())
    assert json.loads(deployment.ask("v1", "--json").output)["partition"] == 11


def test_a_visitor_in_two_partitions_is_a_fault_of_the_producers_and_is_said(deployment: _Deployment) -> None:
    deployment.position(0)
    deployment.visitor(0, "v1", state.encode(state.Visitor()))
    deployment.visitor(3, "v1", _blob())
    shown = deployment.ask("v1")
    assert "visitor v1, partition 3" in shown.output
    assert "WARNING: also in partitions [0]" in shown.output


def _nothing(deployment: _Deployment) -> None:
    """No worker has run."""


def _another(deployment: _Deployment) -> None:
    deployment.position(0)
    deployment.visitor(0, "v2", _blob())


def _newer(deployment: _Deployment) -> None:
    deployment.position(0)
    deployment.visitor(0, "v1", bytes([state.STATE_VERSION + 1]) + _blob()[1:])


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (_nothing, "Error: Redis has nothing of group"),
        (_another, "Error: visitor 'v1' is not known to group"),
        (_newer, f"Error: got state version {state.STATE_VERSION + 1}, this program reads version"),
    ],
)
def test_what_is_not_there_or_not_ours_is_one_line_and_code_1(
    deployment: _Deployment, prepare: Callable[[_Deployment], None], text: str
) -> None:
    prepare(deployment)
    refused = deployment.ask("v1")
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith(text)
    assert refused.stderr.count("\n") == 1


def test_a_dead_redis_is_one_line_without_its_password() -> None:
    where = ["v1", "--redis-url", "redis://:hidden@127.0.0.1:1/0"]
    refused = CliRunner().invoke(session_command, where, catch_exceptions=False)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: Redis does not answer (")
    assert "hidden" not in refused.stderr
    assert refused.stderr.count("\n") == 1
