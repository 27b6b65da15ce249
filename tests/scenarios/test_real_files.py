"""The real clickstreams, replayed through a real broker and a real Redis. Their rows stay outside the repository."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from producers.formats import FORMATS
from producers.replay import replay
from producers.sink import KafkaSink
from stream_app import topics
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers

DATA = Path(__file__).parents[3] / "shared" / "data"
FILES = {
    "rees46_electronics_2021-01.csv.gz": "rees46",
    "rees46_multi_2019-10-01.csv.gz": "rees46",
    "retailrocket_visitors_sample.csv.gz": "retailrocket",
}


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def _visitor(row: dict[str, str]) -> str:
    return row.get("visitorid") or row.get("user_id") or row.get("user_session") or ""


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("rees46_electronics_2021-01.csv.gz", marks=pytest.mark.long),  # three times the next one's rows
        "rees46_multi_2019-10-01.csv.gz",
        "retailrocket_visitors_sample.csv.gz",
    ],
)
async def test_every_row_of_a_real_file_becomes_one_score_or_one_dead_letter(
    real_servers: Servers, names: Names, name: str
) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the real clickstream {name} is not here")
    rows = _rows(path)
    distinct = {tuple(row.values()) for row in rows}
    async with Deployment(real_servers, names) as deployment:
        settings = deployment.settings
        worker, trainer = deployment.start("worker"), deployment.start("trainer")
        async with KafkaSink(settings.kafka_bootstrap, topic_prefix=settings.topic_prefix) as sink:
            summary = await replay(path, FORMATS[FILES[name]], sink)
            await sink.flush()
        rejected = await deployment.count(topics.DEAD_LETTERS)
        await deployment.until_all_scored(len(distinct) - rejected)
        await deployment.until_caught_up()
        left = await deployment.left()
        assert summary.rows == len(rows)
        # An exact duplicate of a row is the same event told twice: it is counted, and not scored again.
        assert len(left.scores) + len(left.dead_letters) == len(distinct)
        assert left.repeated == 0
        assert all(letter["reason"] for letter in left.dead_letters)
        assert left.features.keys() == left.scores.keys()
        _assert_numbered(await deployment.read(topics.FEATURES))
        await _assert_session_command_counts_as_by_hand(deployment, rows)
        assert [process.terminate() for process in (worker, trainer)] == [0, 0]


def _assert_numbered(features: list[tuple[int, Any, dict[str, str]]]) -> None:
    """The n-th feature record of a session says `events = n`."""
    seen: Counter[tuple[str, str]] = Counter()
    for _, record, _ in features:
        session = record["visitor_id"], record["session_id"]
        seen[session] += 1
        assert record["events"] == seen[session]


async def _assert_session_command_counts_as_by_hand(deployment: Deployment, rows: list[dict[str, str]]) -> None:
    """For the busiest visitor: events of finished and open sessions, by `stream-app session` and by the file."""
    by_visitor: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        by_visitor[_visitor(row)].add(tuple(row.values()))
    busiest = max((visitor for visitor in by_visitor if visitor), key=lambda visitor: len(by_visitor[visitor]))
    settings = deployment.settings
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "stream_app", "session", busiest, "--json"),
        *("--redis-url", settings.redis_url.get_secret_value()),
        *("--topic-prefix", settings.topic_prefix, "--group-id", settings.group_id),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    shown, _ = await command.communicate()
    assert command.returncode == 0
    facts = json.loads(shown)
    closed = [record for _, record, _ in await deployment.read(topics.CLOSED) if record["visitor_id"] == busiest]
    open_events = sum(session["events"] for session in facts["sessions"])
    assert open_events + sum(record["events"] for record in closed) == len(by_visitor[busiest])
    assert facts["history"]["sessions"] == len(closed)
