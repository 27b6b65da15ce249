"""One of our containers or services as a plain process: its command line and variables as written, run here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from stream_app.backends.child_process import ChildProcess, free_port
from tests.support.unavailable import program

#: In seconds: a dozen Pythons start beside each other, on a machine that has other work.
START_S: Final = 180.0
_POLL_S: Final = 0.2
#: The longest that a file gives a process to stop in is 20 s.
_STOP_S: Final = 30.0
PROGRAM: Final = Path(sys.executable).with_name("stream-app")


class Http(NamedTuple):
    """A probe: healthy is any answer of 200."""

    path: str
    port: str


class Role(NamedTuple):
    """As a file has it. `checks` are probes, or the words of a command that exits with 0."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    checks: list[Http | list[str]]
    #: ports on which it listens, as the file writes them
    ports: list[str]


class Here:
    """What deployments call things, and what those are called on this machine."""

    def __init__(self, words: Mapping[str, str], more: Mapping[str, str]) -> None:
        # The longest first: one may be the beginning of another.
        self._words = sorted(words.items(), key=lambda pair: -len(pair[0]))
        #: variables that a test sets besides, so that deployments on the same servers never meet
        self.more = dict(more)

    def called(self, text: str) -> str:
        """The text with all of it replaced."""
        for there, here in self._words:
            text = text.replace(there, here)
        return text


class Process:
    """A role that runs here; each port that it listens on is a free one. Use it as a context manager."""

    def __init__(self, role: Role, here: Here, directory: Path, *, more: Sequence[str] = ()) -> None:
        self.role = role
        self._ports = {port: str(free_port()) for port in role.ports}
        #: where it is started: nothing may be written there
        self.directory = directory / role.name
        self.directory.mkdir()
        self.environment = self._environment(here)
        arguments = [self._ports.get(word, here.called(word)) for word in role.arguments]
        self.command = [program("env", "coreutils"), "-C", str(self.directory), str(PROGRAM), *arguments, *more]
        self._child = ChildProcess(role.name, self.command, env=self.environment, stop_timeout_s=_STOP_S)

    def _environment(self, here: Here) -> dict[str, str]:
        """Of this machine nothing but where programs are: what a role needs its file has to say."""
        written = {name: self._ports.get(value, here.called(value)) for name, value in self.role.environment.items()}
        return {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", **written, **here.more}

    def url(self, port: str) -> str:
        """Where it listens, by the port that the file has."""
        return f"http://127.0.0.1:{self._ports[port]}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def words(self) -> str:
        """The last that it said."""
        return self._child.last_words()

    def done(self) -> subprocess.CompletedProcess[str]:
        """Run it to its end instead."""
        return subprocess.run(
            self.command, env=self.environment, capture_output=True, text=True, timeout=START_S, check=False
        )

    def begin(self) -> Self:
        """Start it, and wait for nothing."""
        self._child.start(lambda: True)
        return self

    def until_healthy(self) -> None:
        """Wait until each of its checks says so; AssertionError with its last words where it ended or took too long."""
        deadline = time.monotonic() + START_S
        for check in self.role.checks:
            while not self._passes(check):
                assert self._child.running, f"{self.role.name} ended: {self.words}"
                assert time.monotonic() < deadline, f"{self.role.name}: {check} says no: {self.words}"
                time.sleep(_POLL_S)

    def _passes(self, check: Http | list[str]) -> bool:
        if isinstance(check, Http):
            return answers(self.url(check.port) + check.path)
        return passes(check, self.environment)

    def __enter__(self) -> Self:
        return self.begin()

    def __exit__(self, *error: object) -> None:
        self._child.stop()


def passes(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a check's command exits with 0. Raises where it cannot even be started."""
    return subprocess.run(command, env=environment, capture_output=True, timeout=START_S, check=False).returncode == 0


def answers(url: str) -> bool:
    """Whether somebody answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def posted(url: str, key: str, event: Mapping[str, object]) -> object:
    """An event sent to a collector, with a write key; the answer's JSON."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(event).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
