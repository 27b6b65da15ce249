"""Traces (extra `tracing`): an event whose record carries a W3C `traceparent` header is one span here, from the
broker's timestamp of the event to the acknowledgement of its score, and its score's record carries the header on.

Who made the trace decides whether it is recorded: a header that says "not sampled" is handed on and costs no span.
Events without a header are left alone; a batch without any costs a look at each record. Where spans go is said by
OpenTelemetry's own environment variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, …).

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/; OpenTelemetry semantic conventions for messaging.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from stream_app.backends.clients import Headers
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.core.plan import Record

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

#: Event id → what its score's record carries on.
ScoreHeaders = Mapping[str, Headers]

_TRACEPARENT: Final = "traceparent"
_CARRIED: Final = (_TRACEPARENT, "tracestate")


class Tracing:
    """The spans of a worker. Needs the packages of the extra `tracing`: ImportError says so."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as missing:
            raise ImportError(
                f"got the setting `tracing` and no {missing.name}, expected the packages of the extra: "
                "pip install '.[tracing]'"
            ) from missing
        self._trace, self._context = trace, TraceContextTextMapPropagator()
        self._tracer = tracer or _exporting()

    @contextlib.contextmanager
    def batch(self, events: Sequence[Record]) -> Iterator[ScoreHeaders]:
        """The spans of a batch, ended with it, as failed if it raises."""
        spans: list[Span] = []
        headers: dict[str, Headers] = {}
        for record in events:
            carried = dict(getattr(record, "headers", ()) or ())
            if _TRACEPARENT in carried:
                self._begin(record, carried, spans, headers)
        try:
            yield headers
        except BaseException as error:
            for span in spans:
                span.record_exception(error)
                span.set_status(self._trace.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            for span in spans:
                span.end()

    def _begin(
        self, record: Record, carried: Mapping[str, bytes], spans: list[Span], headers: dict[str, Headers]
    ) -> None:
        event = codec.decode_event(record.value, record_time_ms=record.timestamp)
        if isinstance(event, Rejected) or event.event_id in headers:
            return
        given = {name: carried[name].decode("ascii", "replace") for name in _CARRIED if name in carried}
        span = self._tracer.start_span(
            "score",
            context=self._context.extract(given),
            kind=self._trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(getattr(record, "partition", "")),
                "messaging.kafka.offset": record.offset,
            },
            start_time=record.timestamp * 1_000_000,
        )
        spans.append(span)
        handed_on: dict[str, str] = {}
        self._context.inject(handed_on, context=self._trace.set_span_in_context(span))
        headers[event.event_id] = [(name, value.encode()) for name, value in handed_on.items()]


def _exporting() -> Any:
    """Spans go by OTLP over HTTP, in batches and on a thread of their own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The environment's OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win: `create` merges them over ours.
    provider = TracerProvider(resource=Resource({SERVICE_NAME: "stream-app"}).merge(Resource.create()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("stream_app")
