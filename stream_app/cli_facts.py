"""`stream-app features`: what is emitted after every event."""

from __future__ import annotations

import json

import click

from stream_app.cli_table import show_table


@click.command("features")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
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
