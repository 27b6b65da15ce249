"""docker-compose.yml, Dockerfile and Prometheus' configuration say what the program understands; no engine needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from stream_app.settings import ENV_PREFIX, Settings, load

_REPOSITORY = Path(__file__).parents[2]
_COMPOSE: dict[str, Any] = yaml.safe_load((_REPOSITORY / "docker-compose.yml").read_text())
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_OURS = sorted(name for name, service in _SERVICES.items() if service.get("image") == "stream-app")
_DOCKERFILE = (_REPOSITORY / "Dockerfile").read_text()


def test_the_services_of_a_deployment_are_all_there() -> None:
    assert set(_SERVICES) == {"kafka", "redis", "topics", "worker", "trainer", "prometheus", "grafana"}
    assert _OURS == ["topics", "trainer", "worker"]


@pytest.mark.parametrize("service", _OURS)
def test_every_command_is_one_that_the_program_has(service: str) -> None:
    from stream_app.cli import main

    command: click.Command = main
    context = click.Context(main)
    for word in _SERVICES[service]["command"]:
        assert isinstance(command, click.Group), f"{word} follows a command without subcommands"
        found = command.get_command(context, word)
        assert found is not None, f"stream-app has no command {word}"
        command = found
    assert not isinstance(command, click.Group)


@pytest.mark.parametrize("service", _OURS)
def test_every_variable_is_a_setting_and_its_value_is_valid(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _SERVICES[service]["environment"].items():
        assert name.removeprefix(ENV_PREFIX).lower() in Settings.model_fields, name
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?[^}]*\}", "given", str(value)))
    settings = load()
    assert settings.snapshot_key.get_secret_value() == "given"
    assert settings.web_host == "0.0.0.0"


def test_the_snapshot_key_has_no_default_and_says_how_to_make_one() -> None:
    value = _SERVICES["worker"]["environment"]["STREAM_APP_SNAPSHOT_KEY"]
    assert value.startswith("${STREAM_APP_SNAPSHOT_KEY:?")
    assert "openssl rand" in value


def test_host_ports_are_on_loopback_only() -> None:
    for name, service in _SERVICES.items():
        assert service.get("network_mode") != "host", name
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), f"{name} publishes {port}"


def test_workers_scale_because_nothing_of_them_exists_once_only() -> None:
    assert not {"ports", "container_name", "hostname"} & set(_SERVICES["worker"])


def test_every_service_waits_for_what_it_needs_to_be_ready() -> None:
    for name, service in _SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                has_check = "healthcheck" in _SERVICES[needed] or (needed in _OURS and "HEALTHCHECK" in _DOCKERFILE)
                assert has_check, f"{name} waits for the health of {needed}, which has no check"
            else:
                assert how["condition"] == "service_completed_successfully", name
                assert _SERVICES[needed]["restart"] == "no", f"{needed} never completes"
    for name in ("worker", "trainer"):
        assert set(_SERVICES[name]["depends_on"]) == {"topics", "redis"}


def test_named_volumes_are_declared_and_what_is_mounted_exists() -> None:
    for name, service in _SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (_REPOSITORY / source).exists(), f"{name} mounts {source}"
            else:
                assert source in _COMPOSE["volumes"], f"{name} mounts {source}"


def test_prometheus_asks_the_services_that_exist_at_the_port_that_they_serve() -> None:
    config = yaml.safe_load((_REPOSITORY / "ops/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    assert set(jobs) == {"worker", "trainer"}
    for name, discovery in jobs.items():
        assert discovery["names"] == [name]
        assert str(discovery["port"]) == _SERVICES[name]["environment"]["STREAM_APP_WEB_PORT"]


def test_the_image_runs_as_nobody_and_checks_its_health() -> None:
    assert re.search(r"^USER app$", _DOCKERFILE, re.MULTILINE)
    health = re.search(r"^HEALTHCHECK .*?CMD (\[[^\n]*\])$", _DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert health
    command = json.loads(health[1])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")
    assert "/healthz" in command[2]
    assert 'ENTRYPOINT ["stream-app"]' in _DOCKERFILE


def test_what_the_image_is_built_from_is_let_through() -> None:
    let_through = {line[1:] for line in (_REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", _DOCKERFILE, re.MULTILINE)
    assert {source for line in copied for source in line.split()} == let_through
    assert all((_REPOSITORY / source).exists() for source in let_through)
