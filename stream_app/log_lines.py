"""Log lines: an event's name and its facts, shown as `event key=value …` to people or as JSON to a collector.

A line is a string, so that any handler can show it; `LineFormatter` finds name and facts in it as well. In JSON each
fact is a field of its own, numbers as numbers: `{"time": …, "level": "warning", "event": "fenced", "partition": 3, …}`.
What libraries log has `event` `log` and their text as `message`.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Final, Literal

import msgspec

#: Of a fact's text, in characters: a broken record may be 256 KiB.
TEXT_LENGTH_MAX: Final = 200

Format = Literal["console", "json"]

#: Fields of our own that a fact must not cover.
_OURS: Final = ("time", "level", "logger", "event", "message", "traceback")


class Line(str):
    """`event key=value …`; a value with spaces, quotes or line breaks is quoted as in JSON."""

    event: str
    facts: dict[str, Any]

    __slots__ = ("event", "facts")

    def __new__(cls, event: str, **facts: Any) -> Line:
        """Make one; floats are shown with four digits, texts cut at `TEXT_LENGTH_MAX`."""
        line = super().__new__(cls, " ".join((event, *(f"{key}={_shown(value)}" for key, value in facts.items()))))
        line.event, line.facts = event, facts
        return line


class LineFormatter(logging.Formatter):
    """The console's `2026-11-22 06:00:00,123 WARNING stream_app fenced partition=3 …`, or JSON (RFC 8259, UTC)."""

    def __init__(self, shown: Format) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
        self._shown = shown

    def format(self, record: logging.LogRecord) -> str:
        """One line; in JSON a traceback is its field `traceback`."""
        return super().format(record) if self._shown == "console" else self._json(record)

    def _json(self, record: logging.LogRecord) -> str:
        seconds, line = time.gmtime(record.created), record.msg
        found: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', seconds)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if isinstance(line, Line):
            found["event"] = line.event
            for name, fact in line.facts.items():
                found[f"{name}_" if name in _OURS else name] = _plain(fact)
        else:
            found |= {"event": "log", "message": record.getMessage()}
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(found).decode()


def _plain(fact: Any) -> Any:
    if fact is None or isinstance(fact, bool | int | float):
        return fact
    return str(fact)[:TEXT_LENGTH_MAX]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)[:TEXT_LENGTH_MAX]
    plain = text and text.isprintable() and not any(character in text for character in ' "=\\')
    return text if plain else json.dumps(text, ensure_ascii=False)
