"""The trainer on a Kafka that listens: several models learn, a person chooses, one outgrows its record."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream_app.admin import create_topics
from stream_app.core import snapshots
from stream_app.core.example_decoding import TypedExample
from stream_app.core.features import FEATURE_NAMES
from stream_app.core.records import Keys
from stream_app.core.snapshots import Command, encode_command
from stream_app.settings import Settings, load
from tests.core.test_challengers import sessions
from tests.support.fixtures import Names, Servers
from tests.support.training import RunningFollower, RunningTrainer, send_examples, send_signed, until

SECRET = b"of this test"


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
            "snapshot_key": SECRET.decode(),
            "model": "newton",
            "challengers": "sgd",
        }
    )
    await create_topics(made)
    return made


def later(found: list[TypedExample], by: int = 10**6) -> list[TypedExample]:
    """The same at later positions: other outcomes."""
    return [msgspec.structs.replace(one, position=(1, by + one.position[1], one.position[2])) for one in found]


WARM = list(sessions(420))


async def command(settings: Settings, id: str, model: str | None) -> None:
    await send_signed(settings, encode_command(Command(id, model, 0), secret=SECRET))


async def test_a_promoted_model_serves_and_scorers_follow_number_by_number(settings: Settings) -> None:
    await send_examples(settings, WARM)
    x = np.round(np.random.default_rng(3).normal(0, 1, (20, len(FEATURE_NAMES))), 4)
    keys = [Keys(item=f"i{n % 7}", items=[f"i{n % 7}"]) for n in range(20)]
    async with RunningTrainer(settings) as one, RunningFollower(settings) as scorer:
        await one.learned(len(WARM))
        await one.published()
        await until(lambda: scorer.model.updates == one.trainer.learner.updates)
        assert scorer.model.name == "newton"
        before = scorer.model.score_many(x, keys).tolist()
        assert before == one.trainer.learner.model.score_many(x, keys).tolist()
        # No example comes: the command alone makes a snapshot due.
        await command(settings, "c1", "sgd")
        await until(lambda: scorer.model.name == "sgd")
        assert one.trainer.learner.model.name == "sgd"
        after = scorer.model.score_many(x, keys).tolist()
        assert after == one.trainer.learner.model.score_many(x, keys).tolist()
        assert after != before
        assert one.counted("intent_model_errors_total") == 0


async def test_a_command_is_obeyed_once_also_across_a_restart_and_the_newest_wins(settings: Settings) -> None:
    await send_examples(settings, WARM)
    async with RunningTrainer(settings) as one:
        await one.learned(len(WARM))
        await command(settings, "c1", "sgd")
        await until(lambda: one.trainer.learner.champion.name == "sgd")
        await command(settings, "c2", None)
        await until(lambda: "c2" in one.trainer.learner.champion.commands)
    async with RunningTrainer(settings) as again:
        champion = again.trainer.learner.champion
        assert (champion.name, champion.pinned, champion.changed) == ("sgd", False, 2)
        assert champion.commands == {"c1": "", "c2": ""}
    # Two given while nobody learns: only the newest is obeyed, by whoever starts, and told without an example.
    await command(settings, "c3", "newton")
    await command(settings, "c4", "sgd")
    async with RunningTrainer(settings) as third:
        assert third.trainer.learner.champion.commands == {"c1": "", "c2": "", "c4": ""}
        assert third.trainer.learner.champion.pinned
        version = third.trainer.learner.version
        await until(lambda: third.trainer.learner.version > version)
        found = await third.published()
        assert "c4" in found.head.state["champion"]["commands"]


async def test_a_command_that_is_not_ours_is_refused_counted_and_changes_nothing(settings: Settings) -> None:
    await send_examples(settings, WARM)
    good = encode_command(Command("c1", "sgd", 0), secret=SECRET)
    forged = encode_command(Command("c1", "sgd", 0), secret=b"another's")
    async with RunningTrainer(settings) as one:
        await one.learned(len(WARM))
        before = one.trainer.learner.champion.export()
        await send_signed(settings, good, signature=None)
        await send_signed(settings, forged)
        await send_signed(settings, (good[0], good[1] + b"\0", good[2]))
        refusals = "intent_snapshots_refused_total"
        await until(lambda: one.counted(refusals, reason="bad_signature") == 2)
        assert one.counted(refusals, reason="unsigned") == 1
        assert one.trainer.learner.champion.export() == before
    # Nor by one that starts and finds them there.
    async with RunningTrainer(settings) as again:
        assert again.trainer.learner.champion.export() == before


async def test_a_command_that_cannot_be_obeyed_is_answered_with_the_reason(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await send_examples(settings, WARM[:40])
    async with RunningTrainer(settings) as one:
        await one.learned(40)
        await command(settings, "c1", "oracle")
        await until(lambda: "c1" in one.trainer.learner.champion.commands)
        await command(settings, "c2", "sgd")
        await until(lambda: "c2" in one.trainer.learner.champion.commands)
        commands = one.trainer.learner.champion.commands
        assert commands["c1"].startswith("got model 'oracle', which is not learning")
        assert commands["c2"].endswith("too few to be believed")
        assert one.trainer.learner.champion.name == "newton"
        # Nobody's model is at fault: no error is counted, and one line each is a warning.
        assert one.counted("intent_model_errors_total") == 0
        told = [record for record in caplog.records if record.message.startswith("command_refused")]
        assert [record.levelname for record in told] == ["WARNING", "WARNING"]
        assert "command=c1" in told[0].message


@pytest.mark.parametrize(
    ("model", "challengers"),
    [("sgd", "adaptive_forest"), pytest.param("adaptive_forest", "sgd", marks=pytest.mark.long)],
)
async def test_a_model_that_outgrows_its_record_learns_no_more_and_nothing_else_is_lost(
    settings: Settings, model: str, challengers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings.model_copy(update={"model": model, "challengers": challengers, "snapshot_interval_ms": 300})
    forest = "adaptive_forest"
    # What waits is cut into pieces, however much it is; here into small ones.
    monkeypatch.setattr(snapshots, "_WAITING_BYTES", 4_000)
    first, more = WARM[:300], WARM[300:]
    await send_examples(settings, first)
    async with RunningTrainer(settings) as one:
        await one.learned(len(first))
        await one.published()
        learner = one.trainer.learner
        records = snapshots.encode_snapshot(
            learner.export(), {}, learner.export_challengers(), version=1, published_at=0, secret=SECRET
        )
        monkeypatch.setattr(snapshots, "RECORD_BYTES_MAX", max(len(value) for _, value, _ in records) + 9_000)
        await send_examples(settings, more)
        await until(lambda: bool(one.trainer.learner.contenders[forest].frozen))
        await one.learned(len(WARM))
        found = await one.published()
        learner = one.trainer.learner
        # Back to the last snapshot once, not again and again.
        assert one.counted("intent_model_errors_total") == 1
        assert learner.contenders["sgd"].updates == learner.updates == len(WARM) - len(learner.held)
        assert 0 < learner.contenders[forest].updates < learner.updates
        assert learner.champion.name == model
        (note,) = learner.champion.changes
        assert note.name == forest
        assert note.reason.startswith("learns no more: ")
        assert "Kafka takes" in note.reason
        assert found.head.state["champion"]["changes"][0][5] == note.reason
        frozen = learner.contenders[forest].updates
    async with RunningTrainer(settings) as again:
        assert again.trainer.learner.contenders[forest].updates == frozen
        assert again.trainer.learner.contenders[forest].frozen == note.reason


async def test_settings_with_other_challengers_are_followed_at_the_next_start(settings: Settings) -> None:
    await send_examples(settings, WARM)
    async with RunningTrainer(settings) as one:
        await one.learned(len(WARM))
        await one.published()
        learned = one.trainer.learner.contenders["newton"].updates
    async with RunningTrainer(settings.model_copy(update={"challengers": "bins"})) as again:
        contenders = again.trainer.learner.contenders
        assert list(contenders) == ["newton", "bins"]
        assert contenders["newton"].updates >= learned
        assert contenders["bins"].updates == 0
        found = await again.published()
        assert set(found.challengers) <= {"bins", "sgd"}
        await send_examples(settings, later(WARM))
        await again.learned(2 * len(WARM))
        found = await again.published()
        assert set(found.challengers) == {"bins"}
        assert contenders["bins"].warm
