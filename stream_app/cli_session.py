"""`stream-app session`: what is known of one visitor at this moment, read from Redis alone."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import click
from redis.asyncio import Redis

from stream_app.backends.redis import FAILURES, connect_by, hash_tag
from stream_app.cli_options import with_settings
from stream_app.cli_table import show_table
from stream_app.core.effects import Position, decode_position
from stream_app.core.features import FEATURES
from stream_app.core.state import DamagedStateError, StateVersionError, Visitor, decode
from stream_app.settings import Settings
from stream_app.visitor_facts import visitor_facts

#: Items, categories and brands named for people; JSON has all.
_NAMED_MAX: Final = 8


class NotFoundError(LookupError):
    """Redis has nothing of this visitor, or of this deployment; the text says which and what to check."""


class Found(NamedTuple):
    """A visitor's state, where it lies, and the event time (ms) that its partition has come to; −1 unknown."""

    visitor: Visitor
    partition: int
    also_in_partitions: list[int]
    watermark_ms: int


@click.command("session")
@click.argument("visitor_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs; times in ms since the epoch.")
@with_settings(
    only=(
        "redis_url", "redis_cluster", "redis_timeout_ms",
        "topic_prefix", "group_id", "topic_partitions", "session_gap_ms", "grace_ms",
    )
)  # fmt: skip
def session_command(visitor_id: str, as_json: bool, settings: Settings) -> None:
    """Show what is known of VISITOR_ID now: open sessions, history, last score and its features.

    Read from Redis, which is behind the scores by some milliseconds; nothing is changed. Exit code 1 if there is
    nothing of the visitor.

    \b
    Examples:
      stream-app session 512581567
      stream-app session v1-42 --topic-prefix shop. --json
    """
    facts = read_visitor(settings, visitor_id)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(_lines(facts)))
    if facts["features"]:
        click.echo()
        values = facts["features"]
        show_table(
            ("feature", "value", "unit", "meaning"),
            [(f.name, f"{values[f.name]:.4g}", f.unit, f.meaning) for f in FEATURES if values[f.name]],
        )
        zeros = sum(1 for value in values.values() if not value)
        click.echo(f"and {zeros} features that are 0")


def read_visitor(settings: Settings, visitor_id: str) -> dict[str, Any]:
    """What is known of the visitor; ends the command as `visitor_or_exit` does."""
    found = visitor_or_exit(settings, visitor_id)
    watermark = found.watermark_ms
    return {
        "visitor_id": visitor_id,
        "partition": found.partition,
        "also_in_partitions": found.also_in_partitions,
        **visitor_facts(
            found.visitor, watermark_ms=watermark if watermark >= 0 else None, gap_ms=settings.session_gap_ms
        ),
    }


def visitor_or_exit(settings: Settings, visitor_id: str) -> Found:
    """The visitor; what is not there, or cannot be read, ends the command with one line and code 1."""
    try:
        return asyncio.run(_find(settings, visitor_id))
    except (NotFoundError, StateVersionError, DamagedStateError) as error:
        raise click.ClickException(str(error)) from None
    except FAILURES as error:
        raise click.ClickException(
            f"Redis does not answer ({_one_line(error)}); is it running, and is --redis-url right?"
        ) from None


async def _find(settings: Settings, visitor_id: str) -> Found:
    """Look for the visitor in all partitions.

    Raises
    ------
    NotFoundError
        If Redis has nothing of the visitor or of the deployment.
    StateVersionError
        If another version of this program wrote its state.
    One of `backends.redis.FAILURES`
        If Redis does not answer.
    """
    client = connect_by(settings)
    prefix = settings.namespace
    try:
        positions = await _positions(client, prefix, settings.topic_partitions)
        if not positions:
            raise NotFoundError(
                f"Redis has nothing of group {settings.group_id!r} with topic prefix {settings.topic_prefix!r}: has a "
                "worker run, and are --redis-url, --group-id and --topic-prefix the worker's?"
            )
        partitions = max(settings.topic_partitions, *(position.partitions for position in positions.values()))
        blobs = await _blobs(client, prefix, visitor_id, partitions)
    finally:
        await client.aclose()
    if not blobs:
        raise NotFoundError(
            f"visitor {visitor_id!r} is not known to group {settings.group_id!r}: never seen, or not for longer than "
            "history_ttl_ms; the id must be the event's visitor_id, letter by letter"
        )
    found = {partition: decode(blob) for partition, blob in blobs.items()}
    # One partition has it, that of its key, unless producers disagree about partitioning: then show the newest.
    partition = max(found, key=lambda number: score.event_time if (score := found[number].last_score) else 0)
    watermark = positions[partition].watermark.time(grace_ms=settings.grace_ms) if partition in positions else -1
    return Found(found[partition], partition, sorted(set(found) - {partition}), watermark)


