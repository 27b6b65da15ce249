"""What the live page shows, put together once a second while somebody looks, and not at all otherwise.

Worker and trainer are asked, the aggregate (`live.shop`) reads what has come, and Redis is asked for the reasons of the
few sessions that are shown. That is a task of its own: whoever looks waits for the next second, never for a server.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from stream_app import __version__
from stream_app.core.effects import Effects
from stream_app.histogram import HistogramSeries, quantile
from stream_app.live.model_facts import number, served_facts
from stream_app.live.names import VisitorNames
from stream_app.live.sessions import BOUNDS, LiveSession
from stream_app.live.shop import READ_PER_SECOND_MAX, LiveShop
from stream_app.live.views import checkout_row, session_row
from stream_app.settings import DEVELOPMENT_KEY, Settings
from stream_app.trainer import Trainer
from stream_app.web.health import Health
from stream_app.web.quality_reading import QualityReading
from stream_app.web.reasons_now import ReasonsNow
from stream_app.web.visitor_reading import VisitorReading
from stream_app.worker import Worker

_log = logging.getLogger("stream_app")

#: Pause after a failure, in seconds.
_AGAIN_S: Final = 5.0

#: Between two messages, in seconds.
MESSAGE_S: Final = 1.0
#: Between two looks at what has come: the worker's own batches are not held up for longer than one slice takes.
_TURN_S: Final = 0.25
#: Records read before the event loop gets its turn, about a millisecond.
_SLICE: Final = 400

#: What a message waits for reasons, in seconds.
_ASK_S: Final = 0.2

#: Rows of a list in a message.
ROWS: Final = 12
CHECKOUTS: Final = 8

#: Latencies are those of so many messages.
_LATENCY_MESSAGES: Final = 10


class LiveFeed:
    """Serves the page's data; `take` is to hear of every batch of the worker, where there is one."""

    def __init__(
        self,
        settings: Settings,
        health: Health,
        *,
        worker: Worker | None,
        trainer: Trainer | None,
        latency: HistogramSeries,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._health, self._worker = settings, health, worker
        self._monotonic, self._latency = monotonic, latency
        self.shop = LiveShop(VisitorNames(_salt(settings), show_ids=settings.web_show_visitors))
        self.reading = VisitorReading(settings)
        self.reasons = ReasonsNow(self.reading)
        self.quality = QualityReading(settings, trainer)
        self._since = int(time.time() * 1000)
        self._latencies: deque[list[int]] = deque(maxlen=_LATENCY_MESSAGES + 1)
        self._served = -1
        self._served_at = monotonic()
        #: (order, band) of the lists asked for since the last message, and the message for each
        self._lists: dict[tuple[str, str | None], float] = {}
        self._messages: dict[tuple[str, str | None], bytes] = {}
        self._told = asyncio.Condition()
        self._told_count = 0
        self._asking: asyncio.Task[None] | None = None

    def take(self, effects: Effects, partition: int) -> None:
        """After every batch."""
        self.shop.take(effects, partition, now=self._monotonic())

    async def run(self) -> None:
        """Until cancelled. What fails here is said once and begun anew: a page is never to harm the scoring."""
        try:
            while True:
                try:
                    await self._feed()
                except Exception as error:
                    _log.error("event=live_page_failed error=%s: %s", type(error).__name__, error)
                    self.shop.forget()
                    await asyncio.sleep(_AGAIN_S)
        finally:
            if self._asking is not None:
                self._asking.cancel()
                await asyncio.gather(self._asking, return_exceptions=True)
            await self.reading.close()

    async def _feed(self) -> None:
        next_message = self._monotonic()
        while True:
            await asyncio.sleep(_TURN_S)
            now = self._monotonic()
            if not self.shop.watched(now):
                self._latencies.clear()
                continue
            await self._catch_up(READ_PER_SECOND_MAX * _TURN_S)
            if now >= next_message:
                next_message = max(next_message + MESSAGE_S, now)
                await self._tell(now)

    async def look(self) -> None:
        """Somebody asks: what has come is read first."""
        self.shop.look(self._monotonic())
        self._own()
        await self._catch_up(float(READ_PER_SECOND_MAX))

    async def next_message(self, order: str, band: str | None, after: int) -> tuple[int, bytes]:
        """The next message later than number `after`, as JSON."""
        self.shop.look(self._monotonic())
        self._lists[order, band] = self._monotonic()
        async with self._told:
            while self._told_count <= after:
                await self._told.wait()
        if (order, band) not in self._messages:
            self._messages[order, band] = self._message(order, band)
        return self._told_count, self._messages[order, band]

    # ---- what is told -----------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """`/api/stats`."""
        now = self._monotonic()
        self._own()
        ready, components = self._health.ready()
        stats = self.shop.stats(now=now)
        stats["histogram"] = {"bounds": BOUNDS, "counts": stats["histogram"]}
        return {
            "version": __version__,
            "now": int(time.time() * 1000),
            "since": self._since,
            "ready": ready,
            "components": components,
            "scope": self._scope(),
            "visitors": "ids" if self.shop.names.show_ids else "hashed",
            **stats,
            "latency": self._recent_latency(),
            "lag_records": self._lag(),
            "model": self.served(now),
        }

    def rows(self, order: str, *, band: str | None, limit: int) -> list[dict[str, Any]]:
        """The first sessions by an order, as they are listed."""
        rows = []
        for session in self.shop.sessions.top(order, band=band, limit=limit):
            row = session_row(session)
            row["reasons"] = self.reasons.of(session) or row["reasons"]
            rows.append(row)
        return rows

    def checkouts(self, limit: int) -> list[dict[str, Any]]:
        """The newest checkouts."""
        return [checkout_row(checkout) for checkout in self.shop.checkouts.newest(limit)]

    def served(self, now: float) -> dict[str, Any] | None:
        """The model that scores here; None without a worker."""
        if self._worker is None:
            return None
        model = self._worker.follower.model
        if model.version != self._served:
            self._served, self._served_at = model.version, now
        facts = served_facts(model)
        # While no bands came with the model those of the settings are in force.
        facts["fence_min"] = facts["fence_min"] or self._settings.band_fence_min
        facts["likely_min"] = facts["likely_min"] or self._settings.band_likely_min
        return {**facts, "unchanged_seconds": round(now - self._served_at, 1)}

    def model(self) -> dict[str, Any]:
        """`/api/model`."""
        return {
            "served": self.served(self._monotonic()),
            "learner": self.quality.facts,
            "problem": self.quality.problem,
        }

    async def ask_quality(self) -> None:
        """Have the quality asked for, if it is time to."""
        await self.quality.refresh(self._monotonic())

    def partitions(self) -> list[int]:
        """Those of this worker now."""
        return sorted(self._worker.partitions) if self._worker is not None else []

    @property
    def serving_model(self) -> Any:
        """The worker's `ServingModel`; None without a worker."""
        return self._worker.follower.model if self._worker is not None else None

    # ---- inside -----------------------------------------------------------------------------------------------------

    async def _catch_up(self, records: float) -> None:
        while records > 0:
            part = min(float(_SLICE), records)
            if self.shop.catch_up(part, now=self._monotonic()) > 0:
                return
            records -= part
            await asyncio.sleep(0)

    async def _tell(self, now: float) -> None:
        self._lists = {asked: then for asked, then in self._lists.items() if now - then < 3 * MESSAGE_S}
        if self._asking is None or self._asking.done():
            asked, self._asking = self._asking, None
            if asked is not None:
                asked.result()
            self._asking = asyncio.create_task(self._ask(), name="live-page-asks")
        # Redis answers in a millisecond; where it does not, the message goes without.
        await asyncio.wait({self._asking}, timeout=_ASK_S)
        self._latencies.append(list(self._latency.counts))
        async with self._told:
            self._messages.clear()
            self._told_count += 1
            self._told.notify_all()

    async def _ask(self) -> None:
        """What may take a while: Redis and Kafka may be away."""
        model = self.serving_model
        if model is not None:
            listed: dict[str, LiveSession] = {}
            for order, band in list(self._lists):
                found = self.shop.sessions.top(order, band=band, limit=ROWS)
                listed.update((session.session_id, session) for session in found)
            await self.reasons.refresh(listed.values(), model)
        await self.ask_quality()

    def _message(self, order: str, band: str | None) -> bytes:
        return msgspec.json.encode(
            {
                "stats": self.stats(),
                "sessions": self.rows(order, band=band, limit=ROWS),
                "checkouts": self.checkouts(CHECKOUTS),
                "checkouts_seen": self.shop.checkouts.seen,
                "model": self.model(),
            }
        )

    def _own(self) -> None:
        if self._worker is not None:
            self.shop.own(set(self._worker.partitions))

    def _scope(self) -> dict[str, Any]:
        return {
            "worker": self._worker is not None,
            "partitions": self.partitions(),
            "of": self.shop.partitions or None,
        }

    def _lag(self) -> int | None:
        """Records that wait in Kafka; None while that is not known."""
        if self._worker is None:
            return None
        lags = [partition.log.lag() for partition in self._worker.partitions.values()]
        return sum(lags) if lags and min(lags) >= 0 else None

    def _recent_latency(self) -> dict[str, float | int | None]:
        """From when Kafka got an event until its score was acknowledged, over the last messages."""
        counts = self._latency.counts
        before = self._latencies[0] if self._latencies else counts
        new = [count - old for count, old in zip(counts, before, strict=True)]
        return {
            "p50_seconds": number(quantile(self._latency.bounds, new, 0.5)),
            "p99_seconds": number(quantile(self._latency.bounds, new, 0.99)),
        }


def _salt(settings: Settings) -> bytes:
    """A secret that all workers share, so that a visitor has one name; where there is none, one of this process."""
    key = settings.snapshot_key.get_secret_value()
    return secrets.token_bytes(32) if key == DEVELOPMENT_KEY else key.encode()
