"""Raw topics on the embedded Kafka, taken in by real processes: formats told, events keyed, dead letters, metrics."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

from producers.sink import partition_of
from stream_app import topics
from tests.faults.launcher import Fault, Plan
from tests.ingest.raw import ga4
from tests.ingest.running import Message, read, read_events, send, start, until_taken_in
from tests.producers.test_golden import GOLDEN
from tests.scenarios.deployment import Deployment
from tests.scenarios.process import wait_for
from tests.support.fixtures import Names, Servers

_SECONDS = 60.0


def golden(name: str) -> list[Message]:
    """A golden file's lines with keys that mean nothing, or none."""
    lines = (GOLDEN / name).read_bytes().splitlines()
    return [Message(line, key=b"%d" % number if number % 2 else None) for number, line in enumerate(lines)]


def pulses(first: int, last: int) -> list[Message]:
    """Records of no known format, in turn over the partitions."""
    return [Message(b'{"pulse":%d}' % number, partition=number % 4) for number in range(first, last)]


async def test_topics_of_three_formats_are_taken_in_side_by_side(
    embedded_servers: Servers, names: Names, tmp_path: Path
) -> None:
    ga4_topic, tsv_topic, binary_topic = (f"{names.topic_prefix}raw.{name}" for name in ("ga4", "tsv", "binary"))
    async with Deployment(embedded_servers, names) as deployment:
        settings = deployment.settings
        binary = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/ga"), ("ce_type", b"ga4.body")]
        trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        await send(settings, ga4_topic, [*golden("ga4.jsonl"), Message(None, key=b"tombstone")])
        await send(settings, tsv_topic, golden("snowplow.tsv"))
        await send(settings, binary_topic, [Message(ga4("ce-visitor", "page_view"), headers=[*binary, trace])])
        by_ga4 = start(deployment, ga4_topic, logs=tmp_path)
        by_tsv = start(deployment, tsv_topic, logs=tmp_path)
        by_binary = start(deployment, binary_topic, logs=tmp_path)
        for process in (by_ga4, by_tsv, by_binary):
            await asyncio.to_thread(
                wait_for, f"{process.name}: ready", lambda process=process: process.ready()[0], seconds=_SECONDS
            )
            assert process.ready() == (True, "taking in 4 partitions")

        def all_told() -> bool:
            """Counted after its batch was committed, and each of the partitions has its own."""
            dead = by_ga4.metric("intent_dead_letters_total", topic="other")
            return (by_ga4.metric("intent_ingest_events_total"), dead) == (11, 9)

        await asyncio.to_thread(wait_for, "all counted", all_told, seconds=_SECONDS)
        # Of the file's rows; one more event, as a body without a time has its arrival's here, and the tombstone.
        assert by_ga4.metric("intent_ingest_events_total") == 11
        assert by_ga4.metric("intent_dead_letters_total", topic="other") == 9
        assert by_ga4.metric("intent_dead_letters_total", reason="empty_value") == 1
        assert by_ga4.metric("intent_ingest_ignored_total") == 1
        assert by_ga4.metric("intent_ingest_records_total", outcome="rejected") == 9
        # Five bodies of the file came to events alone, and the one without a time.
        assert by_ga4.metric("intent_ingest_records_total", outcome="events") == 6
        assert by_ga4.metric("intent_ready", component="ingest") == 1
        assert by_ga4.metric("intent_lag_records") == 0
        assert by_ga4.metric("intent_scores_total") == 0
        assert "intent_scores_total" not in by_ga4.get("/metrics")[1]
        assert by_tsv.metric("intent_ingest_events_total") == 15
        assert by_tsv.metric("intent_ingest_ignored_total") == 2

        assert f"ingest_format topic={ga4_topic} format=ga4" in by_ga4.said()
        assert "format=snowplow" in by_tsv.said()
        assert "131 fields" in by_tsv.said()
        assert 'format=cloudevents why="1 of 1 records have the header ce_specversion"' in by_binary.said()

        found = await read_events(settings)
        assert len(found) == 11 + 15 + 1
        for written, event in found:
            assert written.key == event["visitor_id"].encode()
            assert written.partition == partition_of(written.key, 4)
        (traced,) = [one for one, event in found if event["visitor_id"] == "ce-visitor"]
        assert traced.headers == dict([trace])

        of_topic = ga4_topic.encode()
        letters = [one for one in await read(settings, topics.DEAD_LETTERS) if one.headers["source_topic"] == of_topic]
        assert len(letters) == 9
        raw = {message.value: message.key for message in golden("ga4.jsonl")}
        for letter in letters:
            assert set(letter.headers) == {"reason", "detail", "source_topic", "source_partition", "source_offset"}
            if letter.headers["reason"] != b"empty_value" or letter.value:
                assert raw[letter.value] == letter.key
        assert [one.key for one in letters if not one.value] == [b"tombstone"]

        # More comes, and a stop loses nothing: it is read by the next one from where this one was.
        await send(settings, ga4_topic, [Message(ga4("later", "page_view"), key=b"x")])
        await asyncio.to_thread(
            wait_for, "one more", lambda: by_ga4.metric("intent_ingest_events_total") == 12, seconds=_SECONDS
        )
        assert [process.terminate() for process in (by_ga4, by_tsv, by_binary)] == [0, 0, 0]
        assert "Traceback" not in deployment.said()


