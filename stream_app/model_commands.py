"""What a person asks of the trainer, through Kafka alone: how the models stand, and which of them is to serve.

    asked = await read_models(settings)                 the newest snapshot: champion, challengers, changes
    refused = await give_command(settings, "blend")     None once a trainer has obeyed; else why it did not

Nothing else is needed, so it works from any machine that reaches Kafka and has the `snapshot_key`. A command stays on
the topic until a trainer obeys it, be it one that starts tomorrow; a newer one takes its place.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Final

from stream_app import topics
from stream_app.audit_reading import KafkaReading, NotPossibleError, Span
from stream_app.backends.clients import FAILURES, KafkaClients, start_client, stop_quietly
from stream_app.backends.ports import LogError
from stream_app.core.snapshots import (
    HEAD_KEY,
    SIGNATURE_HEADER,
    Command,
    RefusedError,
    Snapshot,
    SnapshotReader,
    encode_command,
    is_prior,
    signature_of,
)
from stream_app.settings import Settings

#: A trainer obeys within a turn and says so with its next snapshot: half a second, and seconds where that is large.
ANSWER_S_MAX: Final = 15.0

#: Between two looks for the answer.
_LOOK_S: Final = 0.2

#: The newest head is among the last records; where many priors changed at once it is looked for further back.
_LAST_RECORDS: Final = 500
_FURTHER: Final = 20


class UnansweredError(Exception):
    """No trainer has said what became of a command; the text says what to check."""


async def read_models(settings: Settings) -> Snapshot:
    """The newest signed head with its challengers.

    Raises
    ------
    NotPossibleError
        If Kafka does not answer, or there is no head, or none that our key signed.
    """
    async with KafkaReading(settings) as kafka:
        found, _ = await _newest(settings, kafka)
    return found


async def give_command(settings: Settings, model: str | None) -> str | None:
    """Tell the trainer which model is to serve, None for whichever log-loss chooses; what speaks against it, or None.

    Raises
    ------
    NotPossibleError
        If Kafka does not answer, or there is no trainer's snapshot.
    UnansweredError
        If no trainer answers in time.
    """
    command = Command(uuid.uuid4().hex, model, int(time.time() * 1000))
    async with KafkaReading(settings) as kafka:
        # Without a snapshot nobody learns here: then say so, before a command is left behind.
        found, end = await _newest(settings, kafka)
        await _write(settings, command)
        reader, deadline = _reader(settings), time.monotonic() + ANSWER_S_MAX
        while time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
            span = Span(end, await _end(settings, kafka))
            found = await _heads(settings, kafka, reader, span) or found
            refused = found.head.state["champion"]["commands"].get(command.id)
            if refused is not None:
                return str(refused) or None
            end = span.end
    raise UnansweredError(
        f"no trainer answered within {ANSWER_S_MAX:g} s: is `stream-app run` or `stream-app trainer` running? "
        "The command stays, and whichever trainer starts next obeys it"
    )


async def _newest(settings: Settings, kafka: KafkaReading) -> tuple[Snapshot, int]:
    """The newest snapshot, and the end of the topic."""
    topic = settings.topic(topics.SNAPSHOTS)
    facts = (await kafka.topics()).get(topic)
    if facts is None or not facts.exists:
        raise NotPossibleError(
            f"topic {topic} does not exist; run `stream-app topics create`, or is --topic-prefix right?"
        )
    span = (await kafka.spans(topic, 1))[0]
    count = _LAST_RECORDS
    while True:
        start = max(span.start, span.end - count)
        found = await _heads(settings, kafka, _reader(settings), Span(start, span.end))
        if found is not None:
            return found, span.end
        if start == span.start:
            raise NotPossibleError(
                f"no snapshot on {topic}: has a trainer run, and learned anything? (--topic-prefix says where to look)"
            )
        count *= _FURTHER


async def _heads(settings: Settings, kafka: KafkaReading, reader: SnapshotReader, span: Span) -> Snapshot | None:
    """The newest snapshot in a span of the topic."""
    found, refused = None, None
    if span.end > span.start:
        async for record in kafka.records(settings.topic(topics.SNAPSHOTS), 0, span):
            if record.key is None or is_prior(record.key):
                continue
            try:
                found = reader.read(record.key, record.value, signature_of(record.headers)) or found
            except RefusedError as error:
                refused = error if record.key == HEAD_KEY else refused
    if found is None and refused is not None:
        what = (
            "is STREAM_APP_SNAPSHOT_KEY the trainer's?" if refused.reason == "bad_signature" else "see docs/models.md"
        )
        raise NotPossibleError(f"the newest snapshot is not to be believed ({refused}); {what}")
    return found


async def _end(settings: Settings, kafka: KafkaReading) -> int:
    return (await kafka.spans(settings.topic(topics.SNAPSHOTS), 1))[0].end


async def _write(settings: Settings, command: Command) -> None:
    key, value, signature = encode_command(command, secret=settings.snapshot_keys[0])
    producer = KafkaClients(settings).producer(client_id=f"{settings.group_id}-command")
    try:
        await start_client("connecting", producer)
        headers = [(SIGNATURE_HEADER, signature)]
        await producer.send_and_wait(settings.topic(topics.SNAPSHOTS), value, key=key, headers=headers, partition=0)
    except (LogError, *FAILURES) as error:
        raise NotPossibleError(f"the command was not written ({error}); is Kafka running?") from None
    finally:
        await stop_quietly(producer)


def _reader(settings: Settings) -> SnapshotReader:
    secret, *former = settings.snapshot_keys
    return SnapshotReader(secret=secret, former=former, learning=True)
