"""`stream-app explain`: a visitor in Redis and a model in Kafka, explained for people and programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
import redis
from click.testing import CliRunner, Result

from stream_app.admin import create_topics
from stream_app.backends.clients import KafkaClients
from stream_app.backends.redis import hash_tag
from stream_app.backends.training_log import SnapshotWriter
from stream_app.cli_explain import explain_command
from stream_app.core import state
from stream_app.core.effects import Position, encode_position
from stream_app.core.learner import Learner
from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import SnapshotReader
from stream_app.settings import Settings, load
from tests.core.examples import BASE, SECRET, SnapshotTopic, examples, learner
from tests.core.streams import Partition, event
from tests.support.fixtures import Names, Servers

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

SHOE = {"item_id": "i1", "category": "c1", "price": 80.0, "source": "ads", "country": "DE"}


class Deployment:
    """One partition of a worker, and a trainer."""

    def __init__(self, servers: Servers, names: Names) -> None:
        self.flags = {
            "kafka_bootstrap": servers.bootstrap, "redis_url": servers.redis_url, "topic_prefix": names.topic_prefix,
            "group_id": names.group_id, "check_crcs": "no", "snapshot_key": SECRET.decode(),
        }  # fmt: skip
        self.settings: Settings = load(flags=self.flags)
        asyncio.run(create_topics(self.settings))
        self.redis = redis.Redis.from_url(servers.redis_url)
        self.partition = Partition()

    def learn(self, count: int, *, model: str = "newton") -> tuple[Learner, ServingModel]:
        """A trainer learns and publishes; what a scorer then has."""
        taught, serving = learner(model), ServingModel(model, base_rate=BASE)
        for n, example in enumerate(examples(count)):
            taught.fold(0, n, example)
        self.publish(taught, serving)
        return taught, serving

    def publish(self, taught: Learner, serving: ServingModel) -> None:
        records = SnapshotTopic().publish(taught)
        reader = SnapshotReader(secret=SECRET)
        for record in records:
            found = reader.read(*record)
            if found is not None:
                serving.take(found.head, found.entries)

        async def write() -> None:
            writer = SnapshotWriter(self.settings, KafkaClients(self.settings))
            await writer.start()
            await writer.write(records)
            await writer.stop()

        asyncio.run(write())

    def visit(self, serving: ServingModel, visitor: str) -> None:
        """Five steps of a visit, scored by the model, as they lie in Redis."""
        self.partition.scorer = serving
        self.partition.step(
            [
                event(0, visitor, "view_item", 0, **SHOE),
                event(1, visitor, "view_item", 1, item_id="i2"),
                event(2, visitor, "add_to_cart", 2, **SHOE),
                event(3, visitor, "view_item", 6, **SHOE),
            ]
        )
        self.store(visitor, self.partition.states[visitor])

    def store(self, visitor: str, blob: bytes) -> None:
        tag = hash_tag(f"{self.settings.topic_prefix}{self.settings.group_id}", 0)
        self.redis.set(f"{tag}:position", encode_position(Position(seq=1, partitions=4)), ex=60)
        self.redis.set(f"{tag}:v:{visitor}", blob, ex=60)

    def ask(self, visitor: str, *more: str) -> Result:
        given = [part for name, value in self.flags.items() for part in (f"--{name.replace('_', '-')}", value)]
        return CliRunner().invoke(explain_command, [visitor, *given, *more], catch_exceptions=False)


@pytest.fixture
def deployment(embedded_servers: Servers, names: Names) -> Iterator[Deployment]:
    made = Deployment(embedded_servers, names)
    yield made
    made.redis.close()


def test_a_score_is_explained_for_people_and_for_programs(deployment: Deployment) -> None:
    _, serving = deployment.learn(1_500)
    deployment.visit(serving, "v é/1")
    served = deployment.partition.scores[-1]
    shown = deployment.ask("v é/1")
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith(
        f"visitor v é/1: {served['score']:.1%} likely to buy in this visit ({served['band']})"
    )
    assert "by model version 1, after event e3 at 2023-11-14 22:19:20 UTC" in shown.output
    assert "learned since" not in shown.output
    assert "the factors multiply to the odds" in shown.output
    facts = json.loads(deployment.ask("v é/1", "--json").output)
    assert facts["score_now"] == served["score"]
    assert facts["names_known"] is True
    assert len(facts["reasons"]) == 14
    for reason in facts["reasons"][:3]:
        assert reason["words"] in shown.output
    assert facts["reasons"][3]["words"] not in shown.output
    assert "11 weaker reasons together" in shown.output
    everything = deployment.ask("v é/1", "--all").output
    assert all(reason["title"] in everything for reason in facts["reasons"])
    assert "something was put into the cart once, worth 80.00, untouched for 4 minutes" in everything
    assert "item i1, category c1" in everything
    assert "weaker reasons" not in everything


def test_what_was_served_and_what_the_model_has_learned_since_are_told_apart(deployment: Deployment) -> None:
    taught, serving = deployment.learn(1_000)
    deployment.visit(serving, "v1")
    served = deployment.partition.scores[-1]["score"]
    for n, example in enumerate(examples(1_000, seed=9)):
        taught.fold(1, n, example)
    deployment.publish(taught, serving)
    facts = json.loads(deployment.ask("v1", "--json").output)
    assert facts["learned_since"] is True
    assert facts["served"]["score"] == served != facts["score_now"]
    assert (facts["served"]["model_version"], facts["model"]["version"]) == (1, 2)
    shown = deployment.ask("v1").output
    assert f"the model has learned since: version 2 says {facts['score_now']:.1%}, and these are its reasons" in shown


def test_a_model_that_is_not_linear_says_that_it_is_an_approximation(deployment: Deployment) -> None:
    _, serving = deployment.learn(600, model="bagging")
    deployment.visit(serving, "v1")
    shown = deployment.ask("v1")
    assert "Model bagging is not linear" in shown.output
    everything = deployment.ask("v1", "--all").output
    assert "what they say together only" in everything


def test_a_visitor_without_a_model_is_one_line_and_code_1(deployment: Deployment) -> None:
    deployment.visit(ServingModel("newton", base_rate=BASE), "v1")
    refused = deployment.ask("v1")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: no model has been published with topic prefix")
    taught, _ = deployment.learn(30)
    refused = deployment.ask("v1")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: the model has learned {taught.updates} examples, too few to be believed")
    assert refused.stderr.count("\n") == 1


def test_a_model_signed_by_another_key_is_not_believed(deployment: Deployment) -> None:
    _, serving = deployment.learn(600)
    deployment.visit(serving, "v1")
    refused = deployment.ask("v1", "--snapshot-key", "another")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: no snapshot of the model can be used (bad_signature")


def test_an_unknown_visitor_and_one_without_events_are_one_line_and_code_1(deployment: Deployment) -> None:
    deployment.store("v2", state.encode(state.Visitor()))
    unknown, silent = deployment.ask("v1"), deployment.ask("v2")
    assert (unknown.exit_code, silent.exit_code) == (1, 1)
    assert unknown.stderr.startswith("Error: visitor 'v1' is not known to group")
    assert silent.stderr.startswith("Error: visitor 'v2' has no score")


def test_a_dead_kafka_is_one_line(deployment: Deployment) -> None:
    deployment.visit(ServingModel("newton", base_rate=BASE), "v1")
    refused = deployment.ask("v1", "--kafka-bootstrap", "127.0.0.1:1")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: Kafka does not answer (")
    assert refused.stderr.count("\n") == 1
