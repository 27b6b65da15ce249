"""For people who know Faust: `faust -A stream_app.faust_app worker` starts the same worker and trainer as `run`.

The application is made when it is asked for, from environment and file as ever; importing this module does nothing.
Faust's own options for logging, web and loop say nothing here: the settings do.
"""

from __future__ import annotations

from typing import Any

import click

from stream_app import bootstrap
from stream_app.cli_options import Sources
from stream_app.cli_run import require_scoring, require_topics
from stream_app.faust_start import end, start_with


def __getattr__(name: str) -> Any:
    """Make `app`; a wrong setting ends the program with one line and code 2."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = Sources({}, None).load()
        require_scoring(settings)
    except click.ClickException as refused:
        end(refused)
    deployment = bootstrap.create_app(settings, worker=True, trainer=True)
    app = deployment.app

    def require() -> None:
        require_topics(settings)
        # For Faust's banner alone: the server is ours, and the command has just put its own defaults there. With port 0
        # nobody knows yet.
        app.conf.web_enabled = settings.web_port != 0
        app.conf.canonical_url = f"http://{settings.web_host}:{settings.web_port}"

    start_with(deployment, require)
    globals()["app"] = app
    return app
