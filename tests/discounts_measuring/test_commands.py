"""`stream-app discounts report` and `replay`, on the topics of a real broker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result

from stream_app import topics
from stream_app.cli import main
from stream_app.discounts.core.records import Arm, Outcome, encode
from stream_app.settings import Settings
from tests.discounts.core.exposures import T0, exposure, outcome
from tests.discounts.core.policies import POLICY
from tests.discounts_measuring.shop import Told
from tests.support.fixtures import Names
from tests.support.servers import RealKafka

pytestmark = pytest.mark.real_kafka


def units() -> list[Outcome]:
    """500 treated of whom 250 bought at 45 (50 less 10 %), 400 held out of whom 100 bought at 50; margin 0.4."""
    found = []
    arms: tuple[tuple[Arm, int, int, float, float], ...] = (
        ("treatment", 500, 250, 45.0, 15.0),
        ("holdout", 400, 100, 50.0, 20.0),
    )
    for arm, count, buyers, paid, profit in arms:
        for n in range(count):
            bought = n < buyers
            of = exposure(
                f"{arm}{n}", arm=arm, holdout_share=0.45, decided_at=T0 + 20_000, session_id=f"{arm}-{n}",
                exposure_id=f"{arm}-{n}",
            )  # fmt: skip
            told = outcome(profit * bought, revenue=paid * bought, orders=int(bought), of=of)
            found.append((n / count, told))
    # As they would come: the arms by turns.
    return [told for _, told in sorted(found, key=lambda each: each[0])]


async def write(settings: Settings, outcomes: list[Outcome]) -> None:
    """Exposures and outcomes into their topics; one outcome twice, as after a crash."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap) as producer:
        for n, told in enumerate([*outcomes, outcomes[0]]):
            for topic, value in ((topics.EXPOSURES, encode(told.exposure)), (topics.OUTCOMES, encode(told))):
                await producer.send(settings.topic(topic), value, partition=n % 2)


async def run(settings: Settings, *arguments: str) -> Result:
    """The command in this process, on the settings' servers."""
    given = ["--kafka-bootstrap", settings.kafka_bootstrap, "--topic-prefix", settings.topic_prefix]
    return await asyncio.to_thread(CliRunner().invoke, main, ["discounts", *arguments, *given])


@pytest.mark.usefixtures("no_settings_of_this_machine")
async def test_a_report_tells_the_arms_the_differences_and_what_may_be_concluded(
    real_kafka: RealKafka, names: Names, tmp_path: Path
) -> None:
    async with Told(real_kafka.bootstrap, names) as told:
        empty = await run(told.settings, "report")
        assert empty.exit_code == 1
        assert "no exposures of any experiment" in empty.output
        await write(told.settings, units())

        found = await run(told.settings, "report", "--json")
        assert found.exit_code == 0, found.output
        (line,) = found.stdout.splitlines()
        report: dict[str, Any] = json.loads(line)
        treatment = report["arms"]["treatment"]
        counts = [treatment[name] for name in ("visitors", "open", "settled", "converted")]
        assert counts == [500, 0, 500, 250]
        assert treatment["profit"] == pytest.approx(250 * 15.0 / 500)
        assert report["arms"]["holdout"]["profit"] == pytest.approx(100 * 20.0 / 400)
        assert report["differences"]["conversion"]["value"] == pytest.approx(0.25)
        low, high = report["differences"]["conversion"]["sequential"]
        assert 0.0 < low < 0.25 < high
        assert report["unused"] == {"repeated": 1}

        shown = await run(told.settings, "report", "--experiment", "autumn")
        assert "* The offers raise the share of visitors who order: by between +" in shown.output
        assert "* It is not certain that the offers change profit at all" in shown.output
        assert "all" in shown.output
        assert "+25.00 points" in shown.output
        assert "band on_the_fence" in shown.output
        assert "shares of the arms: as planned" in shown.output
        other = await run(told.settings, "report", "--experiment", "winter")
        assert other.exit_code == 1
        assert "there is autumn" in other.output

        # ---- replay: of the log of a policy that always took 10 %
        policy = tmp_path / "tomorrow.toml"
        policy.write_text(POLICY)
        same = await run(told.settings, "replay", str(policy), "--json")
        assert same.exit_code == 0, same.output
        estimate = json.loads(same.stdout)
        # What ran is worth what its treatment earned: the mean of 7.5.
        assert estimate["snips"]["value"] == pytest.approx(7.5)
        assert estimate["gain"]["value"] == pytest.approx(0.0, abs=1e-9)
        assert (estimate["units"], estimate["offers"], estimate["experiment"]) == (900, 1.0, "autumn")
        assert estimate["uplift"]["interval"][0] < 7.5 - 5.0 < estimate["uplift"]["interval"][1]

        policy.write_text(POLICY.replace("min = 10.0", "min = 60.0"))
        nobody = await run(told.settings, "replay", str(policy))
        assert "it would have offered something to 0.0% of them" in nobody.output
        policy.write_text(POLICY.replace("fixed = 10.0", "fixed = 5.0"))
        unsupported = await run(told.settings, "replay", str(policy))
        assert unsupported.exit_code == 1
        assert "no support: of 900 logged exposures the new policy would take 5 % in 900" in unsupported.output
        policy.write_text(POLICY.replace('"fixed"', '"bandit"'))
        bandit = await run(told.settings, "replay", str(policy))
        assert bandit.exit_code == 2
        policy.write_text(POLICY)
        nothing = await run(told.settings, "replay", str(policy), "--experiment", "winter")
        assert nothing.exit_code == 1
        assert "nothing to evaluate" in nothing.output


@pytest.mark.usefixtures("no_settings_of_this_machine")
async def test_without_topics_or_a_broker_a_command_says_so_in_a_line(real_kafka: RealKafka, names: Names) -> None:
    prefix = ["--topic-prefix", names.topic_prefix]
    for where, said in (
        (real_kafka.bootstrap, "topics create"),
        ("127.0.0.1:1", "Kafka at 127.0.0.1:1: starting to measure"),
    ):
        arguments = ["discounts", "report", "--kafka-bootstrap", where, *prefix]
        found = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        assert found.exit_code == 1
        assert said in found.output
