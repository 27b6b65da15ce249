"""What the live page shows, put together twice a second while somebody looks, and not at all otherwise.

Worker and trainer are asked, the aggregate (`live.shop`) reads what has come, and Redis is asked for the reasons of the
few sessions that are shown. That is a task of its own: whoever looks waits for the next message, never for a server.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from stream_app import __version__
from stream_app.core.effects import Effects
from stream_app.core.state import Visitor
from stream_app.histogram import HistogramSeries, quantile
from stream_app.live.kinds_of_journey import KindsOfJourney
from stream_app.live.model_facts import number, served_facts
from stream_app.live.names import VisitorNames
from stream_app.live.notices import Said, notice_facts, notices
from stream_app.live.offers import offer_row
from stream_app.live.sessions import BOUNDS, LiveSession
from stream_app.live.shop import READ_PER_SECOND_MAX, LiveShop
from stream_app.live.shop_figures import ShopFigures
from stream_app.live.signs import Signs
from stream_app.live.views import checkout_row, session_row
from stream_app.settings import DEVELOPMENT_KEY, Settings
from stream_app.trainer import Trainer
from stream_app.web.health import Health
from stream_app.web.offers_reading import OffersReading
from stream_app.web.quality_reading import QualityReading
from stream_app.web.reasons_now import ReasonsNow
from stream_app.web.shop_reading import ShopReading
from stream_app.web.visitor_reading import VisitorReading
from stream_app.worker import Worker

_log = logging.getLogger("stream_app")

#: Pause after a failure, in seconds.
_AGAIN_S: Final = 5.0

#: Between two messages, in seconds.
MESSAGE_S: Final = 0.5
#: Between two looks at what has come: the worker's own batches are not held up for longer than one slice takes.
_TURN_S: Final = 0.25
#: Records read before the event loop gets its turn, about a millisecond.
_SLICE: Final = 400

#: What a message waits for reasons, in seconds.
_ASK_S: Final = 0.2

#: Rows of a list in a message.
ROWS: Final = 12
CHECKOUTS: Final = 8
OFFERS: Final = 8

#: Latencies are those of so many messages.
_LATENCY_MESSAGES: Final = 20


class LiveFeed:
    """Serves the page's data; `take` is to hear of every batch of the worker, where there is one.

    `longest_wait` says for how many seconds the oldest event that waits has waited, `latency` how long scores took.
    `told` hears of what is known of the shop, see `ShopReading`.
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        *,
        worker: Worker | None,
        trainer: Trainer | None,
        latency: HistogramSeries,
        longest_wait: Callable[[], float],
        told: Callable[[ShopFigures, KindsOfJourney], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._health, self._worker = settings, health, worker
        self._monotonic, self._latency, self._longest_wait = monotonic, latency, longest_wait
        self.shop = LiveShop(VisitorNames(_salt(settings), show_ids=settings.web_show_visitors))
        self.signs = Signs()
        self.reading = VisitorReading(settings)
        self.understanding = ShopReading(settings, told=told)
        self.reasons = ReasonsNow(
            self.reading,
            kind_of=self.understanding.kind_of,
            kinds_begun=lambda: self.understanding.kinds.begun,
        )
        self.quality = QualityReading(settings, trainer)
        self.offering = OffersReading(settings)
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
        now = self._monotonic()
        self.shop.take(effects, partition, now=now)
        self.signs.take(effects, model_version=self._model_version, now=now)

    async def run(self) -> None:
        """Until cancelled. What fails here is said once and begun anew: a page is never to harm the scoring."""
        # Where nothing is scored there are no sessions to tell of.
        follows = self._worker is not None and self.understanding.wanted
        understanding = asyncio.create_task(self._understand(), name="live-page-follows") if follows else None
        try:
            while True:
                try:
                    await self._feed()
                except Exception as error:
                    _failed(error)
                    self.shop.forget()
                    await asyncio.sleep(_AGAIN_S)
        finally:
            if understanding is not None:
                understanding.cancel()
                await asyncio.gather(understanding, return_exceptions=True)
            if self._asking is not None:
                self._asking.cancel()
                await asyncio.gather(self._asking, return_exceptions=True)
            await self.reading.close()
            await self.offering.close()

    async def _understand(self) -> None:
        while True:
            try:
                await self.understanding.run()
            except Exception as error:
                _failed(error)
                await asyncio.sleep(_AGAIN_S)

    async def _feed(self) -> None:
        next_message = self._monotonic()
        while True:
            await asyncio.sleep(_TURN_S)
            now = self._monotonic()
            if not self.shop.watched(now):
                self._latencies.clear()
                await self.offering.close()
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
        now_ms = int(time.time() * 1000)
        ready, components = self._health.ready()
        stats = self.shop.stats(now=now)
        stats["histogram"] = {"bounds": BOUNDS, "counts": stats["histogram"]}
        self.signs.serves(self._model_version)
        found = notices(self.signs, self._said(components, now), now=now)
        return {
            "version": __version__,
            "now": now_ms,
            "since": self._since,
            "ready": ready,
            "components": components,
            "notices": [notice_facts(notice, now=now, now_ms=now_ms) for notice in found],
            "scope": self._scope(),
            "visitors": "ids" if self.shop.names.show_ids else "hashed",
            **stats,
            "latency": self._recent_latency(),
            "lag_records": self._lag(),
            "model": self.served(now),
        }

    def rows(self, order: str, *, band: str | None, limit: int) -> list[dict[str, Any]]:
        """The first sessions by an order, as they are listed."""
        return [self.row(session) for session in self.shop.sessions.top(order, band=band, limit=limit)]

    def row(self, session: LiveSession) -> dict[str, Any]:
        """A session as it is listed: with the reasons in words where they are known, else those of its record."""
        row = session_row(session)
        row["reasons"] = self.reasons.of(session) or row["reasons"]
        row["journey"] = self.reasons.kind(session)
        return row

    def checkouts(self, limit: int) -> list[dict[str, Any]]:
        """The newest checkouts."""
        return [checkout_row(checkout) for checkout in self.shop.checkouts.newest(limit)]

    def offers(self, limit: int) -> dict[str, Any]:
        """The newest offers, by which time some have run out, and why there are none if they cannot be read."""
        newest = self.offering.offers.newest(limit)
        now = int(time.time() * 1000)
        if self._settings.discount_clock == "events":
            # The shop's time is not ours: it has come as far, at the least, as when the newest offer was made.
            now = max((offer.issued_at for offer in newest[:1]), default=now)
        rows = [offer_row(offer, self.shop.names) for offer in newest]
        return {"problem": self.offering.problem, "now": now, "offers": rows}

    def known_of_the_shop(self) -> dict[str, Any]:
        """`/api/shop`."""
        if self._worker is None:
            return {"problem": "the pages of the workers tell of the shop", "sessions": None, "journeys": None}
        return self.understanding.facts(self._monotonic())

    def journey(self, visitor: Visitor) -> dict[str, Any] | None:
        """The kind of the visitor's journey, with what is known of that kind; None while nothing is."""
        number = self.understanding.kind_of(visitor)
        kinds = (self.known_of_the_shop()["journeys"] or {}).get("kinds", [])
        told: list[dict[str, Any]] = [kind for kind in kinds if kind["number"] == number]
        return told[0] if told else None

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
        heard = self._worker.follower.alarm if self._worker is not None else None
        await self.quality.refresh(self._monotonic(), alarm=heard)

    async def ask_offers(self) -> None:
        """Have new offers read."""
        await self.offering.refresh(self._monotonic())

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
        await self.ask_offers()

    def _message(self, order: str, band: str | None) -> bytes:
        return msgspec.json.encode(
            {
                "stats": self.stats(),
                "sessions": self.rows(order, band=band, limit=ROWS),
                "checkouts": self.checkouts(CHECKOUTS),
                "checkouts_seen": self.shop.checkouts.seen,
                "discounts": self.offers(OFFERS),
                "shop": self.known_of_the_shop(),
                "model": self.model(),
            }
        )

    def _own(self) -> None:
        if self._worker is not None:
            self.shop.own(set(self._worker.partitions))

    @property
    def _model_version(self) -> int:
        return self._worker.follower.model.version if self._worker is not None else 0

    def _said(self, components: Mapping[str, Mapping[str, Any]], now: float) -> Said:
        """What worker, trainer and the newest facts of the model say of themselves."""
        owned = self._worker.partitions.values() if self._worker is not None else ()
        waits = [now - since for p in owned if (since := p.behind.waiting_since) is not None]
        drift = (self.quality.facts or {}).get("drift", {})
        return Said(
            not_ready={name: str(said["is"]) for name, said in components.items() if not said["ok"]},
            redis_wait_s=max(waits, default=0.0),
            batches_queued=sum(partition.behind.queued for partition in owned),
            lag_records=self._lag(),
            lag_s=self._longest_wait(),
            changed=drift.get("changed", ()),
        )

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


def _failed(error: Exception) -> None:
    _log.error("event=live_page_failed error=%s: %s", type(error).__name__, error)


def _salt(settings: Settings) -> bytes:
    """A secret that all workers share, so that a visitor has one name; where there is none, one of this process."""
    key = settings.snapshot_keys[0]
    return secrets.token_bytes(32) if key == DEVELOPMENT_KEY.encode() else key
