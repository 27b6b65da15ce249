"""What the topics of outcomes and exposures say, read by a command: once to their ends, and on if wanted."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable

from stream_app import topics
from stream_app.backends.clients import KafkaClients
from stream_app.discounts.core.figures import Figures
from stream_app.discounts.core.records import Exposure, Outcome, decode
from stream_app.discounts.following import Following
from stream_app.settings import Settings


async def read_figures(
    settings: Settings,
    *,
    outcome: Callable[[Outcome], None] = lambda outcome: None,
    follow: bool = False,
    every_s: float = 0.0,
) -> AsyncGenerator[Figures]:
    """The figures as they are now; with `follow` again when records were added to them, `every_s` at the most.

    `outcome` is given each outcome that counts. Raises LogError when Kafka does not answer. Whoever may leave it before
    its end closes it (`contextlib.aclosing`).
    """
    following = Following(settings, KafkaClients(settings), (topics.OUTCOMES, topics.EXPOSURES))
    figures = Figures()

    def take(topic: str, value: bytes | None) -> None:
        if topic == topics.EXPOSURES:
            exposure = decode(Exposure, value)
            if isinstance(exposure, Exposure):
                figures.expose(exposure)
        else:
            told = decode(Outcome, value)
            if isinstance(told, Outcome) and figures.settle(told) is not None:
                outcome(told)

    try:
        await following.start()
        for topic in (topics.OUTCOMES, topics.EXPOSURES):
            async for _, records in following.to_ends(topic):
                for record in records:
                    take(topic, record.value)
        yield figures
        told, changed = time.monotonic(), False
        while follow:
            for place, records in (await following.poll()).items():
                changed = True
                for record in records:
                    take(following.topic(place), record.value)
            if changed and time.monotonic() - told >= every_s:
                yield figures
                told, changed = time.monotonic(), False
    finally:
        await following.stop()