async def test_where_transactions_are_none_a_killed_process_leaves_every_event_at_least_once(
    embedded_servers: Servers, names: Names, tmp_path: Path
) -> None:
    topic = f"{names.topic_prefix}raw"
    kills = Fault("stream_app.backends.clients:TransactionalProducer.commit_transaction", "kill", call=9)
    async with Deployment(embedded_servers, names) as deployment:
        settings = deployment.settings
        await send(
            settings, topic, [Message(ga4(f"c-{number}", "page_view"), partition=number % 4) for number in range(80)]
        )
        doomed = start(deployment, topic, logs=tmp_path, plan=Plan([kills]), batch_records_max=5)
        assert await asyncio.to_thread(doomed.wait, _SECONDS) == -signal.SIGKILL
        successor = start(deployment, topic, logs=tmp_path)
        await until_taken_in(settings, topic)
        found = Counter((event["visitor_id"], event["event_id"]) for _, event in await read_events(settings))
        assert {visitor for visitor, _ in found} == {f"c-{number}" for number in range(80)}
        # The same ids again, where something came again: the worker knows them. Offsets were kept all the same.
        assert len(found) == 80
        assert 80 <= found.total() <= 80 + 4 * 5
        assert successor.metric("intent_ingest_events_total") < 80


async def test_a_topic_that_tells_no_format_ends_the_process_with_what_helps(
    embedded_servers: Servers, names: Names, tmp_path: Path
) -> None:
    topic = f"{names.topic_prefix}raw"
    async with Deployment(embedded_servers, names) as deployment:
        await send(deployment.settings, topic, pulses(0, 99))
        process = start(deployment, topic, logs=tmp_path)
        words = "the newest 99 records have none of the known formats: got pulse; waits for more"
        await asyncio.to_thread(wait_for, words, lambda: process.ready() == (False, words), seconds=_SECONDS)
        await send(deployment.settings, topic, pulses(99, 100))
        assert await asyncio.to_thread(process.wait) == 1
        assert "say --format, or --mapping (docs/formats.md)" in process.said()


async def test_a_stop_while_it_waits_for_the_first_record_is_a_stop(
    embedded_servers: Servers, names: Names, tmp_path: Path
) -> None:
    topic = f"{names.topic_prefix}raw"
    async with Deployment(embedded_servers, names) as deployment:
        await send(deployment.settings, topic, [Message(b"{")])
        process = start(deployment, topic, logs=tmp_path)
        await asyncio.to_thread(wait_for, "waiting", lambda: "waits for more" in process.ready()[1], seconds=_SECONDS)
        process.ask_to_stop()
        assert await asyncio.to_thread(process.wait) == 0
