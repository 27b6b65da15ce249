"""ops/systemd as systemd reads it: a unit, and over it what all whose names begin alike have in common."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.deploy.compose import env_file
from tests.deploy.role import Role

UNITS: Final = Path(__file__).parents[2] / "ops" / "systemd"
COMMON: Final = UNITS / "stream-app-.service.d" / "common.conf"
INSTALLED: Final = "/opt/stream-app/bin/stream-app"


def services() -> list[Path]:
    """The unit files of services."""
    return sorted(UNITS.glob("*.service"))


def lines(path: Path) -> list[tuple[str, str]]:
    """The assignments of a unit file, in order."""
    said = [line for line in path.read_text().splitlines() if line and line[0] not in "#[;"]
    return [(name, value) for name, _, value in (line.partition("=") for line in said)]


def roles(instance: str) -> dict[str, Role]:
    """The services by name; of a template the instance."""
    return {path.stem.removeprefix("stream-app-").rstrip("@"): _role(path, instance) for path in services()}


def _role(path: Path, instance: str) -> Role:
    said = [*lines(path), *lines(COMMON)]
    assert ("EnvironmentFile", "/etc/stream-app/environment") in said
    environment = env_file(UNITS / "environment")
    for name, value in said:
        if name == "Environment":
            environment |= dict(pair.split("=", 1) for pair in shlex.split(value))
    (command,) = [value for name, value in said if name == "ExecStart"]
    program, *arguments = shlex.split(command.replace("%i", instance))
    assert program == INSTALLED
    ports = [word for before, word in pairwise(arguments) if before.endswith("-port")]
    return Role(path.stem, arguments, environment, [], [port for port in ports if port != "0"])
