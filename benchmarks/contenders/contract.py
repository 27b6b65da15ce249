"""What every contender is started with, and which topics it reads and writes.

A contender works from the beginning of the events topic until SIGTERM. It knows nothing of the rig: what it did is read
from its output topics.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

EVENTS = "clickstream.events.v1"
FEATURES = "session.features.v1"
SCORES = "intent.scores.v1"
PARTITIONS = 4

#: Long enough for a busy machine, and the same for all: what a restart after a kill waits for without a static name.
SESSION_TIMEOUT_MS = 10_000


class Contract(NamedTuple):
    """The command line, read.

    `guarantee` is `at_least_once` or `exactly_once`; `tuning` is `throughput` or `latency`: what the contender's own
    documentation says to set for either; `learn` says whether labels teach the model; `instance` is a name of its own
    among several processes.
    """

    bootstrap: str
    prefix: str
    redis_url: str
    guarantee: str
    tuning: str
    model: str
    state_dir: str
    instance: str
    learn: bool

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return f"{self.prefix}{name}"


def read_arguments() -> Contract:
    """The contender's command line."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "prefix", "redis-url", "model", "state-dir", "instance"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--guarantee", choices=("at_least_once", "exactly_once"), required=True)
    parser.add_argument("--tuning", choices=("throughput", "latency"), required=True)
    parser.add_argument("--learn", action="store_true")
    return Contract(**vars(parser.parse_args()))
