"""What the whole shop's closed sessions say, for whoever looks: read from the topics, whichever worker's page it is.

Sessions that are closed come from `sessions.closed.v1`; their steps are in no record but the examples', of which each
outcome's last one tells how its journey went. Both are read back some way at the start, so a restart loses little, and
then followed whether anybody looks or not: what is told is a shop's days, not a viewer's minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from stream_app import topics
from stream_app.backends.clients import KafkaClients
from stream_app.core.features import FEATURE_NAMES, FeatureValues, unpack
from stream_app.core.state import Visitor
from stream_app.live.kinds_of_journey import KindsOfJourney
from stream_app.live.shop_figures import ShopFigures
from stream_app.live.told_sessions import (
    LAST_OF_OUTCOME,
    ClosedTold,
    JourneyTold,
    is_journey,
    read_closed,
    read_journey,
)
from stream_app.settings import Settings
from stream_app.visitor_explained import keys_behind
from stream_app.web.newest_records import TURN_S, NewestRecords

#: Closed sessions read back at the start, 300 bytes each, and examples, 1.7 kB each, of which one in five ends a
#: journey. At the paces below they are there after 25 s, and 20.
SESSIONS_BACK: Final = 50_000
EXAMPLES_BACK: Final = 20_000

#: Records read in a second, at most: together some 4 % of a core.
SESSIONS_PER_SECOND: Final = 2_000
EXAMPLES_PER_SECOND: Final = 1_000

#: Names of each kind that are told.
NAMES_TOLD: Final = 8

#: The facts are worked out anew after so many seconds at most, some milliseconds each time.
FRESH_S: Final = 2.0


class ShopReading:
    """Follows while `run`; `facts` are of what has been read. Without the setting `live_analytics` there is nothing.

    `told` is called after each turn in which something was read.
    """

    def __init__(
        self, settings: Settings, *, told: Callable[[ShopFigures, KindsOfJourney], None] | None = None
    ) -> None:
        self.figures = ShopFigures()
        self.kinds = KindsOfJourney()
        self.wanted = settings.live_analytics
        self._told = told
        clients = KafkaClients(settings)
        self._sessions = NewestRecords(
            clients,
            settings.topic(topics.CLOSED),
            back=SESSIONS_BACK,
            per_second=SESSIONS_PER_SECOND,
            take=self.take_sessions,
        )
        self._examples = NewestRecords(
            clients,
            settings.topic(topics.EXAMPLES),
            back=EXAMPLES_BACK,
            per_second=EXAMPLES_PER_SECOND,
            take=self.take_examples,
        )
        self._worked_out: tuple[float, dict[str, Any]] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        work = (self._sessions.run(), self._examples.run(), self._begin())
        following = [asyncio.create_task(part) for part in work]
        try:
            await asyncio.gather(*following)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    def take_sessions(self, values: Sequence[bytes]) -> None:
        """Take in records of closed sessions; what is none is passed over."""
        found: list[ClosedTold] = []
        for value in values:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                found.append(read_closed(value))
        self.figures.take(found)
        self._tell()

    def take_examples(self, values: Sequence[bytes]) -> None:
        """Take in examples; only those that end an outcome are decoded."""
        found: list[JourneyTold] = []
        for value in values:
            if LAST_OF_OUTCOME in value:
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    told = read_journey(value)
                    if is_journey(told):
                        found.append(told)
        self.kinds.take(found)
        self._tell()

    def kind_of(self, visitor: Visitor) -> int | None:
        """The kind of journey that the visitor's newest event is on; None while that is not known."""
        last = visitor.last_score
        keys = keys_behind(visitor, last) if last is not None and self.kinds.begun else None
        if last is None or keys is None:
            return None
        features = FeatureValues(**dict(zip(FEATURE_NAMES, unpack(last.x), strict=True)))
        return self.kinds.number(JourneyTold(last.event_time, features, keys))

    def facts(self, now: float) -> dict[str, Any]:
        """As JSON values; `now` in seconds."""
        if self._worked_out is None or now - self._worked_out[0] >= FRESH_S:
            self._worked_out = now, self._facts()
        return self._worked_out[1]

    def _facts(self) -> dict[str, Any]:
        if not self.wanted:
            return {"problem": "switched off by the setting live_analytics", "sessions": None, "journeys": None}
        return {
            "problem": self._sessions.problem or self._examples.problem,
            "reading_back": not (self._sessions.caught_up and self._examples.caught_up),
            "passed_over": self._sessions.passed_over,
            "sessions": self.figures.facts(names=NAMES_TOLD),
            "journeys": self.kinds.facts(),
        }

    def _tell(self) -> None:
        if self._told is not None:
            self._told(self.figures, self.kinds)

    async def _begin(self) -> None:
        """Find the kinds of journeys, once there are enough of them."""
        while not self.kinds.begun:
            await asyncio.sleep(TURN_S)
            if self.kinds.can_begin and self._examples.caught_up:
                # In a thread: it takes half a second, and nothing would be scored meanwhile.
                self.kinds.begun_with(await asyncio.to_thread(self.kinds.begin, self.kinds.sample()))
                self._tell()
