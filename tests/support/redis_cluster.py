"""A real Redis Cluster of three masters, on loopback."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from stream_app.backends.child_process import ChildProcess, ServerError, free_port, port_answers
from stream_app.backends.embedded import valkey_command
from tests.support.unavailable import program

_MASTERS: Final = 3
_TOLD_S: Final = 60.0
_PORT_MAX: Final = 55_535
_ATTEMPTS: Final = 5


class RealRedisCluster:
    """Debian's redis-server, three times, each with a third of the slots.

    Raises UnavailableError from `start` when redis-server is missing, ServerError when it does not come up.
    """

    def __init__(self) -> None:
        self._children: list[ChildProcess] = []
        self._ports: list[int] = []
        self._said = ""
        self._directory: Path | None = None
        #: of one of them; empty before `start`
        self.url = ""

    def start(self) -> Self:
        """Run them until all slots are served."""
        binary, asking = (program(name, "apt-get install redis-server") for name in ("redis-server", "redis-cli"))
        self._directory = Path(tempfile.mkdtemp(prefix="stream-app-redis-cluster-"))
        try:
            self._ports = [self._master(binary, number) for number in range(_MASTERS)]
            places = [f"127.0.0.1:{port}" for port in self._ports]
            made = subprocess.run(
                [asking, "--cluster", "create", *places, "--cluster-yes"], capture_output=True, text=True, check=False
            )
            self._said = made.stdout + made.stderr
            self._until_whole()
        except BaseException:
            self.stop()
            raise
        self.url = f"redis://{places[0]}/0"
        return self

    def stop(self) -> None:
        """End all of them, and forget what they have written."""
        for child in self._children:
            child.stop()
        self._children.clear()
        self.url = ""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def keys(self) -> list[int]:
        """How many each of them holds."""
        asking = program("redis-cli", "apt-get install redis-server")
        return [
            int(subprocess.run([asking, "-p", str(port), "dbsize"], capture_output=True, text=True, check=True).stdout)
            for port in self._ports
        ]

    def restart(self, number: int) -> None:
        """Kill one; it comes back with its slots, and with nothing in them."""
        child, port = self._children[number], self._ports[number]
        child.kill()
        child.start(lambda: port_answers(port))
        self._until_whole()

    def _until_whole(self) -> None:
        asking = program("redis-cli", "apt-get install redis-server")
        deadline = time.monotonic() + _TOLD_S
        while not all(_is_whole(asking, port) for port in self._ports):
            if time.monotonic() > deadline:
                raise ServerError(f"the Redis Cluster did not come up within {_TOLD_S:g} s {self._said}")
            time.sleep(0.1)

    def _master(self, binary: str, number: int) -> int:
        assert self._directory is not None
        directory = self._directory / str(number)
        directory.mkdir()
        for attempt in range(1, _ATTEMPTS + 1):
            port, bus = _low_port(), _low_port()
            command = (
                *valkey_command(binary, port),
                "--cluster-enabled", "yes", "--cluster-port", str(bus), "--dir", str(directory),
            )  # fmt: skip
            child = ChildProcess("Redis Cluster", command)
            try:
                child.start(lambda port=port: port_answers(port))  # type: ignore[misc]
            except ServerError:
                if attempt == _ATTEMPTS:
                    raise
                continue
            self._children.append(child)
            return port
        raise AssertionError


def _low_port() -> int:
    """One to which the ten thousand of a cluster bus could be added, which Redis checks whatever the bus's port is."""
    while (port := free_port()) > _PORT_MAX:
        pass
    return port


def _is_whole(asking: str, port: int) -> bool:
    told = subprocess.run(
        [asking, "-h", "127.0.0.1", "-p", str(port), "cluster", "info"], capture_output=True, text=True, check=False
    ).stdout
    return "cluster_state:ok" in told and "cluster_slots_ok:16384" in told
