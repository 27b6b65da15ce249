"""`stream-app forget`: a visitor's erasure, asked for, waited for, and what it does not reach."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

import click

from producers.door_settings import KEY_SETTINGS, keys_of
from producers.source_error import SourceError
from stream_app import topics
from stream_app.admin import expected_config
from stream_app.backends.ports import LogError, ViewError
from stream_app.cli_options import with_settings
from stream_app.core.events import ID_LENGTH_MAX
from stream_app.erasure import ask, known, wait_for
from stream_app.settings import Settings
from stream_app.topics import TOPICS

#: Their records have no visitor in them.
_WITHOUT_VISITORS: Final = (topics.SNAPSHOTS, topics.CHANGELOG)
_DAY_MS: Final = 24 * 3600 * 1000


@click.command("forget")
@click.argument("visitor_id")
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(min=0.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until the workers have done it; 0 only asks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@with_settings(
    only=(
        "kafka_bootstrap", "redis_url", "redis_cluster", "redis_timeout_ms",
        "topic_prefix", "group_id", "history_ttl_ms", *KEY_SETTINGS,
    )
)  # fmt: skip
def forget_command(visitor_id: str, seconds: float, as_json: bool, settings: Settings) -> None:
    """Erase what is known of VISITOR_ID: its state in the changelog, in Redis and in the workers' memory.

    The request is a record among the visitor's events, so workers need not be stopped, and one that is down does it
    when it is back. What the visitor does after it is a new visitor's. With keys for pseudonyms VISITOR_ID is the id
    before the door, and each of its pseudonyms is forgotten.

    Records on topics stay until their retention is over: they are listed. Exit code 1 if the workers have not done it
    within --wait; the request stays, and asking again is harmless.

    \b
    Examples:
      stream-app forget 512581567
      stream-app forget jane@shop.example --pseudonym-keys-file keys.toml
      stream-app forget v1-42 --wait 0 --json
    """
    if not 0 < len(visitor_id) <= ID_LENGTH_MAX:
        raise click.UsageError(f"got a visitor id of {len(visitor_id)} characters, expected 1 to {ID_LENGTH_MAX}")
    # What the client would log is said by our own errors, once and with what to do.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        keys = keys_of(settings)
    except SourceError as error:
        raise click.UsageError(str(error)) from None
    try:
        facts = asyncio.run(_erase(settings, keys.names_of(visitor_id) if keys else [visitor_id], seconds))
    except (LogError, ViewError) as error:
        raise click.ClickException(f"{error}; asking again is harmless") from None
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(facts)))
    if facts["waiting_for_partitions"]:
        raise click.exceptions.Exit(1)


async def _erase(settings: Settings, visitors: list[str], seconds: float) -> dict[str, Any]:
    asked = await ask(settings, visitors)
    left = await wait_for(settings, asked, seconds=seconds)
    return {
        "visitors": visitors,
        "partitions": len(asked.ends),
        "waiting_for_partitions": left,
        "known_again": [] if left else await known(settings, visitors, partitions=list(asked.ends)),
        "kept_until_retention": _kept(settings),
    }


def _kept(settings: Settings) -> list[dict[str, Any]]:
    """The topics whose records name visitors, and how long these are there, as `topics create` sets it."""
    return [
        {
            "topic": settings.topic(spec.name),
            "carries": spec.carries,
            "days": int(expected_config(spec, settings)["retention.ms"]) / _DAY_MS,
        }
        for spec in TOPICS
        if spec.name not in _WITHOUT_VISITORS
    ]


def _lines(facts: dict[str, Any]) -> list[str]:
    names = ", ".join(facts["visitors"])
    if left := facts["waiting_for_partitions"]:
        lines = [
            f"asked to forget {names}, but partitions {left} of {facts['partitions']} have not come to it yet: is a "
            "worker running, and how far is it behind? It will be done in its turn; to see whether it was, ask again"
        ]
    else:
        lines = [f"forgotten: {names} is in no worker's memory, not in Redis, and deleted in the changelog"]
        lines += [f"  {name} has been seen again since, as a new visitor" for name in facts["known_again"]]
        lines.append("  the changelog's earlier records go when Kafka compacts it, after an hour at the earliest")
    lines.append("records that name it stay on these topics until their retention is over:")
    lines += [f"  {kept['topic']}: {kept['days']:g} days ({kept['carries']})" for kept in facts["kept_until_retention"]]
    lines.append("nothing of it is in the model, which holds counts by item, category, brand and kind of step alone")
    return lines
