"""The paths of the collector's port."""

from __future__ import annotations

from typing import Final

from stream_app.collect.core.reading import Expected

EVENTS_PATH: Final = "/v1/events"
SNIPPET_PATH: Final = "/v1/snippet.js"
OPENAPI_PATH: Final = "/openapi.json"

#: Segment's calls; analytics.js shortens them to their first letter.
_CALLS: Final = ("track", "page", "screen", "identify", "group", "alias")

#: Where events are sent to, and what they are expected to be there.
PATHS: Final[dict[str, Expected]] = {
    EVENTS_PATH: Expected(),
    "/v1/batch": Expected("segment"),
    **{f"/v1/{call}": Expected("segment", call) for call in _CALLS},
    **{f"/v1/{call[0]}": Expected("segment", call) for call in _CALLS},
    "/mp/collect": Expected("ga4"),
}
