"""Nothing that was released may break; and what a break is, on the real schema of a score, an event and an example."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stream_app import cli
from stream_app.schemas.catalogue import RECORDS, Direction
from stream_app.schemas.compatibility import Schema, breaks
from stream_app.schemas.documents import ASYNCAPI, documents
from stream_app.schemas.released import breaches

RELEASED = Path(__file__).parents[2] / "docs" / "schemas" / "released"
DIRECTION: dict[str, Direction] = {record.topic: record.direction for record in RECORDS}
SCORES, EVENTS = "intent.scores.v1.schema.json", "clickstream.events.v1.schema.json"
EXAMPLES, DEAD_LETTERS = "training.examples.v1.schema.json", "dead.letters.v1.headers.schema.json"


def direction_of(file: str) -> Direction:
    return DIRECTION[file.removesuffix(".schema.json").removesuffix(".headers")]


def now(file: str) -> Schema:
    schema = json.loads(documents()[file])
    assert isinstance(schema, dict)
    return schema


def check(release: Path) -> Result:
    return CliRunner().invoke(cli.main, ["schemas", "check", str(release)], prog_name="stream-app")


def test_nothing_breaks_since_the_last_release() -> None:
    done = check(RELEASED)
    assert done.exit_code == 0, done.output
    assert "13 records are compatible with those of" in done.output


#: What a release had, by file and place → what the change since then comes to, and which rule says so.
BROKEN_SINCE: list[tuple[str, str, dict[str, Any], str, str]] = [
    (SCORES, "properties", {"certainty": {"type": "number"}}, "certainty: was removed or renamed", "an old reader has"),
    (SCORES, "properties.score", {"type": "string"}, "score: can be no string any more", "an old reader has"),
    (EVENTS, "", {"required": ["event_id", "event_type", "event_time"]}, "visitor_id: is required now", "accepted"),
    (EVENTS, "properties.event_type", {"enum": ["page_view", "quote"]}, "event_type: enum without quote", "accepted"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "place", "values", "words", "rule"), BROKEN_SINCE)
def test_the_check_refuses_what_breaks_and_says_which_record_field_rule_and_what_to_do(
    file: str, place: str, values: dict[str, Any], words: str, rule: str, tmp_path: Path
) -> None:
    shutil.copytree(RELEASED, release := tmp_path / "release")
    _, old = changed(file, place, **values)
    (release / file).write_text(json.dumps(old))
    done = check(release)
    assert done.exit_code == 1
    record = file.removesuffix(".schema.json")
    (line,) = [line for line in done.output.splitlines() if line.startswith(f"{record}: {words}")]
    assert line.endswith("(docs/records.md)")
    assert "  the rule: " in done.output
    assert rule in done.output
    assert "expected none: see above" in done.output


def test_a_topic_that_is_gone_rekeyed_or_partitioned_otherwise_is_told(tmp_path: Path) -> None:
    shutil.copytree(RELEASED, release := tmp_path / "release")
    old = json.loads((release / ASYNCAPI).read_text())
    channels, messages = old["channels"], old["components"]["messages"]
    channels["intent.doubts.v1"], messages["intent.doubts.v1"] = channels["intent.scores.v1"], {}
    channels["intent.moments.v1"]["x-copartitioned"] = False
    messages["sessions.closed.v1"]["bindings"]["kafka"]["key"]["description"] = "the session_id"
    (release / ASYNCAPI).write_text(json.dumps(old))
    (release / "intent.doubts.v1.schema.json").write_text((release / SCORES).read_text())
    told = {(breach.record, breach.what.partition(";")[0]) for breach in breaches(release)}
    assert told == {
        ("intent.doubts.v1", "the record is gone"),
        ("intent.doubts.v1", "the topic is gone"),
        ("intent.moments.v1", "is partitioned otherwise"),
        ("sessions.closed.v1", "has another key"),
    }


def test_a_directory_that_holds_no_release_is_one_line_and_code_2(tmp_path: Path) -> None:
    for release, words in ((tmp_path, "without a record's schema"), (tmp_path / "none", "without a record's schema")):
        done = check(release)
        assert (done.exit_code, done.output.count("Error:")) == (2, 1)
        assert words in done.output
    (tmp_path / SCORES).write_text("{")
    assert "which is no JSON" in check(tmp_path).output
    (tmp_path / SCORES).write_text((RELEASED / SCORES).read_text())
    assert "asyncapi.json: No such file" in check(tmp_path).output


def changed(file: str, place: str, **values: Any) -> tuple[Schema, Schema]:
    """A schema as it is, and with the keywords of a place (names with dots) set, or removed where None."""
    old = now(file)
    new = copy.deepcopy(old)
    part = new
    for name in filter(None, place.split(".")):
        part = part[int(name)] if isinstance(part, list) else part[name]
    for keyword, value in values.items():
        if value is None:
            del part[keyword]
        else:
            part[keyword] = value
    return old, new


@pytest.mark.parametrize(
    ("file", "place", "values", "words"),
    [
        (SCORES, "properties", {"score": None}, "score: was removed or renamed; keep it as it was, or"),
        (SCORES, "properties.score", {"type": "string"}, "score: can be no number any more"),
        (SCORES, "properties.events", {"type": "number"}, "events: can be number now, which readers do not expect"),
        (SCORES, "properties.score", {"maximum": 0.9}, "score: maximum 1 → 0.9: not all that was possible is"),
        (SCORES, "properties.score", {"maximum": 100}, "score: maximum 100 → 1: more is possible than readers expect"),
        (SCORES, "properties.score", {"anyOf": [{"type": "number"}, {"type": "null"}]}, "score: can be null now"),
        (SCORES, "", {"required": ["event_id"]}, "score: may be missing now, and readers count on it"),
        (SCORES, "properties.reasons.items.prefixItems.1", {"type": "string"}, "reasons[][1]: can be no number"),
        (SCORES, "properties.reasons.items", {"prefixItems": [{"type": "string"}]}, "reasons[]: had 2 parts, has 1"),
        (EXAMPLES, "properties.features.properties", {"gap": None}, "features.gap: was removed or renamed"),
        (EXAMPLES, "$defs.Keys.properties", {"step": None}, "keys.step: was removed or renamed"),
        (EXAMPLES, "$defs.Touched", {"required": ["carted"]}, "touched.carted: is required now; give it a default"),
        (EXAMPLES, "properties.label_source", {"enum": ["label", "purchase"]}, "label_source: enum without session"),
        (EVENTS, "", {"required": ["event_id", "event_type", "event_time", "visitor_id", "price"]},
         "price: is required now; give it a default"),
        (EVENTS, "properties.event_id", {"maxLength": 64}, "event_id: maxLength 256 → 64: not all that was"),
        (EVENTS, "properties.event_time", {"anyOf": [{"type": "integer"}]}, "event_time: can be no string any more"),
        (DEAD_LETTERS, "properties.row.anyOf.0", {"pattern": "^[0-9a-f]+$"}, "row: pattern ^[0-9]+$ → ^[0-9a-f]+$"),
    ],
)  # fmt: skip
def test_a_break_is_told_with_what_to_do(file: str, place: str, values: dict[str, Any], words: str) -> None:
    old, new = changed(file, place, **values)
    told = breaks(old, new, direction=direction_of(file))
    assert [line for line in told if line.startswith(words)], told
    assert all("docs/records.md" in line for line in told)


@pytest.mark.parametrize(
    ("file", "place", "values"),
    [
        (SCORES, "properties", {"surprise": {"type": "number"}}),
        (SCORES, "properties.score", {"description": "said better", "x-unit": "1"}),
        (EXAMPLES, "properties.features.properties", {"tempo": {"type": "number"}}),
        (EXAMPLES, "$defs.Keys.properties", {"shelf": {"anyOf": [{"type": "string"}, {"type": "null"}]}}),
        (EVENTS, "properties", {"discount": {"type": "number"}}),
        # We may come to accept more of what shops write.
        (EVENTS, "properties.event_id", {"maxLength": 512}),
        (EVENTS, "", {"required": ["event_id", "event_type", "event_time"]}),
        (EVENTS, "properties.event_type", {"enum": [*now(EVENTS)["properties"]["event_type"]["enum"], "quote"]}),
    ],
)
def test_what_is_added_breaks_nothing(file: str, place: str, values: dict[str, Any]) -> None:
    old, new = changed(file, place, **values)
    assert old != new
    assert breaks(old, new, direction=direction_of(file)) == []
