"""`stream-app models` with a trainer on the other side: how the models stand, and that a choice is obeyed."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner, Result

from stream_app import model_commands
from stream_app.admin import create_topics
from stream_app.backends.child_process import free_port
from stream_app.cli import main
from stream_app.core.zoo.catalogue import ZOO
from stream_app.settings import ENV_PREFIX, Settings, load
from tests.core.test_challengers import sessions
from tests.support.fixtures import Names, Servers
from tests.support.training import RunningFollower, RunningTrainer, send_examples, until

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

WARM = list(sessions(420))


@pytest.fixture
async def settings(embedded_servers: Servers, names: Names) -> Settings:
    made = load(
        flags={
            "kafka_bootstrap": embedded_servers.bootstrap,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "check_crcs": False,
            "session_timeout_ms": 6_000,
            "snapshot_interval_ms": 50,
            "model": "newton",
            "challengers": "sgd",
        }
    )
    await create_topics(made)
    return made


def where(settings: Settings) -> list[str]:
    return [
        "--kafka-bootstrap", settings.kafka_bootstrap, "--topic-prefix", settings.topic_prefix,
        "--group-id", settings.group_id, "--check-crcs", "no",
    ]  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments], catch_exceptions=False)


async def ask(settings: Settings, *arguments: str) -> Result:
    """The command, as another process would run it: in a loop of its own, while the trainer goes on."""
    return await asyncio.to_thread(run, *arguments, *where(settings))


async def status(settings: Settings) -> dict[str, object]:
    shown = await ask(settings, "status", "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.output)
    assert isinstance(found, dict)
    return found


async def test_promote_rollback_and_auto_are_obeyed_and_a_scorer_follows(settings: Settings) -> None:
    await send_examples(settings, WARM)
    async with RunningTrainer(settings) as one, RunningFollower(settings) as scorer:
        await one.learned(len(WARM))
        await one.published()
        await until(lambda: not scorer.model.cold)
        nothing = await ask(settings, "rollback")
        assert nothing.exit_code == 1
        assert nothing.stderr == (
            "Error: no change to go back on: newton has served from the start (`stream-app models status`)\n"
        )
        done = await ask(settings, "promote", "sgd")
        assert (done.exit_code, done.output) == (
            0, "sgd serves, and stays until told otherwise (`stream-app models promote --auto`)\n",
        )  # fmt: skip
        await until(lambda: scorer.model.name == "sgd")
        assert one.trainer.learner.champion.pinned

        back = await ask(settings, "rollback")
        assert back.exit_code == 0
        assert back.output.startswith("newton serves, and stays")
        await until(lambda: scorer.model.name == "newton")

        freed = await ask(settings, "promote", "--auto")
        assert (freed.exit_code, freed.output) == (0, "log-loss chooses again\n")
        assert not one.trainer.learner.champion.pinned

        found = await status(settings)
        assert [(change["from"], change["to"], change["pinned"]) for change in found["changes"]] == [  # type: ignore[attr-defined]
            ("newton", "sgd", True), ("sgd", "newton", True), ("newton", "newton", False),
        ]  # fmt: skip


async def test_what_the_trainer_refuses_is_said_with_its_reason_and_code_1(settings: Settings) -> None:
    await send_examples(settings, WARM[:40])
    async with RunningTrainer(settings) as one:
        await one.learned(40)
        await one.published()
        absent = await ask(settings, "promote", "blend")
        cold = await ask(settings, "promote", "sgd")
        assert (absent.exit_code, cold.exit_code) == (1, 1)
        assert absent.stderr == (
            "Error: the trainer refused: got model 'blend', which is not learning: expected one of newton, sgd\n"
        )
        assert cold.stderr.startswith("Error: the trainer refused: model sgd has learned ")
        assert one.trainer.learner.champion.name == "newton"


async def test_the_status_is_what_the_trainer_knows(settings: Settings) -> None:
    await send_examples(settings, WARM)
    async with RunningTrainer(settings) as one:
        await one.learned(len(WARM))
        await one.published()
        learner = one.trainer.learner
        found = await status(settings)
        assert (found["champion"], found["pinned"], found["examples"]) == ("newton", False, learner.updates)
        assert found["bands"] == {"rule": "f1", "fence_min": 0.08, "likely_min": 0.4}
        newton, sgd = found["models"]  # type: ignore[misc]
        assert (newton["name"], newton["role"], newton["difference"], newton["z"]) == ("newton", "champion", None, None)
        for shown in (newton, sgd):
            contender = learner.contenders[shown["name"]]
            assert shown["learned"] == {
                "examples": contender.updates, "checkouts": contender.positives, "others": contender.negatives,
            }  # fmt: skip
            assert (shown["warm"], shown["frozen"]) == (True, None)
            assert shown["log_loss"] == contender.standing().log_loss
            assert shown["calibrator"]["slope"] == contender.model.calibrator.slope
        standing = learner.contenders["sgd"].standing()
        assert (sgd["role"], sgd["difference"], sgd["z"]) == ("challenger", standing.difference, standing.z)

        await ask(settings, "promote", "sgd")
        table = (await ask(settings, "status")).output
        assert table.startswith("sgd serves, chosen by hand: it stays; version ")
        assert f"{learner.updates:,} examples learned" in table
        assert "bands (f1): on the fence from 0.08, likely from 0.4\n" in table
        assert "1 change, newest first:\n" in table
        assert "newton → sgd: by hand\n" in table
        rows = [line.split()[:2] for line in table.splitlines()]
        assert rows.index(["sgd", "champion"]) < rows.index(["newton", "challenger"])


async def test_without_a_trainer_a_choice_waits_and_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = await ask(settings, "promote", "sgd")
    assert none.exit_code == 1
    assert none.stderr.startswith(f"Error: no snapshot on {settings.topic_prefix}model.snapshots.v1: has a trainer run")
    assert (await ask(settings, "status")).stderr == none.stderr
    await send_examples(settings, WARM)
    async with RunningTrainer(settings) as one:
        await one.learned(len(WARM))
        await one.published()
    monkeypatch.setattr(model_commands, "ANSWER_S_MAX", 1.0)
    waiting = await ask(settings, "promote", "sgd")
    assert waiting.exit_code == 1
    assert waiting.stderr == (
        "Error: no trainer answered within 1 s: is `stream-app run` or `stream-app trainer` running? The command "
        "stays, and whichever trainer starts next obeys it\n"
    )
    async with RunningTrainer(settings) as again:
        assert again.trainer.learner.champion.name == "sgd"


async def test_another_key_is_neither_believed_nor_used(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    await send_examples(settings, WARM[:40])
    async with RunningTrainer(settings) as one:
        await one.learned(40)
        await one.published()
        monkeypatch.setenv(f"{ENV_PREFIX}SNAPSHOT_KEY", "another")
        for command in (("status",), ("promote", "sgd"), ("rollback",)):
            refused = await ask(settings, *command)
            assert refused.exit_code == 1
            assert "is not to be believed (bad_signature" in refused.stderr
            assert refused.stderr.endswith("is STREAM_APP_SNAPSHOT_KEY the trainer's?\n")
        assert one.trainer.learner.champion.commands == {}


@pytest.mark.parametrize("command", [("status",), ("promote", "sgd"), ("promote", "--auto"), ("rollback",)])
def test_no_kafka_no_topic_is_one_line_and_code_1(
    command: tuple[str, ...], embedded_servers: Servers, names: Names
) -> None:
    gone = run(*command, "--kafka-bootstrap", f"127.0.0.1:{free_port()}")
    assert gone.exit_code == 1
    assert "does not answer" in gone.stderr
    assert gone.stderr.count("\n") == 1
    missing = run(*command, "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix)
    assert missing.exit_code == 1
    assert "does not exist; run `stream-app topics create`" in missing.stderr


@pytest.mark.parametrize("arguments", [(), ("sgd", "--auto")])
def test_promote_wants_a_name_or_auto_and_not_both(arguments: tuple[str, ...]) -> None:
    refused = run("promote", *arguments)
    assert refused.exit_code == 2
    assert "expected either the NAME of a model or --auto" in refused.stderr


def test_the_list_marks_what_the_settings_let_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    def marks(*arguments: str) -> dict[str, str | None]:
        listed = json.loads(run("list", "--json", *arguments).output)
        assert [model["name"] for model in listed] == list(ZOO)
        return {model["name"]: model["learns"] for model in listed if model["learns"]}

    assert marks() == {"newton": "at first"}
    assert marks("--model", "sgd", "--challengers", "newton, bins") == {
        "sgd": "at first", "newton": "challenger", "bins": "challenger",
    }  # fmt: skip
    monkeypatch.setenv(f"{ENV_PREFIX}CHALLENGERS", "blend")
    assert marks() == {"newton": "at first", "blend": "challenger"}
    rows = {line.split()[0]: line for line in run("list").output.splitlines() if line.strip()}
    assert " at first " in rows["newton"]
    assert " challenger " in rows["blend"]
    assert "challenger" not in rows["sgd"]
