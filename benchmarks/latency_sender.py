"""An open-loop sender, a process of its own: event n is due at `begin + n / rate`, whatever became of the others.

    python -m benchmarks.latency_sender --bootstrap B --topic T --rate R --count N --begin EPOCH_SECONDS

Ids say when an event was due (`e17` at begin + 17 / rate), so that who reads a score knows its latency from then on:
also what waited here, because the machine was busy or Kafka was slow, counts. Events are made before the clock starts.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice

import msgspec
from confluent_kafka import Producer

from benchmarks.rig.stream import shop_events
from stream_app.core.codec import encode

#: A shop's visit has about so many events; with it the shop's own pace is the rate.
_EVENTS_A_VISIT = 5.0
#: Between two looks at the clock, in seconds.
_TICK_S = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--begin", type=float, required=True)
    given = parser.parse_args()
    shop = shop_events(11, start_ms=int(given.begin * 1000), sessions_per_hour=given.rate * 3600 / _EVENTS_A_VISIT)
    due_ms = (int((given.begin + n / given.rate) * 1000) for n in range(given.count))
    records = [
        (event.visitor_id.encode(), encode(msgspec.structs.replace(event, event_id=f"e{n}", event_time=at)))
        for n, (event, at) in enumerate(zip(islice(shop, given.count), due_ms, strict=True))
    ]
    if time.time() > given.begin:
        raise SystemExit("the events took longer to make than there was time: begin later")
    producer = Producer({"bootstrap.servers": given.bootstrap, "acks": "all", "linger.ms": 0, "partitioner": "murmur2"})
    sent = 0
    while sent < given.count:
        # Negative before the beginning.
        due = max(sent, min(given.count, int((time.time() - given.begin) * given.rate) + 1))
        for key, value in records[sent:due]:
            producer.produce(given.topic, value, key)
        sent = due
        producer.poll(0)
        time.sleep(_TICK_S)
    if producer.flush(30.0):
        raise SystemExit("Kafka did not take all events")


if __name__ == "__main__":
    main()
