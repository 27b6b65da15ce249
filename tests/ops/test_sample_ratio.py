"""An application that loses some of those it has treated: told by the alert, found by the steps of docs/runbook.md,
mended, and over when another experiment runs.

Half of the visitors are held out; window and delay are seconds, so that an old experiment ends while one watches.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from stream_app import topics
from stream_app.backends.child_process import free_port
from stream_app.discounts.core.sample_ratio import ALARM
from stream_app.discounts.core.uplift import ARMS
from tests.discounts_app.flow import Flow
from tests.discounts_app.policies import policy_file
from tests.ops.command import command
from tests.ops.prometheus import RealPrometheus
from tests.ops.running import row
from tests.ops.watch import NOWHERE, Fault, Seen, Watch
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process
from tests.support.fixtures import Names, Servers, skip_or_fail
from tests.support.servers import RealKafka, RealRedis, UnavailableError

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis, pytest.mark.long, pytest.mark.timeout(600)]

LOSING: Final = Fault("40 % of the treated are lost before they are written", "SampleRatioMismatch")

WINDOW_MS: Final = 5_000
DELAY_MS: Final = 5_000
#: Some 20 new visitors a second, half of them held out.
SOON_S: Final = 120.0
OVER_S: Final = 90.0

#: The report's first line: visitors of both arms, and the shares that were planned.
_MISMATCH: Final = re.compile(
    r"\* The arms have not the shares that they should \((\d+) and (\d+), planned 50% and 50%;"
)


def _losing(deployment: Deployment, log: Path) -> Process:
    """`discounts` with the bug, and the deployment's settings."""
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")}
    for name, value in deployment.settings.model_dump().items():
        text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        environment[f"STREAM_APP_{name}".upper()] = text
    process = Process(
        "losing discounts",
        [sys.executable, "-m", "tests.ops.losing_discounts", "discounts", "--web-port", str(port)],
        environment,
        port=port,
        log=log,
    )
    deployment.processes.append(process)
    return process


def _arms(exposures: list[dict[str, Any]], experiment: str) -> dict[str, Counter[str]]:
    """Policy version → visitors by arm: what the runbook says to look at."""
    found: dict[str, Counter[str]] = {}
    for each in exposures:
        if each["experiment"] == experiment:
            found.setdefault(each["policy"], Counter())[each["arm"]] += 1
    return found


async def test_a_loss_in_one_arm_is_told_found_and_over_with_another_experiment(
    prometheus: Callable[..., RealPrometheus], tmp_path: Path
) -> None:
    targets = tmp_path / "targets"
    targets.mkdir()
    flags = {
        "discount_policy": policy_file(tmp_path, experiment="first", holdout=0.5, kinds=("band",)),
        "discount_window_ms": WINDOW_MS,
        "discount_delay_ms": DELAY_MS,
        "web_targets": str(targets),
    }
    try:
        with RealKafka() as kafka, RealRedis() as redis:
            servers = Servers(kafka.bootstrap, redis.url, "real")
            async with Deployment(servers, Names("ratio.", "ratio"), **flags) as deployment:
                scraper = prometheus(targets)
                broken = _losing(deployment, tmp_path / "losing.log")
                async with Watch(scraper, {"discounts": broken}) as watch:
                    await watch.until_ready("discounts")
                    async with Flow(deployment):
                        begins = watch.begin()
                        seen = await watch.seen(LOSING, begins, seconds=SOON_S)
                        await _looked_into(deployment, watch, broken)

                        # Mended: the program without the bug, and another experiment in the policy file.
                        assert await asyncio.to_thread(broken.terminate) == 0
                        policy_file(tmp_path, experiment="second", holdout=0.5, kinds=("band",))
                        mended = watch.begin()
                        watch.processes["discounts"] = sound = deployment.start("discounts")
                        await _until_only_the_second_is_told(watch)
                        over = Seen(NOWHERE, NOWHERE, watch.begin() - mended)
                    await _told_afterwards(deployment, watch, sound)
    except UnavailableError as reason:
        skip_or_fail(reason)
    print(f"\n{row(LOSING, seen, over)}")
    assert seen.alert_s < SOON_S
    assert over.alert_s < OVER_S


async def _looked_into(deployment: Deployment, watch: Watch, broken: Process) -> None:
    """Where the runbook says to look, and what it says is there."""
    code, said = await command(deployment, "discounts", "report", "--experiment", "first")
    assert code == 0, said
    told = _MISMATCH.search(said)
    assert told is not None, said
    treated, held_out = int(told[1]), int(told[2])
    assert treated < 0.8 * held_out
    print(told[0])
    (line,) = [line for line in broken.said().splitlines() if "sample_ratio_mismatch" in line]
    assert "experiment=first" in line
    print(line)
    exposures = [value for _, value, _ in await deployment.read(topics.EXPOSURES)]
    by_policy = _arms(exposures, "first")
    print(by_policy)
    assert len(by_policy) == 1, "one policy all along: it is not the share that was changed"
    by_partition = Counter((number, value["arm"]) for number, value, _ in await deployment.read(topics.EXPOSURES))
    print(sorted(by_partition.items()))
    for number in range(deployment.settings.topic_partitions):
        assert by_partition[number, "treatment"] < by_partition[number, "holdout"], "everywhere, not in one place"
    assert await watch.value('sum(intent_experiment_unused{reason="other_share"})') == 0
    # What the application has decided, beside what was written of it: here the lost ones are to be seen.
    counted = {arm: await watch.value(f'sum(intent_discount_exposures_total{{arm="{arm}"}})') for arm in ARMS}
    print(f"the application has counted {counted}, the log has {treated} and {held_out}")
    assert counted["treatment"] > 0.8 * counted["holdout"]


async def _until_only_the_second_is_told(watch: Watch) -> None:
    """Not merely no alert: there is none while the application is stopped, and it comes back with it."""
    p_value = "intent_experiment_sample_ratio_p_value"
    gone = f'count({p_value}{{experiment="second"}}) unless on() {p_value}{{experiment="first"}}'
    async with asyncio.timeout(OVER_S):
        over = False
        while not over:
            await asyncio.sleep(0.25)
            over = await watch.value(gone) == 1 and LOSING.alert not in watch.alerts.there


async def _told_afterwards(deployment: Deployment, watch: Watch, sound: Process) -> None:
    """The old experiment stays what it was; the new one has its shares."""
    code, said = await command(deployment, "discounts", "report", "--experiment", "first")
    assert (code, bool(_MISMATCH.search(said))) == (0, True), said
    code, said = await command(deployment, "discounts", "report", "--experiment", "second")
    assert code == 0, said
    assert "shares of the arms: as planned" in said
    # `value` refuses several series: the old experiment's is gone.
    assert await watch.value("intent_experiment_sample_ratio_p_value") > ALARM
    assert "sample_ratio_mismatch experiment=second" not in sound.said()
