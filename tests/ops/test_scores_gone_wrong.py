"""Scores that were right turn round: the alerts on what scores are worth, from a real trainer and back.

Examples with their served scores are written to the trainer's topic as workers would, two days of event time of good
ones, then bad ones: a model that serves the wrong thing is not made in a test otherwise.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaProducer

from stream_app import topics
from stream_app.core.records import encode
from tests.core.examples import example
from tests.core.streams import T0
from tests.ops.page import open_page
from tests.ops.prometheus import RealPrometheus
from tests.ops.running import row, started, until_listening
from tests.ops.watch import Fault, Seen, Watch
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.servers import RealKafka, UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.long, pytest.mark.timeout(900)]

WORSE: Final = Fault("scores turned round", "ScoresWorseThanConstant")
UNCALIBRATED: Final = Fault("scores turned round", "ScoresNotCalibrated")
DRIFT: Final = Fault("scores turned round", "DriftOfTheScores", "behaviour_changed")

#: Between two outcomes: a block of a thousand has 100 minutes, and thirty blocks have the two days that it takes.
_STEP_MS: Final = 6_000
_GOOD: Final = 36_000
#: Blocks of a thousand. Each bad one widens what counts as usual: so after two days it takes ten or more, not seven.
_BAD: Final = 16_000
#: The window of the figures is 10,000 examples long.
_RECOVERED: Final = 11_000

#: Chances of two kinds of visitors; a bad score says the one for the other, and is too sure.
_CHANCES: Final = (0.04, 0.3)

SOON_S: Final = 30.0


class _Outcomes:
    """Writes outcomes of visits to the examples' topic, one after the other."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic
        self._random = random.Random(11)
        self._number = 0

    async def send(self, number: int, *, wrong: bool = False) -> None:
        """So many more."""
        for _ in range(number):
            self._number += 1
            chance = self._random.choice(_CHANCES)
            label = int(self._random.random() < chance)
            score = (0.9 if chance < 0.1 else 0.02) if wrong else chance
            made = example(self._number, label=label, time=T0 + self._number * _STEP_MS, score=score)
            await self._producer.send(self._topic, encode(made), partition=0)
        await self._producer.flush()


async def test_scores_that_turn_round_are_told_and_forgotten_when_they_are_right_again(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    faults = (WORSE, UNCALIBRATED, DRIFT)
    try:
        with RealKafka() as kafka:
            servers = Servers(kafka.bootstrap, "redis://127.0.0.1:1/0", "real")
            async with Deployment(servers, Names("wrong.", "wrong"), web_targets=str(tmp_path)) as deployment:
                scraper = prometheus(tmp_path)
                trainer = started(deployment, "trainer")
                await until_listening(trainer)
                topic = deployment.settings.topic(topics.EXAMPLES)
                async with (
                    open_page(trainer.port) as page,
                    Watch(scraper, {"trainer": trainer}, page) as watch,
                    AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=20) as producer,
                ):
                    outcomes = _Outcomes(producer, topic)
                    await watch.until_ready("trainer")
                    await outcomes.send(_GOOD)
                    await asyncio.to_thread(_until_learned, trainer)
                    await asyncio.sleep(8)  # shown every five seconds, scraped every one
                    assert not watch.alerts.there & {fault.alert for fault in faults}
                    begins = watch.begin()
                    await outcomes.send(_BAD, wrong=True)
                    seen = {fault: await watch.seen(fault, begins, seconds=2 * SOON_S) for fault in faults}
                    assert "The scores have changed" in await page.words(DRIFT.notice)
                    mended = watch.begin()
                    await outcomes.send(_RECOVERED)
                    over = {fault: await watch.over(fault, mended, seconds=SOON_S) for fault in (WORSE, UNCALIBRATED)}
                    await outcomes.send(_GOOD)
                    over[DRIFT] = await watch.over(DRIFT, mended, seconds=3 * SOON_S)
    except UnavailableError as reason:
        skip_or_fail(reason)
    _report(seen, over)
    for fault in faults:
        assert seen[fault].alert_s < 2 * SOON_S
        assert over[fault].alert_s < 3 * SOON_S


def _report(seen: dict[Fault, Seen], over: dict[Fault, Seen]) -> None:
    for fault, figures in seen.items():
        print(f"\n{row(fault, figures, over[fault])}")


def _until_learned(trainer: Process) -> None:
    wait_for("all learned", lambda: trainer.metric("intent_examples_learned_total") >= _GOOD, seconds=120)