async def _positions(client: Redis, prefix: str, partitions: int) -> dict[int, Position]:
    """Positions by partition. Each says how many partitions there are, where the setting says too few."""
    stored = await _get(client, [f"{hash_tag(prefix, number)}:position" for number in range(partitions)])
    found = {number: position for number, data in stored.items() if (position := decode_position(data)) is not None}
    told = max((position.partitions for position in found.values()), default=0)
    return await _positions(client, prefix, told) if told > partitions else found


async def _blobs(client: Redis, prefix: str, visitor_id: str, partitions: int) -> dict[int, bytes]:
    return await _get(client, [f"{hash_tag(prefix, number)}:v:{visitor_id}" for number in range(partitions)])


async def _get(client: Redis, keys: list[str]) -> dict[int, bytes]:
    """The values that are there, by the place of their key."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.get(key)
    return {number: value for number, value in enumerate(await pipeline.execute()) if value is not None}


def _lines(facts: dict[str, Any]) -> list[str]:
    reached = facts["watermark_time"]
    lines = [f"visitor {facts['visitor_id']}, partition {facts['partition']}"]
    if reached is not None:
        lines[0] += f"; sessions that ended by {_time(reached)} are closed"
    if facts["also_in_partitions"]:
        lines.append(
            f"  WARNING: also in partitions {facts['also_in_partitions']}: its records are spread, so each sees only a "
            "part; producers must choose partitions alike (murmur2 of the visitor_id, as Java clients do)"
        )
    history = facts["history"]
    lines.append(
        f"history: {history['sessions']} finished sessions, {history['purchases']} purchases, "
        f"{history['spend']:.2f} spent" + (f", last seen {_time(history['last_seen'])}" if history["last_seen"] else "")
    )
    if not facts["sessions"]:
        lines.append("no open session")
    for session in facts["sessions"]:
        lines += _session_lines(session)
    for label in facts["early_labels"]:
        lines.append(f"checkout told ahead of its events: order {label['order_id']} at {_time(label['checkout_time'])}")
    score = facts["last_score"]
    if score is not None:
        model = "cold: the base rate" if score["cold"] else f"model version {score['model_version']}"
        lines.append(
            f"last score: {score['score']:.4f} {score['band']} ({model}) after event {score['event_id']} "
            f"at {_time(score['event_time'])}"
        )
    return lines


def _session_lines(session: dict[str, Any]) -> list[str]:
    kinds = ", ".join(f"{count} {kind}" for kind, count in session["by_kind"].items()) or "none yet"
    cart = session["cart"]
    lines = [
        f"session {session['session_id']}: open",
        f"  started    {_time(session['start'])}, {session['age_ms'] / 1000:.0f} s old at its last event; "
        f"ends {_time(session['ends_at'])} if nothing comes",
        f"  events     {session['events']}; purchases {session['purchases']}, spent {session['spend']:.2f}",
        f"  episode    {session['episode']}: {session['episode_events']} events since the last checkout: {kinds}",
    ]
    lines += [
        f"  {name:<10} {len(session[name])}: {_named(session[name])}"
        for name in ("items", "categories", "brands")
        if session[name]
    ]
    if cart["items"]:
        lines.append(f"  cart       {cart['items']} items, {cart['value']:.2f}")
    where = [value for value in (session["source"], session["country"], "mobile" if session["mobile"] else "") if value]
    if where:
        lines.append(f"  context    {', '.join(where)}")
    lines.append(
        f"  to learn   {session['pending_examples']} examples wait for the outcome, for "
        f"{session['scored_events_they_stand_for']} scored events"
    )
    return lines


def _named(counts: dict[str, int]) -> str:
    most = sorted(counts.items(), key=lambda entry: -entry[1])[:_NAMED_MAX]
    shown = ", ".join(f"{name} ×{count}" for name, count in most)
    return f"{shown}, …" if len(counts) > _NAMED_MAX else shown


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
