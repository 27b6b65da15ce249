"""Prequential quality on a real file, replayed in time order through a real broker and a real Redis.

    python benchmarks/real_file.py FILE --format rees46 [--speed X]

Scores are judged as served: each example carries the score that went out when its event came, and its label. The
metrics are computed here from the examples topic with scikit-learn, not taken from the trainer. `--speed` is event time
over wall time: the faster, the more events are scored before the model has learned from the ones just before (a shop's
own speed is 1).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from producers.formats import FORMATS
from producers.replay import replay
from producers.sink import KafkaSink
from stream_app import topics
from tests.scenarios.deployment import Deployment
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealKafka, RealRedis


def quality(examples: list[dict[str, Any]]) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    if len({example["label"] for example in examples}) < 2:
        return {"examples": len(examples)}
    label = np.array([example["label"] for example in examples])
    score = np.array([example["score"] for example in examples])
    weight = np.array([example["weight"] for example in examples])
    rate = float(np.average(label, weights=weight))
    return {
        "examples": len(examples),
        "positives": int(label.sum()),
        "base_rate": round(rate, 4),
        "roc_auc": round(float(roc_auc_score(label, score, sample_weight=weight)), 4),
        "pr_auc": round(float(average_precision_score(label, score, sample_weight=weight)), 4),
        "log_loss": round(float(log_loss(label, score, sample_weight=weight)), 4),
        "log_loss_constant": round(float(log_loss(label, np.full(len(label), rate), sample_weight=weight)), 4),
        "mean_score": round(float(np.average(score, weights=weight)), 4),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--format", required=True, choices=sorted(FORMATS))
    parser.add_argument("--speed", type=float, default=None)
    parser.add_argument("--model", default="newton")
    arguments = parser.parse_args()
    with RealKafka() as kafka, RealRedis() as redis:
        servers = Servers(kafka.bootstrap, redis.url, "real")
        async with Deployment(servers, Names("quality.", "quality"), model=arguments.model) as deployment:
            deployment.start("trainer")
            deployment.start("worker")
            async with KafkaSink(kafka.bootstrap, topic_prefix="quality.") as sink:
                summary = await replay(arguments.file, FORMATS[arguments.format], sink, speed=arguments.speed)
            await deployment.until(topics.SCORES, summary.sent - 10)
            await deployment.until_caught_up()
            records = [record for _, record, _ in await deployment.read(topics.EXAMPLES)]
    warm = [record for record in records if not record["cold"]]
    found = {
        "rows": summary.rows,
        "examples": len(records),
        "cold": len(records) - len(warm),
        "all": quality(warm),
        "at_event": {str(n): quality([record for record in warm if record["events"] == n]) for n in (1, 2, 3, 5)},
        "without_scores_of_purchases": quality([record for record in warm if record["event_type"] != "purchase"]),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
