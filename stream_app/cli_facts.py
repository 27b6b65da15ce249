"""Commands that print what the program knows of itself: `features`, `models`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from stream_app.cli_table import show_table

if TYPE_CHECKING:  # River and pandas take a second to import: not for `--help`
    from stream_app.core.zoo.entry import ZooEntry

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.command("features")
@_as_json
def features_command(as_json: bool) -> None:
    """Print the features of a session after an event: name, unit, meaning, in column order.

    They are emitted to session.features.v1 after every event. Each is a pure function of the session so far and the
    visitor's finished sessions; what is learned lives in the model.

    \b
    Examples:
      stream-app features
      stream-app features --json
    """
    from stream_app.core.features import FEATURE_SCHEMA, FEATURES

    if as_json:
        listed = [feature._asdict() for feature in FEATURES]
        click.echo(json.dumps({"schema": FEATURE_SCHEMA, "features": listed}, indent=2, ensure_ascii=False))
        return
    show_table(("feature", "unit", "meaning"), FEATURES)
    click.echo(f"{len(FEATURES)} features, schema {FEATURE_SCHEMA}")


class _ModelsGroup(click.Group):
    """`models` alone, or with the options of `list`, is `models list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("models", cls=_ModelsGroup)
def models_group() -> None:
    """The models that the setting `model` may name.

    \b
    Examples:
      stream-app models
      stream-app models show blend
      stream-app run --model newton
    """


@models_group.command("list")
@_as_json
def models_list(as_json: bool) -> None:
    """Print all models: name, what it is, what it costs.

    µs of CPU to score one event, per event in a batch of 500, and to learn an example; kB of a snapshot.
    """
    from stream_app.core.zoo.catalogue import ZOO

    if as_json:
        click.echo(json.dumps([_model_facts(entry) for entry in ZOO.values()], indent=2, ensure_ascii=False))
        return
    columns = ("model", "one", "of 500", "learn", "kB", "about")
    rows = []
    for entry in ZOO.values():
        cost = entry.cost
        numbers = (f"{n:,g}" for n in (cost.predict_us, cost.batch_us, cost.learn_us, cost.snapshot_kb))
        rows.append((entry.name, *numbers, ("(default) " if _is_default(entry) else "") + entry.about))
    show_table(columns, rows)
    click.echo("one, of 500: µs to score an event, alone and in a batch; learn: µs an example; kB: of a snapshot")


@models_group.command("show")
@click.argument("name")
@_as_json
def models_show(name: str, as_json: bool) -> None:
    """Print what a model is made of, sees, costs and needs."""
    from stream_app.core.zoo.catalogue import ZOO

    if name not in ZOO:
        refused = click.ClickException(f"got model {name!r}, expected one of {', '.join(sorted(ZOO))}")
        refused.exit_code = 2
        raise refused
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
