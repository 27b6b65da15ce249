"""deploy/kubernetes as `kubectl apply -k` would send it, without a kubectl: resources, generated maps, labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.compose import env_file, image_environment
from tests.deploy.role import Http, Role

KUBERNETES: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASE: Final = KUBERNETES / "base"
KEDA: Final = KUBERNETES / "keda"
KUSTOMIZATION: Final[dict[str, Any]] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
_PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")


def resources() -> list[dict[str, Any]]:
    """The base's own, as they are written."""
    return [
        resource
        for name in KUSTOMIZATION["resources"]
        for resource in yaml.safe_load_all((BASE / name).read_text())
        if resource
    ]


def settings() -> dict[str, str]:
    """What the generated map hands to every container."""
    return env_file(BASE / "settings.env")


def pods() -> dict[str, dict[str, Any]]:
    """Pod templates by the name of the only container in each, with the labels that the kustomization adds."""
    (common,) = KUSTOMIZATION["labels"]
    found = {}
    for resource in resources():
        template = resource.get("spec", {}).get("template")
        if template is not None:
            (container,) = template["spec"]["containers"]
            added = common["pairs"] if common.get("includeTemplates") else {}
            found[container["name"]] = {**template, "labels": {**template["metadata"]["labels"], **added}}
    return found


def roles() -> dict[str, Role]:
    """The containers, by name."""
    return {name: _role(name, pod["spec"]["containers"][0]) for name, pod in pods().items()}


def _role(name: str, container: dict[str, Any]) -> Role:
    assert container["envFrom"] == [{"configMapRef": {"name": "stream-app-settings"}}]
    ports = {port["name"]: str(port["containerPort"]) for port in container.get("ports", [])}
    checks: list[Http | list[str]] = list(_probes(container, ports))
    return Role(name, container["args"], image_environment() | settings(), checks, list(ports.values()))


def _probes(container: dict[str, Any], ports: dict[str, str]) -> Iterator[Http]:
    for name in _PROBES:
        if name in container:
            asked = container[name]["httpGet"]
            yield Http(asked["path"], ports[asked["port"]])
