"""The public files of ../shared/data, counted by us and, independently, by pandas. Their rows must not be copied."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from producers.adapters import rees46, retailrocket
from producers.formats import FORMATS
from producers.memory_sink import MemorySink
from producers.replay import replay
from producers.source import Source
from stream_app import topics
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

DATA = Path(__file__).parents[3] / "shared" / "data"
NOW_MS = 1_893_456_000_000

FILES = [
    ("rees46_electronics_2021-01.csv.gz", "rees46"),
    ("rees46_multi_2019-10-01.csv.gz", "rees46"),
    ("retailrocket_visitors_sample.csv.gz", "retailrocket"),
]

files = pytest.mark.parametrize(("name", "format"), FILES)


def found(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine; its terms do not allow us to ship it")
    return path


def counted_by_pandas(path: Path, format: str) -> pd.DataFrame:
    """Type, visitor and time of each row, as pandas reads them."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if format == "retailrocket":
        times, visitor = frame["timestamp"].astype("int64"), frame["visitorid"]
        kind = frame["event"].map(retailrocket.EVENT_TYPES)
    else:
        moments = pd.to_datetime(frame["event_time"], format="%Y-%m-%d %H:%M:%S UTC", utc=True)
        times = moments.map(lambda moment: int(moment.timestamp()) * 1000)
        visitor = frame["user_id"].where(frame["user_id"] != "", frame["user_session"])
        kind = frame["event_type"].map(rees46.EVENT_TYPES)
    return pd.DataFrame({"kind": kind, "visitor": visitor, "time": times})


@files
def test_every_row_is_an_event_or_a_rejection_and_the_counts_are_those_of_pandas(name: str, format: str) -> None:
    path = found(name)
    expected = counted_by_pandas(path, format)
    events: list[Event] = []
    rejected: Counter[str] = Counter()
    with Source(path, FORMATS[format], now_ms=NOW_MS) as source:
        for row in source:
            if isinstance(row.result, Rejected):
                rejected[row.result.reason] += 1
            else:
                events.append(row.result)
    assert len(events) + rejected.total() == len(expected)
    nobody = int((expected["visitor"] == "").sum())
    assert rejected == Counter({"bad_row": nobody} if nobody else {})
    whole = expected[expected["visitor"] != ""]
    assert Counter(event.event_type for event in events) == whole["kind"].value_counts().to_dict()
    assert [event.visitor_id for event in events] == whole["visitor"].tolist()
    assert [event.event_time for event in events] == whole["time"].tolist()


@files
async def test_a_replay_sends_each_row_once_in_time_order(name: str, format: str) -> None:
    path = found(name)
    expected = counted_by_pandas(path, format)
    sink = MemorySink()
    summary = await replay(path, FORMATS[format], sink)
    assert (summary.rows, summary.sent + sum(summary.rejected.values())) == (len(expected), len(expected))
    sent = [
        codec.decode_event(record.value, record_time_ms=record.timestamp_ms)
        for record in sink.records
        if record.topic == topics.EVENTS
    ]
    times = [event.event_time for event in sent if isinstance(event, Event)]
    assert times == sorted(expected[expected["visitor"] != ""]["time"].tolist())
