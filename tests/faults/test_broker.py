"""The way to the broker: gone, silent, slow, or losing one answer (matrix rows 4, 5, 9 with one broker, 11, 13, 35)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest

from stream_app import topics
from tests.faults.conftest import EXACTLY_ONCE_IN_CI, Victims
from tests.faults.run import SESSION_TIMEOUT_MS, Run
from tests.scenarios.process import Process
from tests.support.kafka_proxy import END_TXN, OFFSET_COMMIT, PRODUCE, KafkaProxy

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis]

#: When the network is whole again, scores must come within this: back-offs (5 s), time-outs of calls that were under
#: way (15 to 20 s) and a restore.
_HEALED_S = 30.0


def _proxy(victims: Victims) -> KafkaProxy:
    assert victims.kafka.proxy is not None
    return victims.kafka.proxy


def _behind_the_proxy(victims: Victims, run: Run) -> Process:
    return run.start("worker", kafka_bootstrap=victims.kafka.proxied_bootstrap)


async def _silent(run: Run, worker: Process) -> None:
    await run.until("a word about Kafka", lambda: "Kafka has not answered" in worker.ready()[1])
    assert worker.metric("intent_kafka_errors_total") > 0
    assert "kafka_error" in worker.said()


@EXACTLY_ONCE_IN_CI
async def test_a_broker_killed_in_mid_stream_and_started_again_loses_nothing(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        worker = run.start("worker")
        await run.scoring(worker)
        await run.send(0.4)
        victims.kafka.kill()
        await _silent(run, worker)
        victims.kafka.restart()  # by this thread, as the server ends with the one that started it
        back = await run.scoring(worker)
        assert back < _HEALED_S
        await run.send()
        await run.finish(f"9 the only broker killed, ready {back:.1f} s after its return")
        assert "back server=kafka" in worker.said()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [10, 60])
async def test_a_broker_that_stands_still_is_waited_for(
    victims: Victims, fault_run: Callable[..., Run], seconds: int
) -> None:
    async with fault_run() as run:
        worker = run.start("worker")
        await run.send(0.4)
        await run.scored(0.2)
        memory = worker.metric("intent_process_resident_memory_bytes")
        os.kill(victims.kafka.pid, signal.SIGSTOP)
        await _silent(run, worker)
        await asyncio.sleep(seconds)
        assert worker.get("/healthz")[0] == 200
        assert worker.metric("intent_process_resident_memory_bytes") < memory + 100e6
        os.kill(victims.kafka.pid, signal.SIGCONT)
        back = await run.scoring(worker)
        assert back < _HEALED_S
        await run.send()
        await run.finish(f"11 every broker stopped for {seconds} s, ready {back:.1f} s after")


@EXACTLY_ONCE_IN_CI
async def test_a_worker_parted_from_the_broker_loses_its_partitions_to_another_and_comes_back(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        parted = _behind_the_proxy(victims, run)
        await run.scoring(parted)
        await run.send(0.2)
        await run.scored()
        other = run.start("worker")
        await asyncio.gather(run.scoring(parted, 2), run.scoring(other, 2))
        flowing = asyncio.create_task(run.trickle(0.7, seconds=5))
        _proxy(victims).stall()
        taken = await run.scoring(other)
        await flowing
        await run.scored()
        await _silent(run, parted)
        _proxy(victims).heal()
        back = await run.scoring(parted, 2)
        assert back < _HEALED_S
        await run.send()
        await run.finish(f"2 parted from the broker: other took over in {taken:.1f} s, back in {back:.1f} s")
        assert taken < SESSION_TIMEOUT_MS / 1000 + 5


@pytest.mark.long
async def test_a_bad_network_delays_scores_and_harms_none(victims: Victims, fault_run: Callable[..., Run]) -> None:
    proxy = _proxy(victims)
    async with fault_run() as run:
        worker = _behind_the_proxy(victims, run)
        await run.scoring(worker)
        proxy.delay(150)
        await run.trickle(0.2, seconds=2)
        proxy.delay(0)
        proxy.reset_some(0.05, seed=35)
        await run.trickle(0.5, seconds=4)
        proxy.heal()
        await run.scored()
        for direction in ("up", "down"):
            proxy.stall(direction)  # type: ignore[arg-type]
            await run.send(0.65 if direction == "up" else 0.8)
            await asyncio.sleep(2)
            proxy.heal()
        proxy.cut()
        await asyncio.sleep(2)
        healed = time.monotonic()
        proxy.heal()
        await run.send()
        await run.scored()
        seconds = time.monotonic() - healed
        assert seconds < _HEALED_S
        await run.finish(f"35 slow, resetting, one-way, cut network: all scored {seconds:.1f} s after it healed")


@pytest.mark.long
async def test_lost_acknowledgements_are_settled_by_looking_again(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        worker = _behind_the_proxy(victims, run)
        await run.scoring(worker)
        keys = [END_TXN, PRODUCE] if run.guarantee == "exactly_once" else [OFFSET_COMMIT, PRODUCE]
        for number, key in enumerate(keys, 1):
            trap = _proxy(victims).lose_response(key, skip=5)
            await run.trickle(number * 0.3, seconds=2)
            await run.until("the loss", trap.caught.is_set)
            await run.scored()
        await run.send()
        await run.finish("4 answers to commit and produce lost")


@EXACTLY_ONCE_IN_CI
async def test_a_request_that_arrives_after_its_sender_gave_up_tears_nothing(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    key = {"exactly_once": END_TXN, "at_least_once": PRODUCE}
    async with fault_run() as run:
        worker = _behind_the_proxy(victims, run)
        await run.scoring(worker)
        held = _proxy(victims).hold_request(key[run.guarantee], skip=5)
        await run.trickle(0.4, seconds=2)
        await run.until("the catch", held.caught.is_set)
        await run.send(0.6)
        await run.scored()
        # Its sender has gone on without it.
        held.release()
        await run.trickle(0.8, seconds=2)
        await run.send()
        await run.finish("5 a request that comes one transaction late")


@pytest.mark.long
async def test_a_stalled_broker_and_a_dead_worker_are_noticed_within_30_s(
    victims: Victims, fault_run: Callable[..., Run]
) -> None:
    async with fault_run() as run:
        stalled = _behind_the_proxy(victims, run)
        other = run.start("worker")
        await asyncio.gather(run.scoring(stalled, 2), run.scoring(other, 2))
        begun = time.monotonic()
        flowing = asyncio.create_task(run.trickle(0.4, seconds=5))
        _proxy(victims).stall()
        moved = asyncio.create_task(run.scoring(other))
        noticed = await run.until("readiness false", lambda: not stalled.ready()[0])
        alerted = await run.until("a metric", lambda: stalled.metric("intent_ready", component="worker") == 0)
        assert stalled.metric("intent_kafka_errors_total") > 0
        took_stalled = await moved
        await flowing
        await run.scored()
        silence = run.watcher.longest_silence(topics.SCORES, since=begun)
        assert noticed < 30
        assert alerted < 30
        assert took_stalled < SESSION_TIMEOUT_MS / 1000 + 5
        _proxy(victims).heal()
        await asyncio.gather(run.scoring(stalled, 2), run.scoring(other, 2))
        begun = time.monotonic()
        flowing = asyncio.create_task(run.trickle(0.8, seconds=5))
        stalled.kill()
        took_dead = await run.scoring(other)
        await flowing
        await run.scored()
        dead_silence = run.watcher.longest_silence(topics.SCORES, since=begun)
        assert took_dead < SESSION_TIMEOUT_MS / 1000 + 5
        await run.send()
        await run.finish(
            f"noticed: stalled worker unready after {noticed:.1f} s, metric {alerted:.1f} s later, taken over in "
            f"{took_stalled:.1f} s (silence {silence:.1f} s); killed one taken over in {took_dead:.1f} s "
            f"(silence {dead_silence:.1f} s)"
        )
