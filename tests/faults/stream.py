"""The stream of all fault runs: a small shop, the same for every run, with sessions that end within it."""

from __future__ import annotations

import time
from itertools import islice
from typing import Final

from producers.synthetic.shop import Shop
from stream_app.core.events import Event

#: Events of a run: enough for dozens of batches, few enough for seconds.
EVENTS: Final = 3_000


def _shop() -> list[Event]:
    # Twenty days ago: no event lies in the future, and none is older than a visitor's history.
    start_ms = int(time.time() * 1000) - 20 * 24 * 3600 * 1000
    shop = Shop(seed=23, start_ms=start_ms - start_ms % 3_600_000, sessions_per_hour=300.0)
    return list(islice((fact for fact in shop if isinstance(fact, Event)), EVENTS))


SHOP: Final = _shop()
