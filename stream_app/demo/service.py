"""The demo's own part of the process: it feeds the events, shows how the run stands, and ends it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from mode import Service

from producers.offer_reading import OfferReading
from producers.replay import replay
from producers.sink import KafkaSink, SinkError
from producers.source import SourceError
from producers.summary import Summary
from producers.synthetic.answering import Answering
from producers.synthetic.feed import feed
from producers.synthetic.shop import Shop
from stream_app.backends.ports import LogError
from stream_app.bootstrap import Deployment
from stream_app.demo.discounting import READ_S_MAX, DiscountProcess, experiment
from stream_app.demo.order import File, Order
from stream_app.demo.sink import BACKLOG_EVENTS_MAX, HeldBackSink
from stream_app.demo.status import Status, Watch
from stream_app.demo.tally import Tally

#: Where the shop's own time begins, 1 January 2025: fixed, so that a seed alone fixes the stream.
_START_MS: Final = 1_735_689_600_000
#: Event time runs this much faster than the clock: so fast that the pause that ends a session passes in six seconds
#: (`discounting.SETTINGS`), and so slowly that an offer finds somebody, although it takes half a second.
_SPEED: Final = 100.0
#: Events of an average visit to the shop.
_EVENTS_PER_VISIT: Final = 4.6
#: Rate that the shop's size is made for where the rate has no limit, in events per second.
_UNPACED_RATE: Final = 4_000.0
#: A short run shall see sessions end, too: it covers at least so many hours of the shop's time.
_HOURS_MIN: Final = 6.0
#: Part of the checkouts comes as labels from the order system, minutes later, so that both ways are seen.
_LABEL_SHARE: Final = 0.2

#: Examples that may wait for the trainer: 2 kB each, and the embedded Kafka keeps 20 MB of them.
_EXAMPLES_BEHIND_MAX: Final = 3_000

#: Without any progress for so long while the last scores are awaited, in seconds, something is wrong.
_DRAIN_STUCK_S: Final = 10.0
#: What a stopped run may take to score what was sent, in seconds; all in all it has ten.
_DRAIN_STOPPED_S: Final = 3.0
#: What is still to be sent before that, in seconds.
_FLUSH_S: Final = 0.5
#: The embedded Kafka answers a fetch with one batch of each partition, so single events would crawl; in ms.
_LINGER_MS: Final = 50
_LOOK_S: Final = 0.02


class DemoService(Service):
    """Feeds and shows; asks the process to stop when it is done.

    Parameters
    ----------
    deployment
        Worker and trainer, both in this process.
    order
        What to run.
    show
        Called with the status, every `show_s` seconds.
    discounts
        Decides about offers, which the shop answers; None where nobody is offered anything.
    """

    def __init__(
        self,
        deployment: Deployment,
        order: Order,
        *,
        show: Callable[[Status], None],
        show_s: float,
        discounts: DiscountProcess | None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        assert deployment.worker is not None
        assert deployment.trainer is not None
        self._deployment = deployment
        self._worker, self._trainer = deployment.worker, deployment.trainer
        self._order = order
        self._show, self._show_s = show, show_s
        self._discounts = discounts
        self._experiment: dict[str, Any] | None = None
        self._stop_feed = asyncio.Event()
        self._feeding: asyncio.Task[None] | None = None
        self.tally = Tally()
        trainer = deployment.trainer
        self.watch = Watch(self.tally, deployment.observer.end_to_end, lambda: trainer.learner)
        self.watch.wanted = order.events
        #: Why the run could not be done, one line; empty when all is well.
        self.failure = ""

    async def on_start(self) -> None:
        """Begin to feed as soon as the worker is ready."""
        self._worker.listen(self.tally.take)
        self._feeding = asyncio.create_task(self._run(), name="demo-feed")

    async def on_stop(self) -> None:
        """End the feed, and let what was sent be scored."""
        self._stop_feed.set()
        if self._feeding is not None:
            await asyncio.wait({self._feeding}, timeout=_DRAIN_STOPPED_S + READ_S_MAX + _FLUSH_S)
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        self.watch.phase = "stopped"

    @Service.task
    async def _showing(self) -> None:
        while not self.should_stop:
            self._show(self.watch.status())
            await self.sleep(self._show_s)

    async def _run(self) -> None:
        try:
            await self._until_ready()
            if not self._stop_feed.is_set():
                await self._feed()
                await self._drain()
                if self._discounts is not None:
                    self.failure = self.failure or self._discounts.problem
                    self._experiment = await experiment(self._deployment.settings)
        except (SinkError, SourceError, LogError) as error:
            self.failure = str(error)
        except Exception as error:
            self.failure = f"the demo's feed failed: {type(error).__name__}: {error}"
            raise
        finally:
            self.watch.end()
            if not self.should_stop:
                # Ended as by Ctrl-C: there is one way to stop, whoever asks for it.
                signal.raise_signal(signal.SIGTERM)

    async def _until_ready(self) -> None:
        while not (self._deployment.health.ready()[0] or self._stop_feed.is_set()):  # noqa: ASYNC110 (asked, never told)
            await asyncio.sleep(_LOOK_S)

    async def _feed(self) -> None:
        settings, order, watch = self._deployment.settings, self._order, self.watch
        async with KafkaSink(
            settings.kafka_bootstrap, topic_prefix=settings.topic_prefix, linger_ms=_LINGER_MS
        ) as kafka:
            sink = HeldBackSink(
                kafka,
                is_full=self._is_full,
                stop=self._stop_feed,
                rate=order.rate if order.file is not None else None,
            )
            watch.begin()
            ending = asyncio.create_task(self._end_after(order.duration_s))
            counting = asyncio.create_task(self._count(sink))
            try:
                summary = await (self._replay(sink, order.file) if order.file is not None else self._shop(sink))
            finally:
                ending.cancel()
                counting.cancel()
                await asyncio.gather(ending, counting, return_exceptions=True)
                self._look(sink)
            watch.rejected_rows.update(summary.rejected)

    async def _shop(self, sink: HeldBackSink) -> Summary:
        order, watch = self._order, self.watch
        shop = Shop(
            seed=order.seed,
            start_ms=_START_MS,
            sessions_per_hour=sessions_per_hour(rate=order.rate, events=order.events),
            label_share=_LABEL_SHARE,
        )

        async with OfferReading(self._deployment.settings) as reading:
            answering = Answering(shop, reading.newest)

            def progress(sent: int, event_time: int) -> None:
                watch.event_time, watch.offers = event_time, answering.counts

            return await feed(
                answering, sink, rate=order.rate, events=order.events, stop=self._stop_feed, progress=progress
            )

    async def _replay(self, sink: HeldBackSink, file: File) -> Summary:
        watch = self.watch

        def progress(phase: str, done: int, total: int) -> None:
            watch.phase = "running" if phase == "sending" else phase

        return await replay(
            file.path, file.format, sink, limit=self._order.events, stop=self._stop_feed, progress=progress
        )

    def facts(self) -> dict[str, Any]:
        """The run's sum, as JSON values; what the offers did is None where there was no experiment."""
        return {**self.watch.overall(), "experiment": self._experiment}

    def _is_full(self, sent: int) -> bool:
        tally = self.tally
        if sent - tally.events_dealt_with > BACKLOG_EVENTS_MAX:
            return True
        return tally.examples_written - sum(self._trainer.learner.offsets.values()) > _EXAMPLES_BEHIND_MAX

    async def _end_after(self, seconds: float | None) -> None:
        if seconds is not None:
            await asyncio.sleep(seconds)
            self._stop_feed.set()

    async def _count(self, sink: HeldBackSink) -> None:
        while True:
            self._look(sink)
            await asyncio.sleep(_LOOK_S)

    def _look(self, sink: HeldBackSink) -> None:
        self.watch.sent, self.watch.labels_sent = sink.events, sink.labels

    async def _drain(self) -> None:
        """Wait until what was sent is scored and what was resolved is learned; not for ever, and less when stopped."""
        self.watch.phase = "finishing"
        begun = moved = time.monotonic()
        before = (-1, -1)
        while True:
            tally = self.tally
            scored = tally.events_dealt_with + tally.labels.total()
            read = sum(self._trainer.learner.offsets.values())
            if scored >= self.watch.sent + self.watch.labels_sent:
                self.watch.end()
                if read >= tally.examples_written:
                    return
            now = time.monotonic()
            if (scored, read) != before:
                before, moved = (scored, read), now
            if now - moved > _DRAIN_STUCK_S:
                self.failure = (
                    f"{self.watch.sent + self.watch.labels_sent - scored} records were not scored and "
                    f"{tally.examples_written - read} examples not learned within {_DRAIN_STUCK_S:g} s"
                )
                return
            if self.should_stop and now - begun > _DRAIN_STOPPED_S:
                return
            await asyncio.sleep(_LOOK_S)


def sessions_per_hour(*, rate: float | None, events: int | None) -> float:
    """How large the shop is, so that its time runs at `_SPEED`, and faster in a run of few events."""
    by_rate = (rate or _UNPACED_RATE) * 3600 / (_EVENTS_PER_VISIT * _SPEED)
    if events is None:
        return max(1.0, by_rate)
    return max(1.0, min(by_rate, events / (_EVENTS_PER_VISIT * _HOURS_MIN)))
