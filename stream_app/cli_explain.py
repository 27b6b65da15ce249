"""`stream-app explain`: why a visitor was scored as it was, in words."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from stream_app.cli_options import with_settings
from stream_app.cli_session import visitor_or_exit
from stream_app.cli_table import show_table
from stream_app.settings import Settings

if TYPE_CHECKING:  # River and pandas take a second to import: not for `--help`
    from stream_app.core.serving import ServingModel


@click.command("explain")
@click.argument("visitor_id")
@click.option("--all", "everything", is_flag=True, help="Show all reasons, not the strongest three.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs: all reasons, and their inputs.")
@with_settings(
    only=(
        "kafka_bootstrap", "redis_url", "redis_cluster", "redis_timeout_ms",
        "topic_prefix", "group_id", "topic_partitions", "grace_ms",
        "session_gap_ms", "model", "base_rate", "snapshot_key", "check_crcs",
    )
)  # fmt: skip
def explain_command(visitor_id: str, everything: bool, as_json: bool, settings: Settings) -> None:
    """Say why VISITOR_ID was last scored as it was: what spoke for a purchase and what against, and how much.

    The visitor is read from Redis, the newest model from Kafka; nothing is changed. A reason multiplies the odds of a
    purchase; it is what the model goes by, not a cause. Exit code 1 if there is nothing of the visitor, or no model
    yet. What the reasons are and how exact: docs/reasons.md

    \b
    Examples:
      stream-app explain 512581567
      stream-app explain v1-42 --all
    """
    from stream_app.core.reason_catalogue import REASONS_MAX
    from stream_app.visitor_explained import explained

    visitor = visitor_or_exit(settings, visitor_id).visitor
    last = visitor.last_score
    if last is None:
        raise click.ClickException(f"visitor {visitor_id!r} has no score: only labels have been seen, no event")
    model = _model_or_exit(settings)
    facts = {"visitor_id": visitor_id, **explained(visitor, last, model)}
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(_head(facts)) + "\n")
    show_table(("odds", "reason", "in words"), _rows(facts, shown=None if everything else REASONS_MAX))
    click.echo("\n" + "\n".join(_foot(facts, everything=everything)))


def _model_or_exit(settings: Settings) -> ServingModel:
    """The newest model, which must be warm; else the command ends with one line and code 1."""
    from stream_app.admin import quiet
    from stream_app.backends.ports import LogError
    from stream_app.core.snapshots import RefusedError
    from stream_app.newest_model import newest_model

    try:
        with quiet("aiokafka"):
            model = asyncio.run(newest_model(settings))
    except LogError as error:
        raise click.ClickException(
            f"Kafka does not answer ({error}); is it running, and is --kafka-bootstrap right?"
        ) from None
    except RefusedError as error:
        raise click.ClickException(
            f"no snapshot of the model can be used ({error}); are the trainer's snapshot_key and version ours?"
        ) from None
    if not model.version:
        raise click.ClickException(
            f"no model has been published with topic prefix {settings.topic_prefix!r}: has a trainer run, and is "
            "--topic-prefix its?"
        )
    if model.cold:
        raise click.ClickException(
            f"the model has learned {model.updates} examples, too few to be believed: all are given the base rate, "
            f"{model.base_rate:.1%}, so there is nothing to explain yet"
        )
    return model


def _head(facts: dict[str, Any]) -> list[str]:
    served, model, usual = facts["served"], facts["model"], facts["usual"]["score"]
    by = "while the model was cold" if served["cold"] else f"by model version {served['model_version']}"
    lines = [
        f"visitor {facts['visitor_id']}: {served['score']:.1%} likely to buy in this visit ({served['band']})",
        f"  scored {by}, after event {served['event_id']} at {_time(served['event_time'])}",
    ]
    now = facts["score_now"]
    if not facts["names_known"]:
        lines.append(
            "  the visit has ended, and the names of its items, source and steps are forgotten; without what has been "
            f"learned of them, version {model['version']} says {now:.1%}, for these reasons"
        )
    elif facts["learned_since"]:
        lines.append(
            f"  the model has learned since: version {model['version']} says {now:.1%}, and these are its reasons"
        )
    lines.append(
        f"  of all visits {facts['base_rate']:.1%} are bought in; a moment that is usual in everything is scored "
        f"{usual:.1%}, and {now:.1%} is {_times_the_odds(now, usual)} its odds:"
    )
    return lines


def _rows(facts: dict[str, Any], *, shown: int | None) -> list[tuple[str, str, str]]:
    from stream_app.core.reason_words import odds_factor

    reasons = facts["reasons"]
    rows = [(odds_factor(r["contribution"]), r["title"], r["words"]) for r in reasons[:shown]]
    rest = sum(reason["contribution"] for reason in reasons[shown:]) if shown is not None else 0.0
    if shown is not None or not facts["exact"]:
        more = f"{len(reasons) - shown} weaker reasons together" if shown is not None else "what they say together only"
        rows.append((odds_factor(rest + facts["left_over"]), "everything else", more))
    return rows


def _foot(facts: dict[str, Any], *, everything: bool) -> list[str]:
    name = facts["model"]["name"]
    if facts["exact"]:
        lines = [f"Model {name} is linear: the factors multiply to the odds, exactly but for the digits shown."]
    else:
        lines = [
            f"Model {name} is not linear: a factor is what hiding that reason would change, an approximation; "
            "`everything else` makes up the difference."
        ]
    if not everything:
        lines.append("All reasons: --all")
    return lines


def _times_the_odds(p: float, q: float) -> str:
    from stream_app.core.reason_words import odds_factor

    return odds_factor(math.log(p / (1.0 - p)) - math.log(q / (1.0 - q)))


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
