"""For people who know Faust: `faust -A stream_app.discounts.app worker` is the same as `stream-app discounts`.

The application is made when it is asked for, from environment and file as ever; importing this module does nothing.
Faust's own options for logging, web and loop say nothing here: the settings do.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from stream_app.cli_options import Sources
from stream_app.cli_run import require_topics
from stream_app.discounts.beginning import begin_where_sessions_go_on
from stream_app.discounts.core.policy_file import PolicyError
from stream_app.discounts.deployment import create_app
from stream_app.faust_start import end, start_with


def __getattr__(name: str) -> Any:
    """Make `app`; a wrong setting or policy ends the program with one line and code 2."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = Sources({}, None).load()
        deployment = create_app(settings)
    except click.ClickException as refused:
        end(refused)
    except PolicyError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)

    def require() -> None:
        require_topics(settings)
        begin_where_sessions_go_on(settings)

    start_with(deployment, require)
    app = deployment.app
    globals()["app"] = app
    return app
