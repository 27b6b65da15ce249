"""What a file would come to, without sending anything: counts, an example of each kind of rejection, the first events.

An example is to be pasted into a ticket: visitors, sessions, orders and search terms are shown by a short hash,
addresses without their query. A rejection quotes the value that was wrong, at most 80 characters of it, and nothing
else of its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import msgspec

from producers.findings import FINDINGS, Findings, is_unknown_type
from producers.source import Source
from stream_app.core.codec import Rejected
from stream_app.core.events import Event

#: Visitors counted apart, 100 MB of hashes; of larger files it is enough to know that there are more.
_VISITORS_MAX: Final = 1_000_000

_ROWS_PER_REPORT: Final = 2_000

#: What a visitor typed may be a name, too.
_HASHED: Final = ("visitor_id", "session_id", "order_id", "search_term")
_ADDRESSES: Final = ("page_url", "referrer")


class Example(msgspec.Struct, kw_only=True):
    """The first row that was rejected for a reason."""

    row: int
    detail: str


class Check(msgspec.Struct, kw_only=True):
    """What was found: events by type, rejected rows by reason with an example of each, ignored records by kind.

    `first_ms` and `last_ms` are event times in ms since the epoch, `visitors` how many different ones (a million at
    most are told apart); `samples` are the first events, for people. `findings` are events about which something is
    odd, by what (docs/quality.md).
    """

    source: str
    format: str
    why: str
    events: dict[str, int]
    rejected: dict[str, int]
    examples: dict[str, Example]
    ignored: dict[str, int]
    visitors: int
    first_ms: int | None
    last_ms: int | None
    in_time_order: bool
    samples: list[dict[str, Any]]
    findings: dict[str, int]

    def to_json(self) -> str:
        """One JSON object on one line."""
        return msgspec.json.encode(self).decode()

    def to_text(self) -> str:
        """Some lines for people."""
        events, rejected, ignored = (sum(counts.values()) for counts in (self.events, self.rejected, self.ignored))
        lines = [
            f"{self.source} is {self.format}: {self.why}",
            f"  {events:,} events, {rejected:,} rejected rows, {ignored:,} ignored records",
        ]
        if self.first_ms is not None and self.last_ms is not None:
            order = "in time order" if self.in_time_order else "not in time order (a replay sorts it first)"
            lines.append(f"  {self.visitors:,} visitors, {_moment(self.first_ms)} to {_moment(self.last_ms)}, {order}")
        lines += _listed("events", self.events)
        for reason, count in self.rejected.items():
            example = self.examples[reason]
            lines += [f"  rejected as {reason}: {count:,}", f"    row {example.row}: {example.detail}"]
        lines += _listed("ignored", self.ignored)
        lines += _listed("odd", self.findings)
        if self.samples:
            lines.append("  first events (ids hashed)")
            lines += ["    " + "  ".join(f"{name}={value}" for name, value in one.items()) for one in self.samples]
        return "\n".join(lines)


def check(
    source: Source, *, why: str, limit: int | None, samples: int, progress: Callable[[str, int, int], None]
) -> Check:
    """Read a file that has been opened.

    Parameters
    ----------
    why
        How its format is known, in words.
    limit
        Events and rejected rows to look at, at most; None is all.
    samples
        Events to show.
    progress
        Told now and then: the phase, bytes read, of how many.

    Raises
    ------
    SourceError
        If the file turns out damaged.
    """
    events: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    examples: dict[str, Example] = {}
    visitors: set[int] = set()
    first: list[dict[str, Any]] = []
    times = _Times()
    findings = Findings(source.format.name)
    for count, row in enumerate(islice(source, limit)):
        if count % _ROWS_PER_REPORT == 0:
            progress("checking", source.read_bytes, source.size_bytes)
        if isinstance(row.result, Rejected):
            rejected[row.result.reason] += 1
            examples.setdefault(row.result.reason, Example(row=row.number, detail=row.result.detail))
            findings.unknown_types(is_unknown_type(row.result))
            continue
        events[row.result.event_type] += 1
        times.take(row.result)
        findings.event(row.result, received_ms=None)
        if len(visitors) < _VISITORS_MAX:
            visitors.add(hash(row.result.visitor_id))
        if len(first) < samples:
            first.append({"row": row.number, **_shown(row.result)})
    return Check(
        source=str(source.path),
        format=source.format.name,
        why=why,
        events=dict(events.most_common()),
        rejected=dict(rejected.most_common()),
        examples=examples,
        ignored=dict(source.ignored.most_common()),
        visitors=len(visitors),
        first_ms=times.first,
        last_ms=times.last,
        in_time_order=times.in_order,
        samples=first,
        findings={name: findings.counts[name] for name in FINDINGS if findings.counts[name]},
    )


class _Times:
    """The first and last event time, and whether they came in order."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self.in_order = True

    def take(self, event: Event) -> None:
        time = event.event_time
        assert isinstance(time, int)  # adapters have made it so
        self.first = time if self.first is None else min(self.first, time)
        self.in_order &= self.last is None or time >= self.last
        self.last = time if self.last is None else max(self.last, time)


def _shown(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in Event.__struct_fields__:
        value = getattr(event, name)
        if value is None or name == "event_id":
            continue
        if name in _HASHED:
            value = blake2b(value.encode(), digest_size=3).hexdigest()
        elif name in _ADDRESSES:
            value = value.partition("?")[0].partition("#")[0][:80]
        elif name == "event_time":
            value = _moment(value)
        shown[name] = value
    return shown


def _listed(title: str, counts: dict[str, int]) -> list[str]:
    return [f"  {title}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())] if counts else []


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
