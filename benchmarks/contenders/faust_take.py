"""A Faust agent that takes up to 1,000 events at a time: one MGET, the folds, one pipeline of SETs, then the sends."""

from __future__ import annotations

import faust
import orjson
from redis.asyncio import Redis

from benchmarks.contenders.contract import EVENTS, FEATURES, PARTITIONS, SCORES, Contract, read_arguments
from benchmarks.contenders.faust_plain import STATE_TTL_S, application, run
from benchmarks.contenders.scorer import load_model, score

TAKEN_MAX = 1_000


def build(contract: Contract) -> faust.App:
    app = application(contract)
    json = {"key_type": bytes, "value_serializer": "json", "partitions": PARTITIONS}
    events = app.topic(contract.topic(EVENTS), **json)
    features = app.topic(contract.topic(FEATURES), **json)
    scores = app.topic(contract.topic(SCORES), **json)
    redis = Redis.from_url(contract.redis_url)
    model = load_model(contract.model)
    within_s = 0.5 if contract.tuning == "throughput" else 0.01

    @app.agent(events)
    async def score_events(stream: faust.StreamT) -> None:
        async for taken in stream.take(TAKEN_MAX, within=within_s):
            places = {event["visitor_id"]: f"{contract.prefix}session:{event['visitor_id']}" for event in taken}
            stored = await redis.mget(list(places.values()))
            states = {v: orjson.loads(value) for v, value in zip(places, stored, strict=True) if value}
            records = []
            for event in taken:
                visitor = event["visitor_id"]
                state, x, scored = score(states.get(visitor), event, model, learn=contract.learn)
                states[visitor] = state
                records.append((visitor.encode(), x, scored))
            async with redis.pipeline(transaction=False) as pipeline:
                for visitor, place in places.items():
                    pipeline.set(place, orjson.dumps(states[visitor]), ex=STATE_TTL_S)
                await pipeline.execute()
            # One after the other: sends that run at once overtake each other, also those of one visitor.
            for key, x, scored in records:
                await features.send(key=key, value=x)
                await scores.send(key=key, value=scored)

    return app


if __name__ == "__main__":
    run(build(read_arguments()))
