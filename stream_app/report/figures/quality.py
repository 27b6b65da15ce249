"""How good the models are on the file: what `stream-app evaluate` says of its first events."""

from __future__ import annotations

from typing import Any

from stream_app.report.figures.plain import Count, Figure


class Quality(Figure, frozen=True):
    """The evaluation of the first `events` events in the order of the files, at most `events_max`.

    `whole` says whether these are all. `report` is what `stream-app evaluate --json` writes, without single sessions;
    null where it was not asked for or `refused` says why it cannot be.
    """

    events_max: Count
    events: Count
    whole: bool
    refused: str | None
    report: dict[str, Any] | None
