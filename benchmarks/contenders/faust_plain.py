"""A plain Faust agent: for each event one GET, the fold, one SET and two sends, as Faust's guide has it.

Redis holds the state (a Faust table would be RocksDB and a changelog, and Redis is what our users asked for). One
agent, so that a visitor's events stay in order. JSON by orjson, which Faust takes when it is installed.
"""

from __future__ import annotations

import faust
import orjson
from redis.asyncio import Redis

from benchmarks.contenders.contract import EVENTS, FEATURES, PARTITIONS, SCORES, Contract, read_arguments
from benchmarks.contenders.scorer import load_model, score

#: A session that nobody continues must go some day; Redis does that by itself.
STATE_TTL_S = 30 * 24 * 3600


def application(contract: Contract) -> faust.App:
    """The settings that both Faust contenders share."""
    return faust.App(
        f"{contract.prefix}faust",
        broker=f"aiokafka://{contract.bootstrap}",
        datadir=contract.state_dir,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=10.0,
        producer_compression_type="zstd",
        # Where a send may wait for company, it may wait shortly.
        producer_linger=0.005 if contract.tuning == "throughput" else 0.0,
        web_enabled=False,
    )


def build(contract: Contract) -> faust.App:
    app = application(contract)
    json = {"key_type": bytes, "value_serializer": "json", "partitions": PARTITIONS}
    events = app.topic(contract.topic(EVENTS), **json)
    features = app.topic(contract.topic(FEATURES), **json)
    scores = app.topic(contract.topic(SCORES), **json)
    redis = Redis.from_url(contract.redis_url)
    model = load_model(contract.model)

    @app.agent(events)
    async def score_events(stream: faust.StreamT) -> None:
        async for event in stream:
            visitor = event["visitor_id"]
            place = f"{contract.prefix}session:{visitor}"
            stored = await redis.get(place)
            state, x, scored = score(orjson.loads(stored) if stored else None, event, model, learn=contract.learn)
            await redis.set(place, orjson.dumps(state), ex=STATE_TTL_S)
            key = visitor.encode()
            await features.send(key=key, value=x)
            await scores.send(key=key, value=scored)

    return app


def run(app: faust.App) -> None:
    faust.Worker(app, loglevel="WARN").execute_from_commandline()


if __name__ == "__main__":
    run(build(read_arguments()))
