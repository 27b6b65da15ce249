"""One AsyncAPI 3.0 document of all topics: who sends what, its key, headers and record, and how long it is kept.

Its schemas are those of `json_schema.py` in the words of draft 7, which is what AsyncAPI's own schema object is made
of: tools that know no other read it.

Source: AsyncAPI 3.0.0, https://www.asyncapi.com/docs/reference/specification/v3.0.0; its Kafka bindings, 0.5.0.
"""

from __future__ import annotations

from typing import Any, Final

from stream_app import __version__, topics
from stream_app.schemas.catalogue import RECORDS, PublicRecord
from stream_app.schemas.json_schema import Schema, definitions
from stream_app.topics import TOPICS, TopicSpec

_BINDING: Final = "0.5.0"
_SCHEMAS: Final = "#/components/schemas/"

_DESCRIPTION: Final = """\
How likely is this session to end in a checkout? Answered after every event of a clickstream.

Topics of one deployment may all have a prefix (the setting `topic_prefix`). Those that are copartitioned have one
number of partitions, and what is about a visitor is on the partition of its events.

Read with `isolation.level=read_committed`: with `processing_guarantee=exactly_once` what is not committed may never be.
With `at_least_once` a record may repeat, with the same ids. Batches are compressed with zstd or LZ4. Fields are added,
never changed: pass over those you do not know, and over values you do not know of a text that lists some as examples.
"""

#: What is on a topic that is nobody's to read but ours: its layout changes with any version.
INTERNAL: Final[dict[str, str]] = {
    topics.CHANGELOG: "A visitor's state, MessagePack; read Redis or `stream-app session` instead.",
    topics.SNAPSHOTS: "A part of a snapshot of the models, MessagePack, signed; read `stream-app models` instead.",
}


def document() -> dict[str, Any]:
    """The document, in plain values."""
    by_topic = {record.topic: record for record in RECORDS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "stream-app",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {spec.name: _channel(spec, by_topic.get(spec.name)) for spec in TOPICS},
        "operations": dict(_operation(spec, by_topic.get(spec.name)) for spec in TOPICS),
        "components": {
            "messages": {spec.name: _message(spec, by_topic.get(spec.name)) for spec in TOPICS},
            "schemas": _schemas(),
        },
    }


def _channel(spec: TopicSpec, record: PublicRecord | None) -> Schema:
    kafka: Schema = {"topic": spec.name, "topicConfiguration": _configuration(spec.config), "bindingVersion": _BINDING}
    if not spec.copartitioned:
        kafka["partitions"] = spec.partitions
    return {
        "address": spec.name,
        "description": spec.carries,
        "messages": {"record": {"$ref": f"#/components/messages/{spec.name}"}},
        "tags": [{"name": "internal" if record is None else {"in": "input", "out": "output"}[record.direction]}],
        "bindings": {"kafka": kafka},
        "x-copartitioned": spec.copartitioned,
    }


def _configuration(config: dict[str, str]) -> Schema:
    """As the binding wants it: numbers as numbers, the clean-up policies as a list."""
    told: Schema = {name: int(value) for name, value in config.items() if name != "cleanup.policy"}
    return {"cleanup.policy": config.get("cleanup.policy", "delete").split(","), **told}


def _operation(spec: TopicSpec, record: PublicRecord | None) -> tuple[str, Schema]:
    """What we do with the topic; what is internal we send and read again."""
    action = "receive" if record is not None and record.direction == "in" else "send"
    channel = f"#/channels/{spec.name}"
    return f"{action}-{spec.name}", {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/record"}],
        "summary": spec.carries,
    }


def _message(spec: TopicSpec, record: PublicRecord | None) -> Schema:
    if record is None:
        return {
            "name": spec.name,
            "summary": INTERNAL[spec.name],
            "contentType": "application/vnd.msgpack",
            "payload": {"description": "Internal: the layout changes with any version."},
        }
    told: Schema = {"name": spec.name, "bindings": {"kafka": _key(record)}}
    if record.headers is not None:
        told["headers"] = {"$ref": _SCHEMAS + record.headers.__name__}
    if record.value is not None:
        return {**told, "title": record.value.__name__, "payload": {"$ref": _SCHEMAS + record.value.__name__}}
    return {**told, "contentType": "application/octet-stream", "payload": {"description": "The record as it came in."}}


def _key(record: PublicRecord) -> Schema:
    return {"key": {"type": "string", "description": record.key}, "bindingVersion": _BINDING}


def _schemas() -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for kind in (kind for record in RECORDS for kind in (record.value, record.headers) if kind is not None):
        for name, schema in definitions(kind, prefix=_SCHEMAS).items():
            assert found.setdefault(name, _draft_7(schema)) == _draft_7(schema), f"two types are called {name}"
    return found


def _draft_7(schema: Any) -> Any:
    """Tuples as draft 7 has them: `items` is the list, `additionalItems` what follows it."""
    if isinstance(schema, list):
        return [_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    told = {keyword: _draft_7(value) for keyword, value in schema.items()}
    if "prefixItems" in told:
        told["additionalItems"] = told.pop("items")
        told["items"] = told.pop("prefixItems")
    return told
