"""docker-compose.yml as `docker compose` reads it: anchors merged, variables filled in; and the image's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.role import Role

REPOSITORY: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (REPOSITORY / "Dockerfile").read_text()
_TEXT: Final = (REPOSITORY / "docker-compose.yml").read_text()
#: `${NAME}`, `${NAME:-otherwise}`; `$$` would be a dollar, which nothing needs.
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
SERVES: Final = ("worker", "trainer", "discounts", "collect", "ingest")


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with variables of the caller's; KeyError for one that is neither given nor has a default."""

    def value(found: re.Match[str]) -> str:
        name, otherwise = found.groups()
        # As compose does it, one that is empty counts as not given.
        return variables.get(name) or (otherwise if otherwise is not None else variables[name])

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: filled(inner) for name, inner in part.items()}
        if isinstance(part, list):
            return [filled(inner) for inner in part]
        return _VARIABLE.sub(value, part) if isinstance(part, str) else part

    parsed: dict[str, Any] = filled(yaml.safe_load(_TEXT))
    return parsed


def env_file(path: Path) -> dict[str, str]:
    """NAME=VALUE lines, as compose, kustomize and systemd read them."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def image_environment() -> dict[str, str]:
    """What the image sets for every container, but where its programs are."""
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    said = " ".join(re.findall(r"^ENV (.*)$", last_stage, re.MULTILINE)).split()
    return {name: value for name, value in (pair.split("=", 1) for pair in said) if name != "PATH"}


def image_health() -> list[str]:
    """The command by which the image is asked for its health."""
    found = re.search(r"^HEALTHCHECK .*?CMD (\[[^\n]*\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found
    command: list[str] = json.loads(found[1])
    return command


def ours(parsed: Mapping[str, Any]) -> dict[str, Role]:
    """The services that run our image, by name."""
    return {name: _role(name, service) for name, service in parsed["services"].items() if _is_ours(service)}


def _is_ours(service: Mapping[str, Any]) -> bool:
    return service["image"] == "stream-app"


def _role(name: str, service: Mapping[str, Any]) -> Role:
    checked = not service.get("healthcheck", {}).get("disable", False)
    environment = image_environment() | {key: str(value) for key, value in service["environment"].items()}
    ports = [environment[key] for key in ("STREAM_APP_WEB_PORT", "STREAM_APP_COLLECT_PORT") if key in environment]
    return Role(name, list(service["command"]), environment, [image_health()] if checked else [], ports)
