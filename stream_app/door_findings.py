"""What is found at the door, by source: each finding its count, and a currency that is not the source's a line."""

from __future__ import annotations

import logging
from typing import Final

from producers.findings import FINDINGS, Findings
from stream_app.core.events import Event
from stream_app.log_lines import Line
from stream_app.metrics import Metrics

_LOG: Final = logging.getLogger("stream_app")

#: Sources told apart; the others are one more. A collector has a source for each write key.
_SOURCES_MAX: Final = 64
_OTHERS: Final = "(other)"


class DoorFindings:
    """Counts by source, in the families of the section `At the door`."""

    def __init__(self, metrics: Metrics) -> None:
        self._events = metrics.counter("intent_door_events_total")
        self._found = metrics.counter("intent_door_findings_total")
        self._sources: dict[str, Findings] = {}
        self._told: set[str] = set()

    def event(self, source: str, event: Event, *, received_ms: int | None) -> None:
        """An event was let in."""
        findings = self._of(source)
        self._events.labels(findings.source).inc()
        for finding in findings.event(event, received_ms=received_ms):
            self._found.labels(findings.source, finding).inc()
            if finding == "currency_mixed" and findings.source not in self._told:
                self._told.add(findings.source)
                _LOG.warning(
                    Line("currency_mixed", source=findings.source, first=findings.currency, now=event.currency)
                )

    def unknown_types(self, source: str, count: int) -> None:
        """So much came of types that are none of ours."""
        if count:
            findings = self._of(source)
            findings.unknown_types(count)
            self._found.labels(findings.source, "unknown_type").inc(count)

    def wrong_clock(self, source: str, events: int, *, behind_ms: int) -> None:
        """So many events were moved, because their sender's clock is wrong."""
        if events:
            findings = self._of(source)
            self._found.labels(findings.source, findings.wrong_clock(events, behind_ms=behind_ms)).inc(events)

    def _of(self, source: str) -> Findings:
        name = source if source in self._sources or len(self._sources) < _SOURCES_MAX else _OTHERS
        findings = self._sources.get(name)
        if findings is None:
            findings = self._sources[name] = Findings(name)
            # Series that begin with their first count would hide it from a rate.
            self._events.labels(name)
            for finding in FINDINGS:
                self._found.labels(name, finding)
        return findings
