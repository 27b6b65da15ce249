"""`python -m tests.soak --minutes M --guarantee G --seed S`: traffic and faults for a while, then the verdict.

Exit code 0: the audit is clean, memory and files are flat, no process has ended by itself. 1: not so, with the reasons.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
from functools import partial
from pathlib import Path
from typing import get_args

from stream_app.settings import Settings
from tests.soak.soak import Orders, soak
from tests.support.servers import UnavailableError


def main() -> int:
    """Run it as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    guarantees = get_args(Settings.model_fields["processing_guarantee"].annotation)
    parser.add_argument("--minutes", type=float, default=30.0, help="of faults; catching up and audit come on top")
    parser.add_argument("--guarantee", choices=guarantees, default="exactly_once")
    parser.add_argument("--seed", type=int, default=None, help="of traffic and faults; drawn and printed if not given")
    parser.add_argument("--rate", type=float, default=400.0, metavar="EVENTS_PER_S")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the summary")
    asked = parser.parse_args()
    if asked.workers < 2:
        parser.error("got fewer than 2 workers: one is killed, another must be there")
    seed = random.randrange(10_000) if asked.seed is None else asked.seed
    orders = Orders(asked.minutes, asked.guarantee, seed, asked.rate, asked.workers)
    # The soak's own clients tell every attempt to reach a Kafka that it has killed itself.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        outcome = asyncio.run(soak(orders, partial(print, flush=True)))
    except UnavailableError as reason:
        print(f"the servers cannot run here: {reason}", file=sys.stderr)
        return 1
    text = json.dumps(outcome.summary, indent=1)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    print(text)
    for problem in outcome.problems:
        print(f"PROBLEM {problem}")
    print("Clean and flat." if not outcome.problems else f"{len(outcome.problems)} problems, with seed {seed}.")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
