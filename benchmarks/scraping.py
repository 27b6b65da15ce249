"""What being scraped costs: the CPU time of one exposition, of a worker's and of a trainer's registry, as served.

    python -m benchmarks.scraping

A worker with 16 partitions that has seen everything it can see, a trainer that shows every figure of its quality. Each
exposition is made as the web port makes it, in OpenMetrics (what Prometheus asks for) and in the plain format, and
gzipped, since Prometheus asks for that. The share is of one core, which is what a process scores with.
"""

from __future__ import annotations

import gzip
import statistics
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from stream_app.core.effects import Effects, Position
from stream_app.core.learner import Learner
from stream_app.metrics import Shown
from stream_app.observe import Observer

PARTITIONS = 16
ROUNDS = 200
#: The scrape interval that is shipped (ops/prometheus), in seconds.
INTERVAL_S = 5.0
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
#: What `web/server.py` has aiohttp compress with.
GZIP_LEVEL = 6


class _Owned:
    """A partition at rest."""

    progress = 0.0
    failing_since: float | None = None
    waiting_since: float | None = None

    @property
    def behind(self) -> _Owned:
        return self


def worker() -> CollectorRegistry:
    """A registry with all series of a busy worker."""
    registry = CollectorRegistry()
    observer = Observer(registry)
    kinds = ("page_view", "search", "view_item", "add_to_cart", "begin_checkout", "purchase")
    events = Counter({(kind, outcome): 5 for kind in kinds for outcome in ("scored", "late", "duplicate")})
    scores = np.random.default_rng(1).beta(1, 20, 2_000)
    for partition in range(PARTITIONS):
        effects = Effects(Position(), events=events, bands=Counter(unlikely=9, on_the_fence=5, likely=2))
        effects.labels, effects.score_values = Counter(matched=3, resolved=2, duplicate=1), scores
        observer.partition_state(partition, "ready")
        observer.own(partition, _Owned())
        stages = dict.fromkeys(("announce", "load", "fold", "publish"), 0.004)
        observer.batch(partition, effects, records=2_000, received_ms=[1_000, 1_400], now_ms=1_500, stages=stages)
        observer.lag(partition, 10, 1_000, 1_500)
        observer.open_sessions(partition, 4_000)
        observer.cache(partition, 9_000)
        observer.behind(partition, queued=1, view=0.002)
    for op in ("load", "write", "deadlines"):
        observer.redis_answered(op, 0.001)
    for op in ("outputs", "states", "commit", "pulse", "take_over"):
        observer.kafka_answered(op, 0.004)
    return registry


def trainer() -> CollectorRegistry:
    """A registry with all series of a trainer."""
    registry = CollectorRegistry()
    observer = Observer(registry)
    observer.trainer_state("learning")
    observer.quality(Learner(["newton", "bins"], base_rate=0.03))
    return registry


def measure(registry: CollectorRegistry, accept: str) -> tuple[float, int, int]:
    """Median CPU seconds of an exposition, its series, its bytes as sent."""
    encode: Callable[[Shown], bytes]
    encode, _ = choose_encoder(accept)
    shown = Shown(registry)
    seconds = []
    sent = b""
    for _ in range(ROUNDS):
        started = time.process_time()
        sent = gzip.compress(encode(shown), GZIP_LEVEL)
        seconds.append(time.process_time() - started)
    series = sum(1 for line in encode(shown).splitlines() if not line.startswith(b"#"))
    return statistics.median(seconds), series, len(sent)


def main() -> None:
    """Print a table."""
    print(f"| process | format | series | bytes, gzipped | CPU ms a scrape | share of a core, every {INTERVAL_S:g} s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, registry in (("worker, 16 partitions", worker()), ("trainer", trainer())):
        for format_name, accept in (("OpenMetrics", OPENMETRICS), ("plain", "*/*")):
            seconds, series, sent = measure(registry, accept)
            share = seconds / INTERVAL_S
            print(f"| {name} | {format_name} | {series:,} | {sent:,} | {1000 * seconds:.1f} | {share:.2%} |")


if __name__ == "__main__":
    main()
