"""What is found at the door: each finding its count by source, and a second currency its line, once."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from producers.findings import FINDINGS
from stream_app.collect.core.reading import Reading
from stream_app.collect.observe import CollectObserver
from stream_app.core.events import Event
from stream_app.door_findings import DoorFindings
from stream_app.ingest.adapting import adapt, gather
from stream_app.ingest.observe import IngestObserver
from stream_app.metrics import Metrics
from tests.ingest.raw import NOW_MS, Raw, ga4
from tests.ingest.test_adapting import GA4, OPEN


def event(n: int, **fields: object) -> Event:
    given = {"event_id": f"e{n}", "event_type": "view_item", "event_time": NOW_MS, "visitor_id": "v", **fields}
    return Event(**given)  # type: ignore[arg-type]


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_series_are_there_before_anything_was_found() -> None:
    registry = CollectorRegistry()
    door = DoorFindings(Metrics(registry, collector=True))
    door.event("shop", event(0), received_ms=NOW_MS)
    assert value(registry, "intent_door_events_total", source="shop") == 1
    for finding in FINDINGS:
        assert value(registry, "intent_door_findings_total", source="shop", finding=finding) == 0


def test_each_source_is_counted_by_itself_and_too_many_together() -> None:
    registry = CollectorRegistry()
    door = DoorFindings(Metrics(registry, collector=True))
    for n in range(70):
        door.event(f"key {n}", event(n, bot=True), received_ms=NOW_MS)
    assert value(registry, "intent_door_findings_total", source="key 63", finding="bot") == 1
    assert value(registry, "intent_door_findings_total", source="key 64", finding="bot") is None
    assert value(registry, "intent_door_findings_total", source="(other)", finding="bot") == 6


def test_a_source_that_mixes_currencies_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="stream_app")
    registry = CollectorRegistry()
    door = DoorFindings(Metrics(registry, collector=True))
    for n, currency in enumerate(("EUR", "USD", "PLN", "EUR")):
        door.event("shop", event(n, price=1.0, currency=currency), received_ms=NOW_MS)
    assert value(registry, "intent_door_findings_total", source="shop", finding="currency_mixed") == 2
    assert [record.msg for record in caplog.records] == ["currency_mixed source=shop first=EUR now=USD"]


def test_on_the_ingest_the_source_is_the_raw_topic() -> None:
    registry = CollectorRegistry()
    observer = IngestObserver(registry)
    ahead = ga4("c-1", "page_view", "scroll", time_ms=NOW_MS + 3_600_000)
    records = [Raw(ahead), Raw(ga4("c-1", "page_view"), offset=1)]
    batch = gather(adapt(records, GA4, OPEN, now_ms=NOW_MS), partition_of=lambda key: 0)
    observer.written(3, batch, topic="raw.clicks", now_ms=NOW_MS)
    told = {finding: value(registry, "intent_door_findings_total", source="raw.clicks", finding=finding)
            for finding in FINDINGS}  # fmt: skip
    assert told == {**dict.fromkeys(FINDINGS, 0.0), "clock_ahead": 1.0, "unknown_type": 1.0}
    assert value(registry, "intent_door_events_total", source="raw.clicks") == 2


@pytest.mark.parametrize(("behind_ms", "finding"), [(9_000, "clock_behind"), (-9_000, "clock_ahead")])
def test_on_the_collector_the_source_is_the_write_key(behind_ms: int, finding: str) -> None:
    registry = CollectorRegistry()
    observer = CollectObserver(registry)
    events = [event(0, bot=True), event(1)]
    reading = Reading("canonical", events, [], [], moved=2, behind_ms=behind_ms, unknown_types=3)
    observer.taken(reading, 0.1, source="app", received_ms=NOW_MS)
    found = {"bot": 1.0, finding: 2.0, "unknown_type": 3.0}
    told = {name: value(registry, "intent_door_findings_total", source="app", finding=name) for name in FINDINGS}
    assert told == {**dict.fromkeys(FINDINGS, 0.0), **found}
