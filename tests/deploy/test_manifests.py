"""deploy/kubernetes is what Kubernetes and KEDA accept, its parts find each other, pods get no more than they need."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stream_app.discounts.policy_text import policy_text
from stream_app.metrics import METRICS
from stream_app.settings import Settings, load
from tests.deploy.manifests import BASE, KEDA, KUSTOMIZATION, pods, resources, roles, settings
from tests.support.fixtures import skip_or_fail
from tests.support.npm import DEPLOY_SPECS, installed
from tests.support.unavailable import UnavailableError, program

#: The oldest that is still looked after, and a newer one.
VERSIONS = ("1.31", "1.34")
RESOURCES = resources()
PODS = pods()
CONTAINERS = {name: pod["spec"]["containers"][0] for name, pod in PODS.items()}
SCALED = yaml.safe_load((KEDA / "scaled-object.yaml").read_text())


def named(resource: dict[str, Any]) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [resource for resource in RESOURCES if resource["kind"] == kind]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES, ids=named)
def test_a_resource_is_one_that_kubernetes_accepts(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


def test_a_mistyped_field_is_not_accepted() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**of_kind("Job")[0], "sepc": {}}, VERSIONS[0], strict=True)


def test_the_scaled_object_is_one_that_keda_accepts() -> None:
    try:
        node, directory = program("node", "apt-get install nodejs"), installed(DEPLOY_SPECS)
    except UnavailableError as reason:
        skip_or_fail(reason)
    ask = (
        "import {ScaledObject} from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';"
        "import {readFileSync} from 'node:fs';"
        "new ScaledObject(JSON.parse(readFileSync(0, 'utf8'))).validate()"
    )
    mistaken = {**SCALED, "spec": {**SCALED["spec"], "maxReplicaCount": "twelve"}}
    for found, accepted in ((SCALED, True), (mistaken, False)):
        done = subprocess.run(
            [node, "--input-type=module", "-e", ask], cwd=directory, input=json.dumps(found), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == accepted, done.stderr
    # What it does not know it lets pass, and so would Kubernetes: a mistyped name must be found otherwise.
    types = ("@kubernetes-models/keda/keda.sh/v1alpha1/*.d.ts", "kubernetes-models/autoscaling/v2/*.d.ts")
    files = [path for pattern in types for path in (directory / "node_modules").glob(pattern)]
    known = {name for path in files for name in re.findall(r'"(\w+)"\??:', path.read_text())}
    assert set(names_in(SCALED["spec"])) <= known


def names_in(part: Any) -> Iterator[str]:
    """Every field's name, but not those that a trigger's scaler reads as text."""
    if isinstance(part, dict):
        for name, inner in part.items():
            yield name
            if name != "metadata":
                yield from names_in(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from names_in(inner)


def test_kustomize_makes_of_it_what_these_tests_look_at() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: the files are read one by one, without kustomize")
    for directory, more in ((BASE, set()), (KEDA, {"ScaledObject stream-app-worker"})):
        done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made = list(yaml.safe_load_all(done.stdout))
        expected = {named(resource) for resource in RESOURCES} | more
        assert {named(resource) for resource in made if resource["kind"] != "ConfigMap"} == expected
        (worker,) = [resource for resource in made if named(resource) == "StatefulSet stream-app-worker"]
        assert ("replicas" in worker["spec"]) == (not more)
        assert worker["spec"]["template"]["metadata"]["labels"] == PODS["worker"]["labels"]


def test_probes_speak_https_by_the_patch_of_the_page(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    page = (BASE.parents[2] / "docs" / "howto" / "kubernetes.md").read_text()
    (told,) = re.findall(r"```yaml\n# in mine/kustomization.yaml\n(.*?)```", page, re.DOTALL)
    shutil.copytree(BASE, tmp_path / "base")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(f"resources: [../base]\n{told}")
    done = subprocess.run([kubectl, "kustomize", tmp_path / "mine"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [resource.get("spec", {}).get("template") for resource in yaml.safe_load_all(done.stdout)]
    probes = [
        probe["httpGet"]["scheme"]
        for template in made
        if template is not None
        for name, probe in template["spec"]["containers"][0].items()
        if name.endswith("Probe")
    ]
    assert probes == ["HTTPS"] * 12


def test_every_file_is_part_of_a_kustomization() -> None:
    used = {*KUSTOMIZATION["resources"], "kustomization.yaml", "settings.env", "policy.toml"}
    assert {path.name for path in BASE.iterdir()} == used


def test_settings_are_settings_and_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "snapshot_key").write_text("given")
    for name, value in settings().items():
        monkeypatch.setenv(name, value.replace("/etc/stream-app/secrets", str(tmp_path)))
    assert load().snapshot_key.get_secret_value() == "given"


def test_the_policy_is_the_default_one() -> None:
    assert (BASE / "policy.toml").read_text() == policy_text(None)


def test_variables_of_kubernetes_own_never_meet_those_of_the_settings() -> None:
    # A Service `stream-app-collect` becomes STREAM_APP_COLLECT_PORT=tcp://10.0.0.1:80, which is a setting's name.
    assert any(service["metadata"]["name"] == "stream-app-collect" for service in of_kind("Service"))
    assert "collect_port" in Settings.model_fields
    for name, pod in PODS.items():
        assert pod["spec"]["enableServiceLinks"] is False, name


@pytest.mark.parametrize(
    "resource", [*of_kind("Service"), *of_kind("PodDisruptionBudget"), *of_kind("NetworkPolicy")], ids=named
)
def test_what_selects_pods_finds_some(resource: dict[str, Any]) -> None:
    spec = resource["spec"]
    selector = spec.get("podSelector", spec.get("selector"))
    wanted = selector.get("matchLabels", selector)
    found = [name for name, pod in PODS.items() if wanted.items() <= pod["labels"].items()]
    assert found
    if resource["kind"] != "NetworkPolicy":
        assert found == [resource["metadata"]["name"].removeprefix("stream-app-")]
    elif resource["metadata"]["name"] == "stream-app":
        assert found == list(PODS)


def test_a_workload_selects_its_own_pods_and_its_name_is_served_where_pods_have_one() -> None:
    headless = {
        service["metadata"]["name"] for service in of_kind("Service") if service["spec"].get("clusterIP") == "None"
    }
    for workload in (*of_kind("StatefulSet"), *of_kind("Deployment")):
        assert (
            workload["spec"]["selector"]["matchLabels"].items()
            <= workload["spec"]["template"]["metadata"]["labels"].items()
        )
        if workload["kind"] == "StatefulSet":
            assert workload["spec"]["serviceName"] in headless


def test_network_policies_let_through_the_ports_that_are_spoken_to() -> None:
    ours, collect = of_kind("NetworkPolicy")
    out = {port["port"] for rule in ours["spec"]["egress"] for port in rule["ports"]}
    brokers = {int(address.rpartition(":")[2]) for address in settings()["STREAM_APP_KAFKA_BOOTSTRAP"].split(",")}
    redis = int(settings()["STREAM_APP_REDIS_URL"].rpartition(":")[2].partition("/")[0])
    assert out == {53, redis, *brokers}
    assert {port["port"] for rule in ours["spec"]["ingress"] for port in rule["ports"]} == {
        int(settings()["STREAM_APP_WEB_PORT"])
    }
    assert {port["port"] for rule in collect["spec"]["ingress"] for port in rule["ports"]} == {
        int(settings()["STREAM_APP_COLLECT_PORT"])
    }


def test_containers_listen_where_their_settings_say() -> None:
    told = settings()
    for name, container in CONTAINERS.items():
        ports = {port["name"]: str(port["containerPort"]) for port in container.get("ports", [])}
        expected = {"web": told["STREAM_APP_WEB_PORT"], "http": told["STREAM_APP_COLLECT_PORT"]}
        assert ports.items() <= expected.items(), name
        if "web" in ports:
            assert PODS[name]["metadata"]["annotations"]["prometheus.io/port"] == ports["web"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_what_the_restricted_profile_allows_and_writes_nowhere_but_to_tmp(name: str) -> None:
    spec, container = PODS[name]["spec"], CONTAINERS[name]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}


def test_files_that_settings_name_are_mounted() -> None:
    for setting, path in settings().items():
        if path.startswith("/etc/stream-app/"):
            user = {"STREAM_APP_DISCOUNT_POLICY": "discounts"}.get(setting, "collect")
            mounts = [mount["mountPath"] for mount in CONTAINERS[user]["volumeMounts"]]
            assert str(Path(path).parent) in mounts, setting


def test_a_stop_is_waited_for_and_one_pod_at_a_time_is_disturbed() -> None:
    budgets = {budget["metadata"]["name"]: budget["spec"] for budget in of_kind("PodDisruptionBudget")}
    for workload in (*of_kind("StatefulSet"), *of_kind("Deployment")):
        assert workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 10
        assert budgets[workload["metadata"]["name"]]["maxUnavailable"] == 1
        assert workload["spec"]["replicas"] > 1, "or a disturbance would stop all of it"


def test_a_pod_behind_a_service_goes_on_answering_until_senders_go_elsewhere() -> None:
    behind = {
        service["metadata"]["name"].removeprefix("stream-app-")
        for service in of_kind("Service")
        if service["spec"].get("clusterIP") != "None"
    }
    assert behind == {name for name, container in CONTAINERS.items() if "lifecycle" in container} == {"collect"}
    for name in behind:
        pause_s = CONTAINERS[name]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert PODS[name]["spec"]["terminationGracePeriodSeconds"] > pause_s + 10


def test_keda_never_asks_for_more_workers_than_there_are_partitions_and_by_metrics_that_exist() -> None:
    spec = SCALED["spec"]
    (worker,) = [workload for workload in of_kind("StatefulSet") if workload["metadata"]["name"] == "stream-app-worker"]
    assert spec["scaleTargetRef"] == {key: worker[key] for key in ("apiVersion", "kind")} | {
        "name": "stream-app-worker"
    }
    assert spec["maxReplicaCount"] <= int(settings()["STREAM_APP_TOPIC_PARTITIONS"])
    names = {spec.name for spec in METRICS}
    for trigger, metric in zip(spec["triggers"], ("intent_scores_total", "intent_lag_records"), strict=True):
        assert metric in trigger["metadata"]["query"]
        assert metric in names


def test_all_probes_are_there_where_something_serves() -> None:
    for name, role in roles().items():
        assert [check.path for check in role.checks if not isinstance(check, list)] == (
            [] if name == "topics" else ["/healthz", "/healthz", "/readyz"]
        )
