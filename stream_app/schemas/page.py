"""`docs/records.md`: every record, field by field, for people.

python -m stream_app.schemas.page > docs/records.md
"""

from __future__ import annotations

from typing import Any, Final

from stream_app.schemas.catalogue import RECORDS, PublicRecord
from stream_app.schemas.json_schema import Schema, record_schema
from stream_app.topics import TOPICS

_HEAD: Final = """\
# Records

Made from the types that write and read the records by `python -m stream_app.schemas.page > docs/records.md`; a test
compares them. The same for programs is in [schemas/](schemas/): JSON Schema (2020-12) of each record, and one
[AsyncAPI 3.0 document](schemas/asyncapi.json) of all topics with keys, headers, partitions and retention. `stream-app
schemas --out DIR` writes those of the version that is installed. Consumers to copy: [examples](../examples/).

Values are JSON in UTF-8. Times are whole numbers of milliseconds since 1970, UTC; money is in the shop's own
currency. A field marked *always* is in every record; the others are left out, or null, where nothing is known.

## What a subscriber relies on, and what not

**Order and key.** All records of a visitor have the visitor's id as key and are on the partition of its events, in
their order. Between partitions there is none.

**Repetitions.** With `processing_guarantee = exactly_once` and `isolation.level=read_committed` each record of the
scoring worker is seen once. A reader of uncommitted records sees what was rolled back, too. With `at_least_once`, the
default, a record may come again after a crash; its id is the same: `event_id` for scores and features, `moment_id`
for moments within their session, `session_id` for closed sessions, both with the visitor; `position` within its
partition for examples; `offer_id`, `exposure_id`; and of an outcome its experiment and visitor, of which the first
counts. A score that comes again may have another value, if another model serves by then; either is right.

**Fields are added, never changed.** A field that is there keeps its name, type, unit and meaning for as long as the
topic is called `v1`. What a reader must do for that:

* pass over fields it does not know. No schema here forbids them;
* pass over a record whose kind it does not know. Texts with *by now …* may get more values: a new kind of moment, a
  new event type, a new reason. Those with *one of …* may not;
* take a field that is not marked *always* for absent, even if every record of today has it: older ones do not.

**Who may add.** Anybody who changes the type, with a default, a line in `stream_app/schemas/fields.py`, and both
engines. The tests then say what is missing. Events and labels are read, not written, so for these the reverse holds:
we may come to accept more than today, never less; unknown fields of an event are ignored, so a shop may keep its own
in there.

**What breaks is a new topic.** To rename, retype or remove something, write `….v2` *beside* v1, for as long as
somebody reads v1, at least one release. `make schemas`, a step of `make ci`, compares with the schemas of the last
release ([schemas/released](schemas/released/)) and fails with the record, the field, what became of it, the rule and
what to do; who subscribes does the same before an upgrade with what an older version wrote: `stream-app schemas check
DIR`. At a release its schemas are written there: `stream-app schemas --out docs/schemas/released`.

**Avro.** `stream-app schemas --avro --out DIR` writes an Avro schema of each record ([formats](formats.md#avro)). A
registry that holds them to `FULL_TRANSITIVE` (what we write) or `BACKWARD_TRANSITIVE` (events and labels) keeps the
same promise.

**Features** are a list that grows. `schema` is raised when one is added, or means something else than before: who
computes with features looks at it. A reader takes a feature that it does not find for unknown.

**Batches** are compressed: zstd, or LZ4 where the compiled engine writes. Kafka's own clients and all on librdkafka
read both; kafkajs needs [two functions](../examples/nodejs_consumer/) for it.

Two topics are nobody's to read: `session.changelog.v1` and `model.snapshots.v1` change with any version.
"""

#: JSON type → its word here.
_WORDS: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "array": "list",
    "object": "object",
}


def page() -> str:
    """The page's text."""
    carries = {spec.name: spec.carries for spec in TOPICS}
    parts = [_HEAD]
    for record in RECORDS:
        parts.append(f"## `{record.topic}`: {carries[record.topic]}\n")
        parts.append(_about(record))
    return "\n".join(parts)


def _about(record: PublicRecord) -> str:
    days = int(next(spec for spec in TOPICS if spec.name == record.topic).config["retention.ms"]) // 86_400_000
    kept = f"{days} day{'' if days == 1 else 's'}"
    lines = [f"Written by {'shops' if record.direction == 'in' else 'us'}, kept {kept}. Key: {record.key}.", ""]
    if record.value is not None:
        lines += [f"Schema: [{record.topic}.schema.json](schemas/{record.topic}.schema.json).", ""]
        lines += _tables(record_schema(record.value, name=record.topic))
    if record.headers is not None:
        name = f"{record.topic}.headers.schema.json"
        lines += [f"Headers, UTF-8 text: [{name}](schemas/{name}).", ""]
        lines += _tables(record_schema(record.headers, name=name))
    return "\n".join(lines)


def _tables(schema: Schema) -> list[str]:
    """The type and those within it that are not a record of their own."""
    own = {record.value.__name__ for record in RECORDS if record.value is not None}
    lines = [*_table(schema)]
    for name, inner in schema.get("$defs", {}).items():
        if name not in own:
            lines += [f"**`{name}`**", "", *_table(inner)]
    return lines


def _table(schema: Schema) -> list[str]:
    lines = [schema["description"], "", "| field | | type | unit | says |", "| --- | --- | --- | --- | --- |"]
    for name, field in schema["properties"].items():
        always = "always" if name in schema.get("required", ()) else ""
        meaning = field.get("description", "")
        if "examples" in field:
            meaning += f"; by now {', '.join(f'`{value}`' for value in field['examples'])}"
        cells = (f"`{name}`", always, _type(field, schema), field.get("x-unit", ""), meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _type(field: Schema, schema: Schema) -> str:
    """In words, with its limits."""
    if "properties" in field:
        return "object of numbers (`stream-app features`)"
    alternatives = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    return " or ".join(_one(each) for each in alternatives)


def _one(each: Schema) -> str:
    if "$ref" in each:
        return f"`{each['$ref'].rpartition('/')[2]}`"
    if "enum" in each:
        return f"one of {', '.join(f'`{value}`' for value in each['enum'])}"
    word = _WORDS[each["type"]]
    if "prefixItems" in each:
        return f"[{', '.join(_one(part) for part in each['prefixItems'])}]"
    if "items" in each:
        word = f"list of {_one(each['items'])}"
    if each.get("format") == "date-time":
        word = "RFC 3339 text"
    return f"{word}{_limits(each)}"


def _limits(each: dict[str, Any]) -> str:
    told = [
        f"{sign} {each[keyword]:,.10g}"
        for keyword, sign in (("minimum", "≥"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if keyword in each
    ]
    for least, most, what in (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "entries")):
        if most in each:
            told.append(f"{each.get(least, 0)} to {each[most]:,} {what}")
        elif each.get(least):
            told.append("not empty")
    return f", {' and '.join(told)}" if told else ""


if __name__ == "__main__":
    print(page(), end="")
