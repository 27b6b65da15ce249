"""Commands that print what the program knows of itself: `features`, `models`."""

from __future__ import annotations

import json

import click

from stream_app.cli_table import show_table

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


@click.command("models")
@_as_json
def models_command(as_json: bool) -> None:
    """Print the models that the setting `model` may name.

    \b
    Examples:
      stream-app models
      stream-app run --model newton
    """
    from stream_app.core.model import ZOO
    from stream_app.settings import Settings

    default = Settings.model_fields["model"].default
    models = [{"name": name, "default": name == default, "about": entry.about} for name, entry in ZOO.items()]
    if as_json:
        click.echo(json.dumps(models, indent=2, ensure_ascii=False))
        return
    show_table(("model", "default", "about"), [(m["name"], "yes" if m["default"] else "", m["about"]) for m in models])
