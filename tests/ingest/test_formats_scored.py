"""The public shapes of every format: file → `stream-app ingest` → Kafka → `stream-app run` → a score for each event."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from producers.formats import FORMATS
from stream_app import topics
from stream_app.cli_ingest import ingest_command
from tests.producers.test_golden import FILES, GOLDEN
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import Process, wait_for
from tests.support.fixtures import Names, Servers

_SECONDS = 60.0


class Counts(NamedTuple):
    """What a file comes to. Scores are fewer than events where a visitor's event of that id was there before."""

    events: int
    dead_letters: int
    ignored: int
    scores: int


#: By hand, from the files, in this order. What is in two of them is one event: `canonical.jsonl` is in `canonical.csv`,
#: and `snowplow.tsv` is `snowplow.jsonl` in other words.
EXPECTED = {
    "canonical.csv": Counts(3, 6, 0, 3),
    "canonical.jsonl": Counts(2, 4, 0, 0),
    "cloudevents.jsonl": Counts(7, 9, 0, 7),
    "ga4.jsonl": Counts(10, 9, 1, 10),
    "ga4-bigquery.jsonl": Counts(5, 5, 1, 5),
    "rees46.csv": Counts(3, 5, 0, 3),
    "retailrocket.csv": Counts(3, 4, 0, 3),
    "segment.jsonl": Counts(17, 9, 2, 17),
    "snowplow.jsonl": Counts(15, 5, 2, 15),
    "snowplow.tsv": Counts(15, 7, 2, 0),
}


class Passed(NamedTuple):
    """What all files have left: counts of each, and of each score's event how often it was scored."""

    counts: dict[str, Counts]
    scored: dict[str, int]


@pytest.fixture(scope="module")
def passed(embedded_servers: Servers) -> Iterator[Passed]:
    """All files sent one after the other to one running `stream-app run`."""
    unique = uuid.uuid4().hex[:8]
    deployment = Deployment(embedded_servers, Names(f"formats-{unique}.", f"formats-{unique}"))
    asyncio.run(deployment.__aenter__())
    try:
        process = deployment.start("run")
        wait_for("run", lambda: process.ready()[0], seconds=_SECONDS)
        counts = {name: _sent(deployment, process, name) for name in EXPECTED}
        scores = asyncio.run(deployment.read(topics.SCORES))
        ids = [f"{value['visitor_id']} {value['event_id']}" for _, value, _ in scores]
        assert process.terminate() == 0
        yield Passed(counts, {one: ids.count(one) for one in ids})
    finally:
        asyncio.run(deployment.__aexit__(None, None, None))


def _sent(deployment: Deployment, process: Process, name: str) -> Counts:
    settings = deployment.settings
    scores_before = process.metric("intent_scores_total")
    read_before = process.metric("intent_events_total")
    letters_before = asyncio.run(deployment.count(topics.DEAD_LETTERS))
    result = CliRunner().invoke(
        ingest_command,
        [
            str(GOLDEN / name), "--json",
            "--kafka-bootstrap", settings.kafka_bootstrap, "--topic-prefix", settings.topic_prefix,
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["notes"][0].startswith(f"{name} is {FILES[name][0]}: ")
    ignored = [int(note.split()[7]) for note in summary["notes"] if note.startswith("ignored as no part of a visit: ")]
    wait_for(
        f"{name} at the worker",
        lambda: process.metric("intent_events_total") - read_before == summary["sent"],
        seconds=_SECONDS,
    )
    letters = asyncio.run(deployment.count(topics.DEAD_LETTERS)) - letters_before
    assert letters == sum(summary["rejected"].values())
    scores = int(process.metric("intent_scores_total") - scores_before)
    return Counts(summary["sent"], letters, sum(ignored), scores)


def test_every_format_is_among_them() -> None:
    assert {FILES[name][0] for name in EXPECTED} == set(FORMATS)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_public_shapes_of_a_format_go_through_to_scores(passed: Passed, name: str) -> None:
    assert passed.counts[name] == EXPECTED[name]


def test_every_event_is_scored_once_and_no_other(passed: Passed) -> None:
    # An envelope of `cloudevents.jsonl` has an id of Segment's file, and another item: that is another event.
    assert {one for one, count in passed.scored.items() if count > 1} == {"anon-1 ajs-4"}
    assert sum(passed.scored.values()) == sum(expected.scores for expected in EXPECTED.values())
