"""The schemas of a release against those of this version: what would break who writes or reads the topics.

The rules are those of docs/records.md, worked out for one record in `compatibility.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from stream_app.schemas.catalogue import RECORDS, Direction
from stream_app.schemas.compatibility import Schema, breaks
from stream_app.schemas.documents import ASYNCAPI, POLICY, documents

_SUFFIX: Final = ".schema.json"
_HEADERS: Final = ".headers"

#: What is promised of a record, by who writes it.
RULES: Final[dict[Direction, str]] = {
    "in": "shops write it, and what was accepted is accepted for as long as the topic has its name",
    "out": "subscribers read it: an old reader has to read new records, and a new reader old ones",
}


class ReleaseError(ValueError):
    """The directory holds no release; the text is one line that says what was got, what was expected."""


class Breach(NamedTuple):
    """Something that breaks: of which file, by which rule, what became of which field and what to do."""

    record: str
    rule: str
    what: str


def released_records(directory: Path) -> dict[str, Schema]:
    """The schemas of a release by the name of the file, those of records and of their headers.

    Raises
    ------
    ReleaseError
        If there are none, or one cannot be read.
    """
    # The policy's schema is of a file that people write, and no record's.
    found = {path.name: _read(path) for path in sorted(directory.glob(f"*{_SUFFIX}")) if path.name != POLICY}
    if not found:
        raise ReleaseError(f"got {directory} without a record's schema, expected what `stream-app schemas` writes")
    return found


def breaches(directory: Path, *, now: Mapping[str, str] | None = None) -> list[Breach]:
    """All that this version breaks since the release in the directory; empty if nothing.

    `now` are the documents to compare with by their names, those of this version where none are given.

    Raises
    ------
    ReleaseError
        If the directory holds no release.
    """
    made = documents() if now is None else now
    directions: dict[str, Direction] = {record.topic: record.direction for record in RECORDS}
    found: list[Breach] = []
    for file, old in released_records(directory).items():
        direction = directions.get(_topic(file), "out")
        if file not in made:
            told = ["the record is gone; keep its topic for as long as somebody may read it (docs/records.md)"]
        else:
            told = breaks(old, json.loads(made[file]), direction=direction)
        found += [Breach(file.removesuffix(_SUFFIX), RULES[direction], what) for what in told]
    return found + list(_topics(_read(directory / ASYNCAPI), json.loads(made[ASYNCAPI])))


def _topics(old: Any, new: Any) -> Iterator[Breach]:
    """Topics that are gone, or whose key or partitions are others: readers find records by these."""
    rule = "a topic keeps its key and its partitioning: readers join by them"
    for topic, channel in old["channels"].items():
        if topic not in new["channels"]:
            yield Breach(
                topic, rule, "the topic is gone; keep it for as long as somebody may read it (docs/records.md)"
            )
            continue
        if new["channels"][topic]["x-copartitioned"] != channel["x-copartitioned"]:
            yield Breach(topic, rule, "is partitioned otherwise; write a v2 topic beside this one (docs/records.md)")
        keys = [each["components"]["messages"][topic].get("bindings") for each in (old, new)]
        if keys[0] != keys[1]:
            yield Breach(topic, rule, "has another key; write a v2 topic beside this one (docs/records.md)")


def _topic(file: str) -> str:
    return file.removesuffix(_SUFFIX).removesuffix(_HEADERS)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReleaseError(f"got {path}: {error.strerror}, expected a file that `stream-app schemas` wrote") from None
    except ValueError as error:
        raise ReleaseError(f"got {path}, which is no JSON ({error})") from None
