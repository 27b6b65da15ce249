"""The collector's paths as OpenAPI 3.1, made from the types that read and answer.

python -m stream_app.collect.openapi > docs/openapi.json
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from stream_app import __version__
from stream_app.collect.core.answer import Answer
from stream_app.collect.core.body import EVENTS_MAX
from stream_app.collect.core.refusal import Refused
from stream_app.collect.paths import EVENTS_PATH, OPENAPI_PATH, PATHS, SNIPPET_PATH
from stream_app.core.codec import REJECT_REASONS
from stream_app.core.events import Event
from stream_app.schemas.json_schema import definitions

_Document = dict[str, Any]

_PREFIX: Final = "#/components/schemas/"

#: Status → what it means; each answer has the body `Refused`.
_REFUSALS: Final = {
    "400": "the body is cut off, or not packed as it says",
    "401": "no write key, or one that is not known",
    "403": "sent by a page of an origin that is not allowed",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "415": "the body is of another type or packing",
    "429": "more events than the limit of the address or of the write key; Retry-After says when to repeat",
    "503": "Kafka has not acknowledged, or too much waits for it; Retry-After says when to repeat, with the same ids",
}
_REPEATED: Final = ("408", "429", "503")


def document() -> _Document:
    """The whole document. The same from any machine, so that a difference is a change."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stream-app collect",
            "version": __version__,
            "description": "Takes events over HTTP into Kafka. An event is accepted when Kafka has acknowledged it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"basic": []}, {"query": []}, {"api_secret": []}],
        "paths": dict(_paths()),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "the write key"},
                "basic": {"type": "http", "scheme": "basic", "description": "the write key as user, no password"},
                "query": {"type": "apiKey", "in": "query", "name": "write_key", "description": "for beacons"},
                "api_secret": {"type": "apiKey", "in": "query", "name": "api_secret", "description": "as GA4 names it"},
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> Iterator[tuple[str, _Document]]:
    for path, expected in PATHS.items():
        if path == EVENTS_PATH:
            yield path, {"post": _posting("events", "Take events of ours (or bodies of Segment or GA4).", "Events")}
        elif expected.kind == "ga4":
            yield path, {"post": _posting("ga4", "Take a body of GA4's Measurement Protocol.", "Ga4Body")}
        else:
            name = path.rpartition("/")[2]
            about = f"Take a Segment call `{expected.call}`." if expected.call else "Take a batch of Segment calls."
            yield path, {"post": _posting(f"segment_{name}", about, "SegmentCall" if expected.call else "SegmentBatch")}
    yield SNIPPET_PATH, {"get": _giving("snippet", "The script for a shop's pages.", "text/javascript", "string")}
    yield OPENAPI_PATH, {"get": _giving("openapi", "This document.", "application/json", "object")}


def _posting(name: str, about: str, schema: str) -> _Document:
    dealt_with = {"content": _json("Answer")}
    return {
        "operationId": name,
        "summary": about,
        "requestBody": {
            "required": True,
            "content": {
                **_json(schema),
                "text/plain": {
                    "schema": {
                        "type": "string",
                        "description": "the same as JSON: browsers send it without asking first",
                        "contentMediaType": "application/json",
                        "contentSchema": {"$ref": _PREFIX + schema},
                    }
                },
            },
        },
        "responses": {
            "200": {"description": "All of it is in Kafka: what became of each event", **dealt_with},
            "422": {"description": "Events were rejected, and none accepted: see why", **dealt_with},
            **{status: _refusal(status, about) for status, about in _REFUSALS.items()},
        },
    }


def _refusal(status: str, about: str) -> _Document:
    told: _Document = {"description": about[0].upper() + about[1:], "content": _json("Refused")}
    if status in _REPEATED:
        told["headers"] = {
            "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
        }
    return told


def _giving(name: str, about: str, content_type: str, kind: str) -> _Document:
    content = {content_type: {"schema": {"type": kind}}}
    # Not known to be there (404) or kept already (304): without If-None-Match neither can be.
    return {
        "operationId": name,
        "summary": about,
        "security": [],
        "responses": {"200": {"description": "The file", "content": content}},
    }


def _json(schema: str) -> _Document:
    return {"application/json": {"schema": {"$ref": _PREFIX + schema}}}


def _schemas() -> _Document:
    _, answers = msgspec.json.schema_components([Answer, Refused], ref_template=_PREFIX + "{name}")
    for schema in answers.values():
        schema["description"] = inspect.cleandoc(schema["description"])
    answers["EventResult"]["properties"]["reason"] = {"enum": [*REJECT_REASONS, None]}
    return {"Events": _EVENTS, "SentEvent": _sent_event(), **_FOREIGN, **answers}


def _sent_event() -> _Document:
    """An event as on the topic, but that its time may be left out: then it is when it arrived."""
    event = definitions(Event, prefix=_PREFIX)[Event.__name__]
    return {
        **event,
        "title": "SentEvent",
        "description": "One thing a visitor did. Without `event_time` it happened when it arrived.",
        "required": [name for name in event["required"] if name != "event_time"],
    }


_SENT_EVENT: Final = {"$ref": _PREFIX + "SentEvent"}
_LIST: Final = {"type": "array", "items": _SENT_EVENT, "maxItems": EVENTS_MAX}

_EVENTS: Final[_Document] = {
    "description": "An event, several, or several with the time of their sending, which corrects a wrong clock. "
    "Bodies of Segment and GA4 are told by their names, and described at their own paths.",
    "anyOf": [
        _SENT_EVENT,
        _LIST,
        {
            "type": "object",
            "required": ["events"],
            "properties": {
                "events": _LIST,
                "sent_at": {
                    "description": "when it is sent, by the sender's clock: ms since 1970, or RFC 3339 text",
                    "anyOf": [{"type": "integer"}, {"type": "string", "format": "date-time"}, {"type": "null"}],
                },
            },
        },
    ],
}

#: Others' formats are theirs to describe: docs/formats.md says what is read of them.
_FOREIGN: Final[_Document] = {
    "SegmentCall": {"type": "object", "description": "A call as Segment's HTTP API takes it (docs/formats.md)."},
    "SegmentBatch": {"type": "object", "description": "`batch`: calls, each with its `type` (docs/formats.md)."},
    "Ga4Body": {"type": "object", "description": "`client_id` and `events` (docs/formats.md)."},
}


if __name__ == "__main__":
    print(json.dumps(document(), indent=2, ensure_ascii=False))
