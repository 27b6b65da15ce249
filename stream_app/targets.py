"""Tells a Prometheus of this machine where the process' metrics are: a target file per process, for `file_sd_configs`.

Several processes on one host each have a port of their own, also a free one (`--web-port 0`) that nobody knows before.
A file appears when the port answers and goes when the process ends. A crash leaves it, and the target is shown as down,
which it is; the next start of the same name replaces it. The name is `--worker-id`, else host and port. A process on a
free port without a name is called by its host and process id, which does not come again: its file is removed by the
next start on this host, once that process is gone and nobody listens where it did.
"""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any, Final, Protocol

from mode import Service

from stream_app.settings import Settings

_NO_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")

#: Of a loopback port that nobody listens on the answer comes at once; a busy process may take some time for it.
_ANSWER_S: Final = 1.0


class Serving(Protocol):
    """A web server that has started: where it listens, `http://host:port` or `https://host:port`."""

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
        host = socket.gethostname()
        name = settings.worker_id or f"{host}-{settings.web_port or f'pid{os.getpid()}'}"
        self.path = Path(settings.web_targets) / _NO_FILE_NAME.sub("_", f"{settings.group_id}-{role}-{name}.json")
        self._of_this_host = re.compile(rf".*-{re.escape(_NO_FILE_NAME.sub('_', host))}-pid(\d+)\.json")

    async def on_start(self) -> None:
        """Write, under another name first: Prometheus reads at any moment. Remove what crashed processes have left."""
        scheme, _, target = self._web.url.partition("://")
        labels = self._labels if scheme == "http" else {**self._labels, "__scheme__": scheme}
        fresh = self.path.with_suffix(f".{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps([{"targets": [target], "labels": labels}]))
            fresh.replace(self.path)
            for path in self.path.parent.iterdir():
                found = self._of_this_host.fullmatch(path.name)
                if found and not _runs(int(found[1])) and not _answers(path):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise OSError(
                f"the target file {self.path} cannot be written ({error.strerror or error}); give a directory that can "
                "be with --web-targets, or none"
            ) from None

    async def on_stop(self) -> None:
        """Remove it, unless somebody of our name has taken it over."""
        target = self._web.url.partition("://")[2]
        try:
            if json.loads(self.path.read_text())[0]["targets"] == [target]:
                self.path.unlink()
        except (OSError, ValueError, LookupError, TypeError):
            return  # it is gone, or somebody else's


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def _answers(path: Path) -> bool:
    """Whether somebody listens where the file leads; containers may share a host's name and not its process ids."""
    try:
        host, _, port = json.loads(path.read_text())[0]["targets"][0].rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S):
            return True
    except TimeoutError:
        return True
    except (OSError, ValueError, LookupError, TypeError):
        return False
