"""`stream-app discounts replay`: what a new policy would have earned, from the log of the one that ran."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from stream_app.cli_options import with_settings
from stream_app.cli_table import show_table
from stream_app.discounts.cli_report import KAFKA
from stream_app.settings import Settings

if TYPE_CHECKING:  # River and numpy take a second to import: not for `--help`
    from stream_app.discounts.core.off_policy import Estimate, Evaluation
    from stream_app.discounts.core.records import Outcome

#: The newest outcomes that are evaluated, some 2 kB each.
_OUTCOMES_MAX: Final = 300_000


@click.command("replay")
@click.argument("policy_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--experiment", metavar="ID", help="Whose log [default: that of the newest outcome].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@with_settings(only=KAFKA)
def replay_command(policy_file: Path, experiment: str | None, as_json: bool, settings: Settings) -> None:
    """Estimate what the policy in POLICY_FILE would have earned per exposed visitor, before anybody sees it.

    Outcomes are weighted by how much more, or less, often the new policy would have taken the level that was taken. It
    can only tell of levels that had a chance, and only of visitors who were exposed. Assumptions, and which of the
    three estimates to read: docs/discounts-measuring.md

    \b
    Examples:
      stream-app discounts replay tomorrow.toml
      stream-app discounts replay tomorrow.toml --experiment first --json
    """
    from stream_app.backends.ports import LogError
    from stream_app.discounts.core.off_policy import NoSupportError, evaluate
    from stream_app.discounts.core.policy_file import PolicyError, read_policy
    from stream_app.discounts.core.replaying import NotReplayableError, Replayed

    try:
        policy = read_policy(policy_file.read_text(encoding="utf-8"), where=str(policy_file))
        replayed = Replayed(policy)
        outcomes = asyncio.run(_outcomes(settings, experiment))
        found = evaluate(outcomes, replayed)
    except (PolicyError, NotReplayableError, UnicodeDecodeError) as error:
        raise click.UsageError(str(error)) from None
    except LogError as error:
        raise click.ClickException(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    except NoSupportError as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.ClickException(f"nothing to evaluate: {error}") from None
    offers = sum(max(replayed(outcome.exposure)) > 0.0 for outcome in outcomes) / len(outcomes)
    if as_json:
        told = {**_plain(found), "policy": policy.version, "offers": offers, "unseen": replayed.unseen}
        click.echo(msgspec.json.encode({**told, "experiment": outcomes[0].exposure.experiment}).decode())
    else:
        _show(found, policy.version, offers=offers, unseen=replayed.unseen)


async def _outcomes(settings: Settings, experiment: str | None) -> list[Outcome]:
    """Those of one experiment, as they stand in the log."""
    from stream_app.discounts.outcome_reading import read_figures

    by_experiment: dict[str, deque[Outcome]] = {}

    def take(outcome: Outcome) -> None:
        of_one = by_experiment.setdefault(outcome.exposure.experiment, deque(maxlen=_OUTCOMES_MAX))
        of_one.append(outcome)

    async for _ in read_figures(settings, outcome=take):
        pass
    if experiment is None:
        newest = max(by_experiment, key=lambda name: by_experiment[name][-1].matured_at, default="")
        return list(by_experiment.get(newest, ()))
    return list(by_experiment.get(experiment, ()))


def _show(found: Evaluation, version: str, *, offers: float, unseen: list[str]) -> None:
    click.echo(
        f"Policy {version} on {found.units} outcomes: it would have offered something to {offers:.1%} of them; they "
        f"are worth {found.effective:.0f} that the policy itself had chosen"
    )
    if found.clipped:
        click.echo(f"weights of {found.clipped:.1%} were cut (largest {found.weight_largest:.0f}): ips and dr too low")
    if unseen:
        click.echo(f"not in the log, taken as fulfilled as in the logged policy: {', '.join(unseen)}")
    click.echo()
    rows = [
        ("new policy", "doubly robust", found.doubly_robust),
        ("", "snips", found.snips),
        ("", "ips", found.ips),
        ("logged policy", "doubly robust", found.logged),
        ("new less logged", "doubly robust", found.gain),
        ("new less no offer", "doubly robust", found.uplift),
    ]
    show_table(
        ("profit per exposed visitor", "by", "estimate", "95 % interval"),
        [(what, by, *_told(estimate)) for what, by, estimate in rows],
    )


def _told(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None or math.isnan(estimate.value):
        return "unknown", "no offer at all had no chance" if estimate is None else "nobody took what it would take"
    return f"{estimate.value:+.4f}", f"{estimate.interval.low:+.4f} … {estimate.interval.high:+.4f}"


def _plain(found: Evaluation) -> dict[str, Any]:
    return {
        name: value and {"value": value.value, "interval": value.interval} if hasattr(value, "interval") else value
        for name, value in found._asdict().items()
    }
