"""Tells a Prometheus of this machine where the process' metrics are: a target file per process, for `file_sd_configs`.

Several processes on one host each have a port of their own, also a free one (`--web-port 0`) that nobody knows before.
A file appears when the port answers and goes when the process ends. A crash leaves it, and the target is shown as down,
which it is; the next start of the same name replaces it. The name is `--worker-id`, else host and port: give processes
on free ports a name.
"""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any, Protocol

from mode import Service

from stream_app.settings import Settings

_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]")


class Serving(Protocol):
    """A web server that has started: where it listens, `http://host:port`."""

    @property
    def url(self) -> str: ...  # noqa: D102


class TargetFile(Service):  # type: ignore[misc]
    """Writes the file once the web server is up, and removes it. Its labels are `group` and `role`.

    Raises OSError from `start`, with what to do, where the directory cannot be written to.
    """

    def __init__(self, settings: Settings, web: Serving, *, role: str, **options: Any) -> None:
        super().__init__(**options)
        self._web = web
        self._labels = {"group": settings.group_id, "role": role}
        name = settings.worker_id or f"{socket.gethostname()}-{settings.web_port or os.getpid()}"
        self.path = Path(settings.web_targets) / _NO_FILE_NAME.sub("_", f"{settings.group_id}-{role}-{name}.json")

    async def on_start(self) -> None:
        """Write, under another name first: Prometheus reads at any moment."""
        target = self._web.url.removeprefix("http://")
        fresh = self.path.with_suffix(f".{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps([{"targets": [target], "labels": self._labels}]))
            fresh.replace(self.path)
        except OSError as error:
            raise OSError(
                f"the target file {self.path} cannot be written ({error.strerror or error}); give a directory that can "
                "be with --web-targets, or none"
            ) from None

    async def on_stop(self) -> None:
        """Remove it, unless somebody of our name has taken it over."""
        target = self._web.url.removeprefix("http://")
        try:
            if json.loads(self.path.read_text())[0]["targets"] == [target]:
                self.path.unlink()
        except (OSError, ValueError, LookupError, TypeError):
            return  # it is gone, or somebody else's
