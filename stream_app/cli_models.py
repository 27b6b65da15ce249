"""`stream-app models`: which there are, which learn here and how they stand, and which of them is to serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from stream_app.cli_options import with_settings
from stream_app.cli_refusal import AskedWronglyError
from stream_app.cli_table import show_table
from stream_app.settings import Settings

if TYPE_CHECKING:  # River and pandas take a second to import: not for `--help`
    from stream_app.core.zoo.entry import ZooEntry

_Found = TypeVar("_Found")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

#: What it takes to find the trainer's snapshots and to be believed by it.
_KAFKA: Final = ("kafka_bootstrap", "topic_prefix", "group_id", "check_crcs", "snapshot_key")


class _ModelsGroup(click.Group):
    """`models` alone, or with the options of `list`, is `models list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("models", cls=_ModelsGroup)
def models_group() -> None:
    """The models: what there is, how those that learn here stand, and which of them serves.

    The settings `model` and `challengers` name those that learn. One serves, the champion; a challenger that proves
    better over a window of examples takes its place, unless a person has chosen.

    \b
    Examples:
      stream-app models
      stream-app models show blend
      stream-app run --model newton --challengers blend,bins
      stream-app models status
      stream-app models promote blend
      stream-app models promote --auto
      stream-app models rollback
    """


@models_group.command("list")
@_as_json
@with_settings(only=("model", "challengers"))
def models_list(as_json: bool, settings: Settings) -> None:
    """Print all models: name, what it is, what it costs, and which the settings let learn.

    µs of CPU to score one event, per event in a batch of 500, and to learn an example; kB of a snapshot. Who really
    learns and serves is what the trainer says: `stream-app models status`.
    """
    from stream_app.core.zoo.catalogue import ZOO

    learns = dict.fromkeys(settings.models, "challenger") | {settings.model: "at first"}
    if as_json:
        listed = [{**_model_facts(entry), "learns": learns.get(entry.name)} for entry in ZOO.values()]
        click.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    columns = ("model", "settings", "one", "of 500", "learn", "kB", "about")
    rows = []
    for entry in ZOO.values():
        cost = entry.cost
        numbers = (f"{n:,g}" for n in (cost.predict_us, cost.batch_us, cost.learn_us, cost.snapshot_kb))
        about = ("(default) " if _is_default(entry) else "") + entry.about
        rows.append((entry.name, learns.get(entry.name, ""), *numbers, about))
    show_table(columns, rows)
    click.echo("one, of 500: µs to score an event, alone and in a batch; learn: µs an example; kB: of a snapshot")
    click.echo("settings: who serves at first, and who learns beside it (`model`, `challengers`)")


@models_group.command("show")
@click.argument("name")
@_as_json
def models_show(name: str, as_json: bool) -> None:
    """Print what a model is made of, sees, costs and needs."""
    from stream_app.core.zoo.catalogue import ZOO

    if name not in ZOO:
        raise AskedWronglyError(f"got model {name!r}, expected one of {', '.join(sorted(ZOO))}")
    facts = _model_facts(ZOO[name])
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    cost, needs = facts["cost"], facts["needs"]
    rows = [
        ("model", name + (" (default)" if facts["default"] else "")),
        ("about", facts["about"]),
        ("pipeline", facts["pipeline"]),
        ("to score an event", f"{cost['predict_us']:,g} µs alone, {cost['batch_us']:,g} µs in a batch of 500"),
        ("to learn an example", f"{cost['learn_us']:,g} µs: at most {1e6 / cost['learn_us']:,.0f} a second"),
        (
            "a snapshot",
            f"{cost['snapshot_kb']:,g} kB, {cost['snapshot_ms']:g} ms to make, {cost['restore_ms']:g} to take",
        ),
        ("needs", f"snapshot_interval_ms of {needs['snapshot_interval_ms']:,} or more"),
        ("sample weights", "heeded by its learn_one" if facts["weighted"] else "not known to its learn_one"),
        ("inputs", ", ".join(facts["inputs"])),
    ]
    show_table(("what", "value"), rows)


@models_group.command("status")
@_as_json
@with_settings(only=_KAFKA)
def models_status(as_json: bool, settings: Settings) -> None:
    """Show how the models that learn stand, as the trainer's newest snapshot says.

    Log-loss is in nats per event over a fading window (`champion_window`), before each example was learned; the
    difference is to the champion on the same examples, with its standard errors (z): below 0 is better.
    """
    from stream_app.model_commands import read_models
    from stream_app.model_status import status_facts

    facts = status_facts(_ask(read_models(settings)))
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    chosen = "chosen by hand: it stays" if facts["pinned"] else "chosen by log-loss"
    click.echo(
        f"{facts['champion']} serves, {chosen}; version {facts['version']:,} of {_time(facts['published_at'])}, "
        f"{facts['examples']:,} examples learned"
    )
    columns = ("model", "role", "examples", "checkouts", "others", "warm", "log-loss", "difference", "z", "calibrator")
    show_table(columns, [_status_row(model) for model in facts["models"]])
    for model in facts["models"]:
        if model["frozen"]:
            click.echo(f"{model['name']}: {model['frozen']}")
    bands = facts["bands"]
    click.echo(
        f"bands ({bands['rule']}): on the fence from {bands['fence_min']:.4g}, likely from {bands['likely_min']:.4g}"
    )
    count = facts["changed"]
    click.echo(f"{count} change" + ("" if count == 1 else "s") + (", newest first:" if count else ""))
    for change in reversed(facts["changes"]):
        who = change["to"] if change["from"] == change["to"] else f"{change['from']} → {change['to']}"
        click.echo(f"  {_time(change['time'])}  {who}: {change['reason']}")


@models_group.command("promote")
@click.argument("name", required=False)
@click.option("--auto", is_flag=True, help="Let log-loss choose again.")
@with_settings(only=_KAFKA)
def models_promote(name: str | None, auto: bool, settings: Settings) -> None:
    """Let NAME serve from now on, whatever the others do, or with --auto whichever proves best.

    The trainer obeys, scorers follow with its next snapshot. It refuses a model that does not learn here or has learned
    too little to be believed: exit code 1, as when no trainer answers.

    \b
    Examples:
      stream-app models promote blend
      stream-app models promote --auto
    """
    if (name is None) is not auto:
        raise click.UsageError("expected either the NAME of a model or --auto")
    _promote(settings, name)


@models_group.command("rollback")
@with_settings(only=_KAFKA)
def models_rollback(settings: Settings) -> None:
    """Let the model serve again that served before the last change; it then stays, as after `promote`."""
    from stream_app.model_commands import read_models
    from stream_app.model_status import champion_of

    champion = champion_of(_ask(read_models(settings)))
    if champion.former is None:
        raise click.ClickException(
            f"no change to go back on: {champion.name} has served from the start (`stream-app models status`)"
        )
    _promote(settings, champion.former)


def _promote(settings: Settings, name: str | None) -> None:
    from stream_app.model_commands import UnansweredError, give_command

    try:
        refused = _ask(give_command(settings, name))
    except UnansweredError as error:
        raise click.ClickException(str(error)) from None
    if refused is not None:
        raise click.ClickException(f"the trainer refused: {refused}")
    if name is None:
        click.echo("log-loss chooses again")
    else:
        click.echo(f"{name} serves, and stays until told otherwise (`stream-app models promote --auto`)")


def _ask(asking: Coroutine[Any, Any, _Found]) -> _Found:
    """Run it; what Kafka does not give ends the command with one line and code 1."""
    from stream_app.audit_reading import NotPossibleError

    try:
        return asyncio.run(asking)
    except NotPossibleError as error:
        raise click.ClickException(str(error)) from None


def _status_row(model: dict[str, Any]) -> tuple[str, ...]:
    learned, calibrator = model["learned"], model["calibrator"]
    return (
        model["name"],
        model["role"] + (", frozen" if model["frozen"] else ""),
        f"{learned['examples']:,}",
        f"{learned['checkouts']:,}",
        f"{learned['others']:,}",
        "yes" if model["warm"] else "no",
        "" if model["log_loss"] is None else f"{model['log_loss']:.5f}",
        "" if model["difference"] is None else f"{model['difference']:+.5f}",
        "" if model["z"] is None else f"{model['z']:+.1f}",
        f"{calibrator['slope']:.2f} · logit {calibrator['offset']:+.2f}" if calibrator["serving"] else "off",
    )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if ms >= 0 else "at the start"


def _is_default(entry: ZooEntry) -> bool:
    from stream_app.settings import Settings

    return bool(entry.name == Settings.model_fields["model"].default)


def _model_facts(entry: ZooEntry) -> dict[str, Any]:
    from stream_app.core.zoo.inputs import INPUT_NAMES
    from stream_app.core.zoo.outline import outline

    return {
        "name": entry.name,
        "default": _is_default(entry),
        "about": entry.about,
        "pipeline": f"PurchasePriors | {outline(entry.build(0.5))}",
        "inputs": list(INPUT_NAMES),
        "cost": entry.cost._asdict(),
        "needs": {"snapshot_interval_ms": entry.cost.snapshot_interval_ms},
        "weighted": entry.weighted,
        "batch": entry.batch,
    }
