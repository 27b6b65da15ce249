"""The input of a run: what visitors do, when it arrives, and what of it is broken, late, or told twice."""

from __future__ import annotations

import json
import random
from typing import Any, Final, NamedTuple

from tests.simulation.loop import EPOCH_S

GAP_MS: Final = 3_000
GRACE_MS: Final = 300
#: Longer than most pauses within a session, and much shorter than its end.
QUIET_MS: Final = 400

#: Of the event that comes when all is calm.
LAST_EVENT_ID: Final = "last"

_KINDS: Final = ("view_item",) * 6 + ("search", "add_to_cart", "add_to_cart", "purchase")
#: Event time between two events, in ms: within a session, out of order, late, past a session's end.
_STEPS_MS: Final = (0, 25, 100, 200, 400, 750, -150, -450, 1_500, 3_500)
#: From the time of the newest event to a checkout that is told: early, at once, after its session's end.
_TOLD_MS: Final = (500, 0, 0, -250, -1_000, -4_000, -8_000)


class Arrival(NamedTuple):
    """A record, and when it reaches its topic."""

    time: float
    topic: str
    partition: int
    timestamp: int
    key: bytes
    value: bytes


class Input(NamedTuple):
    """All that arrives, in order of time; of each partition the ids that must be scored, and the last event time."""

    arrivals: list[Arrival]
    events: dict[int, set[str]]
    clocks: dict[int, int]


def draw_input(chance: random.Random, *, partitions: int, events_topic: str, labels_topic: str, broken: float) -> Input:
    """Two to six visitors in each partition, 20 to 80 events in all, over a few seconds."""
    arrivals: list[Arrival] = []
    ids: dict[int, set[str]] = {}
    clocks: dict[int, int] = {}
    total = chance.randint(20, 80)
    for partition in range(partitions):
        found: list[Arrival] = []
        ids[partition] = set()
        visitors = [f"v{partition}{name}" for name in "abcdef"[: chance.randint(2, 6)]]
        time = 0.2 + chance.random()
        # A live shop's events tell the time at which they arrive; a replay's come faster than they happened.
        live = chance.random() < 0.4
        clock = int(EPOCH_S * 1000) - (0 if live else 100_000)
        orders = 0
        known: list[tuple[str, str, int]] = []
        for number in range(max(6, total // partitions)):
            time += chance.choice((0.0, 0.0, 0.02, 0.1, 0.3))
            if chance.random() < 0.03:
                # Nobody comes for a while: the clock ends sessions.
                pause = chance.uniform(1.5, 5.0)
                time += pause
                clock += int(pause * 1000 * chance.choice((1.0, 1.0, 0.3)))
            clock += chance.choice(_STEPS_MS)
            if live:
                clock = int((EPOCH_S + time) * 1000) - chance.choice((0, 0, 0, 50, 200, 500))
            stamp = int((EPOCH_S + time) * 1000)
            drawn = chance.random()
            if drawn < broken:
                found.append(Arrival(time, events_topic, partition, stamp, b"k", b"not JSON %d" % number))
                continue
            if drawn < broken + 0.05 and found:
                again = chance.choice(found[-6:])
                if again.topic == events_topic:
                    found.append(again._replace(time=time, timestamp=stamp))
                    continue
            visitor = chance.choice(visitors)
            if drawn < broken + 0.13:
                label: dict[str, Any] = {"visitor_id": visitor, "checkout_time": clock + chance.choice(_TOLD_MS)}
                if known and chance.random() < 0.3:
                    # An order that was told or bought before: taken back, or told once more.
                    label["visitor_id"], label["order_id"], label["checkout_time"] = chance.choice(known)
                    label["kind"] = chance.choice(("refund", "refund", "cancel", "checkout"))
                else:
                    orders += 1
                    label["order_id"] = f"o{partition}-{orders}"
                    known.append((visitor, label["order_id"], label["checkout_time"]))
                visitor = label["visitor_id"]
                value = json.dumps(label).encode()
                if chance.random() < 0.1:
                    value = b"{"
                found.append(Arrival(time, labels_topic, partition, stamp, visitor.encode(), value))
                continue
            event: dict[str, Any] = {
                "event_id": f"e{partition}-{number}",
                "event_type": chance.choice(_KINDS),
                "event_time": clock - (chance.choice((500, 4_000)) if chance.random() < 0.05 else 0),
                "visitor_id": visitor,
                "item_id": f"i{chance.randrange(4)}",
                "category": chance.choice("xyz"),
                "price": 9.5,
            }
            if chance.random() < 0.1:
                event["session_id"] = f"{visitor}-s{chance.randrange(2)}"
            if event["event_type"] == "purchase" and chance.random() < 0.6:
                orders += 1
                event["order_id"] = f"o{partition}-{orders}"
                known.append((visitor, event["order_id"], event["event_time"]))
            ids[partition].add(str(event["event_id"]))
            found.append(Arrival(time, events_topic, partition, stamp, visitor.encode(), json.dumps(event).encode()))
        arrivals += found
        clocks[partition] = clock
    arrivals.sort(key=lambda arrival: arrival.time)
    return Input(arrivals, ids, clocks)


def last_event(topic: str, partition: int, time: float, clock: int) -> Arrival:
    """One more event, of a visitor that nobody has seen before: it comes now, and tells the time `clock`."""
    now_ms = int((EPOCH_S + time) * 1000)
    visitor = f"v{partition}z"
    event = {"event_id": LAST_EVENT_ID, "event_type": "view_item", "event_time": clock, "visitor_id": visitor}
    return Arrival(time, topic, partition, now_ms, visitor.encode(), json.dumps(event).encode())
