"""A shop whose visits are of four kinds, as the records that its scorer writes."""

from __future__ import annotations

import json
from functools import cache

import numpy as np

from stream_app.live.told_sessions import JourneyTold, is_journey, read_journey
from tests.core.streams import Partition, crowd, event

#: By kind, from few steps to many: those who bounce, who buy at once, who leave their cart, who compare.
BOUNCES, BUYS, LEAVES, COMPARES = range(4)
SHARES = (0.4, 0.15, 0.2, 0.25)
SOURCES = ("ads", "mail", "search")


@cache
def records(count: int, seed: int) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    """Example records of so many visits that ended a journey, and the kind of each."""
    random = np.random.default_rng(seed)
    planned: list[tuple[float, str, str, str]] = []
    for n, kind in enumerate(random.choice(4, count, p=SHARES).tolist()):
        minute = float(random.uniform(0, 60.0 * count))
        source = SOURCES[
            int(random.choice(3, p=[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.1, 0.1, 0.8]][kind]))
        ]
        for step in _steps(kind, random):
            planned.append((minute, f"{kind}-{n}", step, source))
            minute += float(random.exponential(1.5 if kind == COMPARES else 0.4)) + 0.01
    planned.sort()
    stream = [
        event(n, visitor, step, minute, item_id=f"i{n % 99}", source=source)
        for n, (minute, visitor, step, source) in enumerate(planned)
    ]
    partition = Partition()
    stream += crowd(len(stream), 70.0 * count)
    for start in range(0, len(stream), 500):
        partition.step(stream[start : start + 500])
    told = [
        (json.dumps(record, separators=(",", ":")).encode(), int(record["visitor_id"].split("-")[0]))
        for record in partition.examples
        if record["left"] == 0 and record["features"]["purchases"] == 0
    ]
    values, kinds = zip(*told, strict=True)
    return values, kinds


def journeys(count: int, seed: int) -> tuple[list[JourneyTold], np.ndarray]:
    """The same, read."""
    values, kinds = records(count, seed)
    found = [read_journey(value) for value in values]
    assert all(map(is_journey, found))
    return found, np.array(kinds)


def _steps(kind: int, random: np.random.Generator) -> list[str]:
    if kind == BOUNCES:
        return ["page_view"] * int(random.integers(1, 3))
    if kind == BUYS:
        return ["view_item", "add_to_cart", "begin_checkout", *(["purchase"] if random.random() < 0.8 else [])]
    if kind == LEAVES:
        seen = ["view_item"] * int(random.integers(2, 6))
        return [*seen, "add_to_cart", "view_cart", *["page_view"] * int(random.integers(0, 3))]
    compared = random.choice(["view_item", "search", "view_item_list"], random.integers(8, 25))
    return ["search", *map(str, compared)]
