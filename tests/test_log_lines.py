"""Log lines, for people and for collectors."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

from stream_app.log_lines import Line, LineFormatter


def record(message: Any, *, level: int = logging.WARNING, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("stream_app", level, __file__, 1, message, (), info)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    return made


def as_json(message: Any, **options: Any) -> dict[str, Any]:
    text = LineFormatter("json").format(record(message, **options))
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_reads_as_name_and_facts() -> None:
    line = Line("restored", partition=3, seconds=1.23456, reason="the view was behind", odd='a"b')
    assert line == 'restored partition=3 seconds=1.235 reason="the view was behind" odd="a\\"b"'
    assert LineFormatter("console").format(record(line)).endswith(f"WARNING stream_app {line}")


def test_in_json_each_fact_is_a_field_and_a_number_is_a_number() -> None:
    assert as_json(Line("restored", partition=3, seconds=1.23456, cold=False, reason="view behind")) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "stream_app",
        "event": "restored",
        "partition": 3,
        "seconds": 1.23456,
        "cold": False,
        "reason": "view behind",
    }


def test_a_fact_does_not_cover_a_field_of_ours() -> None:
    found = as_json(Line("drift", time=7, level="x"))
    assert (found["time_"], found["level_"]) == (7, "x")
    assert (found["event"], found["level"]) == ("drift", "warning")


def test_what_json_cannot_say_is_null_and_long_text_is_cut() -> None:
    found = as_json(Line("x", mean=math.nan, detail="ä\n" * 500))
    assert found["mean"] is None
    assert found["detail"] == ("ä\n" * 100)


def test_the_words_of_libraries_and_tracebacks_are_one_line_too() -> None:
    try:
        raise OSError("no route")
    except OSError as caught:
        found = as_json("cannot %s", level=logging.ERROR, error=caught)
    assert found["event"] == "log"
    assert found["message"] == "cannot %s"
    assert found["traceback"].endswith("OSError: no route")
