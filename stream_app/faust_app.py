"""For people who know Faust: `faust -A stream_app.faust_app worker` starts the same worker and trainer as `run`.

The application is made when it is asked for, from environment and file as ever; importing this module does nothing.
"""

from __future__ import annotations

from typing import Any

from stream_app import bootstrap, settings


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    loaded = settings.load()
    bootstrap.configure_logging(loaded)
    bootstrap.warn_of_development_key(loaded)
    app = bootstrap.create_app(loaded, worker=True, trainer=True).app
    globals()["app"] = app
    return app
