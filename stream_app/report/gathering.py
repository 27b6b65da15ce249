"""Every analysis, fed together in one pass: a history of any length, in memory that does not grow with it.

What is held: events that the watermark has not passed, open episodes and sessions, samples of fixed size, and counts.
Without I/O; files become blocks elsewhere.
"""

from __future__ import annotations

from typing import Final

from stream_app.analytics.block import Block
from stream_app.analytics.episodes import EpisodeRows, Episodes
from stream_app.analytics.exploring import Exploring
from stream_app.analytics.journeys.held_back import HeldBack
from stream_app.analytics.journeys.page_rules import PageRules
from stream_app.analytics.journeys.paths import Paths
from stream_app.analytics.purchase_time import PurchaseTime
from stream_app.analytics.sessions import SessionRows, Sessions
from stream_app.analytics.sources import Sources
from stream_app.analytics.stretches import CUT_OFF, OPEN_MAX
from stream_app.analytics.time_order import TimeOrder
from stream_app.analytics.visitors import Visitors

#: Of what is drawn at random: the clusters' first prototypes.
_SEED: Final = 0


class Gathering:
    """Takes the blocks of a history, in any order; `close` it before it is asked.

    Parameters
    ----------
    gap_ms
        Without an event for longer than this, a session or an episode is over.
    grace_ms
        How much later than others an event may come.
    utc_offset_ms
        The shop's time, for hours, weekdays and days.
    rules
        Which kind of step a page is.
    open_max
        Episodes, and sessions, open at once at most.
    """

    def __init__(
        self, *, gap_ms: int, grace_ms: int, utc_offset_ms: int, rules: PageRules, open_max: int = OPEN_MAX
    ) -> None:
        self._rules = rules
        self.order = TimeOrder(lateness_ms=grace_ms)
        self.episodes = Episodes(timeout_ms=gap_ms, open_max=open_max)
        self.sessions = Sessions(timeout_ms=gap_ms, open_max=open_max)
        self.exploring = Exploring(utc_offset_ms=utc_offset_ms)
        self.purchase_time = PurchaseTime()
        self.sources = Sources()
        self.visitors = Visitors()
        self.paths = Paths()
        self.journeys = HeldBack(seed=_SEED)
        #: of the events taken in, ms UTC; 0 without any
        self.first_ms = self.last_ms = 0

    def add(self, block: Block) -> None:
        """Take in events."""
        self._take(self.order.feed(self._rules.apply(block)))

    def close(self) -> None:
        """There are no more events: what is open ends here."""
        held = self.order.close()
        if held is not None:
            self._take(held)
        episodes, sessions = self.episodes.close(), self.sessions.close()
        if episodes is not None and sessions is not None:
            self._take_episodes(episodes)
            self._take_sessions(sessions)
        self.journeys.close()

    def _take(self, block: Block) -> None:
        if not len(block):
            return
        if not self.first_ms:
            self.first_ms = int(block.time_ms[0])
        self.last_ms = int(block.time_ms[-1])
        self.exploring.add_events(block)
        self._take_episodes(self.episodes.feed(block, watermark_ms=self.order.watermark_ms))
        self._take_sessions(self.sessions.feed(block, watermark_ms=self.order.watermark_ms))

    def _take_episodes(self, rows: EpisodeRows) -> None:
        self.exploring.add_episodes(rows)
        self.purchase_time.add(rows)

    def _take_sessions(self, rows: SessionRows) -> None:
        self.exploring.add_sessions(rows)
        self.sources.add(rows)
        self.visitors.add(rows)
        known = rows.take(~CUT_OFF[rows.closed_by])
        self.paths.add(known)
        self.journeys.add(known)
