"""The two Faust agents: one for moments, one for closed sessions. They pass records on, and acknowledge later.

A record is acknowledged when what was decided about it is committed, so that Faust commits no offset before: hence
`noack()`, and `event.ack()` by the partition. Acknowledgements of one partition come in the order of its records, as
Faust's way of counting offsets needs it.
"""

from __future__ import annotations

from typing import Any

import faust

from stream_app import topics
from stream_app.discounts.owners import Owners
from stream_app.discounts.partition import Handed
from stream_app.settings import Settings


def add_agents(app: faust.App, owners: Owners, settings: Settings) -> None:
    """Give the application its agents, and `owners` what they read and what Faust tells of partitions."""
    for name, is_moment in ((topics.MOMENTS, True), (topics.CLOSED, False)):
        # As bytes: what a record means is decided where a bad one can be told with its place.
        topic = app.topic(
            settings.topic(name), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        app.agent(topic, name=f"discounts.{name}")(_passing_on(owners, name, is_moment=is_moment))

    async def assigned(app: faust.App, assigned: Any, **_: Any) -> None:
        await owners.assigned(assigned)

    async def revoked(app: faust.App, revoked: Any, **_: Any) -> None:
        await owners.revoked(revoked)

    app.on_partitions_assigned.connect(assigned, weak=False)
    app.on_partitions_revoked.connect(revoked, weak=False)


def _passing_on(owners: Owners, name: str, *, is_moment: bool) -> Any:
    async def pass_on(stream: faust.StreamT[bytes]) -> None:
        ended: BaseException | None = None
        try:
            async for event in stream.noack().events():
                message = event.message
                await owners.take(message.partition, Handed(is_moment, message.value, message.offset, event.ack))
        except BaseException as error:
            ended = error
            raise
        finally:
            owners.agent_ended(name, ended)

    return pass_on
