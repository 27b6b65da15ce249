"""Discounts read the workers' states: of a version that they do not know they decide about nobody, and lose nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream_app.backends.redis import RedisView, connect
from stream_app.core import state
from stream_app.core.effects import Position
from tests.discounts_app.moments import moment
from tests.discounts_app.owner import Owner
from tests.discounts_app.policies import policy_file
from tests.discounts_app.verdict import Verdict
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: Waits are generous: other programs share the machine.
PATIENCE_S = 60.0


@pytest.fixture
async def deployment(real_servers: Servers, names: Names, tmp_path: Path) -> AsyncIterator[Deployment]:
    """Who hesitates for a second is looked up, and offered something."""
    policy = policy_file(tmp_path, earliest=1.0, holdout=0.0)
    async with Deployment(real_servers, names, discount_policy=policy) as made:
        yield made


async def test_who_has_a_later_versions_state_is_decided_about_when_it_can_be_read(deployment: Deployment) -> None:
    async with Owner(deployment.settings) as owner:
        await owner.ready()
        first = moment("v1", "s1")
        session = state.Session("s1", None, 0, first.event_time - 30_000, first.event_time)
        ours = state.encode(state.Visitor(sessions=[session]))
        await put(deployment, bytes([state.STATE_VERSION + 1]) + ours[1:], seq=0)
        await owner.decided([first])
        await owner.until(lambda: owner.partition.problem, PATIENCE_S)
        assert f"got state version {state.STATE_VERSION + 1}, this program reads" in owner.partition.problem
        assert owner.partition.waiting_since is not None, "and so it is not ready for long"
        assert not (await Verdict.of(deployment)).exposures
        await put(deployment, ours, seq=1)
        await owner.until(lambda: owner.partition.sizes == (0, 0), PATIENCE_S)
    (exposure,) = (await Verdict.of(deployment)).exposures
    assert (exposure["visitor_id"], exposure["kind"]) == ("v1", "hesitates")


async def put(deployment: Deployment, blob: bytes, *, seq: int) -> None:
    """As a worker writes it."""
    settings = deployment.settings
    client = connect(settings.redis_url.get_secret_value(), timeout_ms=5_000)
    view = RedisView(client, prefix=settings.namespace, ttl_ms=600_000)
    position = Position(seq=seq + 1, events_offset=1, labels_offset=0)
    await view.write(0, expected_seq=seq, position=position, states={"v1": blob}, deadlines={})
    await view.close()
