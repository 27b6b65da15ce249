"""A REES46 file of any length, drawn quickly: for measuring speed and memory, not for anything about shops.

    python -m tests.analytics.large_history 2000000 /tmp/large.csv

Visits begin at random, 8 a second; a visit has a geometric number of events on one item or, after some, another, with
exponential pauses. Rows come out in the order of their times, as in the exports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

_VISITS_PER_S = 8.0
_PAUSE_S = 45.0
_EVENTS = 4.0
_ITEMS, _CATEGORIES, _BRANDS, _VISITORS = 60_000, 400, 900, 3_000_000
_START_S = 1_569_888_000
_HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"


def write(path: Path, events: int, *, seed: int = 0) -> None:
    """Write so many events."""
    with path.open("w") as file:
        file.write(_HEADER + "\n")
        written = 0
        for frame in _frames(np.random.default_rng(seed)):
            part = frame.iloc[: events - written]
            part.to_csv(file, header=False, index=False)
            written += len(part)
            if written == events:
                return


def _frames(random: np.random.Generator, visits: int = 50_000) -> Iterator[pd.DataFrame]:
    """Events in order, visits by visits; what lies after the next visits' beginning is kept for them."""
    start, kept = float(_START_S), pd.DataFrame()
    number = 0
    while True:
        begins = start + np.sort(random.uniform(0.0, visits / _VISITS_PER_S, visits))
        length = random.geometric(1.0 / _EVENTS, visits)
        visit = np.repeat(np.arange(visits), length)
        first = np.r_[True, visit[1:] != visit[:-1]]
        pause = np.where(first, 0.0, random.exponential(_PAUSE_S, len(visit)))
        passed = np.cumsum(pause)
        time = begins[visit] + passed - passed[first][visit]
        # Every third event is about another item than the one before.
        change = np.cumsum(first | (random.random(len(visit)) < 1 / 3))
        item = (random.random(change[-1] + 1) ** 3 * _ITEMS).astype(np.int64)[change]
        kind = random.choice(["view", "cart", "purchase"], len(visit), p=[0.93, 0.05, 0.02])
        frame = pd.DataFrame(
            {
                "time": time,
                "kind": kind,
                "item": 1_000_000 + item,
                "category_id": 2_053_013_552_326_770_905 + item % _CATEGORIES,
                "category": np.char.add("department.shelf.kind", (item % _CATEGORIES).astype(str)),
                "brand": np.char.add("brand", (item % _BRANDS).astype(str)),
                "price": np.round(5 + item % 977 * 1.37, 2),
                "user": 500_000_000 + random.integers(0, _VISITORS, visits)[visit],
                "session": np.char.add("72d76fde-8bb3-4e00-8c23-", np.char.zfill((number + visit).astype(str), 12)),
            }
        )
        number += visits
        start += visits / _VISITS_PER_S
        whole = pd.concat([kept, frame]).sort_values("time", kind="stable")
        kept = whole[whole["time"] >= start]
        ready = whole[whole["time"] < start]
        moments = pd.to_datetime(ready["time"].astype("int64"), unit="s").dt.strftime("%Y-%m-%d %H:%M:%S UTC")
        yield ready.assign(time=moments)


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]))
