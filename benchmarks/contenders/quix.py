"""Quix Streams: a stateful apply over RocksDB with its changelog topic, two output topics, both guarantees.

Settings are the library's defaults but for compression, and, for latency, what its documentation on checkpoints says:
a shorter commit interval where a transaction is what a reader waits for.
"""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from benchmarks.contenders.contract import EVENTS, FEATURES, SCORES, SESSION_TIMEOUT_MS, Contract, read_arguments
from benchmarks.contenders.scorer import load_model, score


def build(contract: Contract) -> Application:
    quick = contract.tuning == "latency"
    exactly_once = contract.guarantee == "exactly_once"
    app = Application(
        broker_address=contract.bootstrap,
        consumer_group=f"{contract.prefix}quix",
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if exactly_once else "at-least-once",
        # In seconds. Its own default is 5; with exactly-once nothing can be read before the commit.
        commit_interval=0.01 if quick and exactly_once else 5.0,
        state_dir=contract.state_dir,
        consumer_extra_config={"session.timeout.ms": SESSION_TIMEOUT_MS, "group.instance.id": contract.instance},
        producer_extra_config={"compression.type": "zstd", "linger.ms": 0 if quick else 50},
        loglevel="WARNING",
    )
    json_in = {"key_deserializer": "bytes", "value_deserializer": "json"}
    json_out = {"key_serializer": "bytes", "value_serializer": "json"}
    events = app.topic(contract.topic(EVENTS), **json_in)
    features = app.topic(contract.topic(FEATURES), **json_out)
    scores = app.topic(contract.topic(SCORES), **json_out)
    model = load_model(contract.model)

    def score_event(event: dict[str, Any], state: State) -> tuple[dict[str, Any], dict[str, Any]]:
        session, x, scored = score(state.get("session"), event, model, learn=contract.learn)
        state.set("session", session)
        return x, scored

    scored = app.dataframe(events).apply(score_event, stateful=True)
    scored.apply(lambda pair: pair[0]).to_topic(features)
    scored.apply(lambda pair: pair[1]).to_topic(scores)
    return app


if __name__ == "__main__":
    build(read_arguments()).run()
