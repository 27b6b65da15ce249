"""What `stream-app acls kafka` prints, given to a shell as docs/security.md says: Kafka's own tool takes every line."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from stream_app import kafka_acls
from stream_app.cli_acls import acls_group
from tests.deploy.third_parties import kafka_tool
from tests.security.deployment import RAW, SUBSCRIBERS, SecuredServers
from tests.support.fixtures import skip_or_fail
from tests.support.unavailable import UnavailableError

#: In seconds: a Java for each line.
_PATIENCE_S = 300.0
PRINCIPAL = "User:let in by hand"


@pytest.fixture
def tool(secured: SecuredServers, tmp_path: Path) -> Path:
    """A directory in which `kafka-acls.sh` is on the path and `admin.properties` is an administrator's."""
    try:
        command = kafka_tool("kafka-acls")
    except UnavailableError as reason:
        skip_or_fail(reason)
    script = tmp_path / "kafka-acls.sh"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o700)
    (tmp_path / "admin.properties").write_text(secured.kafka.admin_properties())
    return tmp_path


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("role", kafka_acls.ROLES)
def test_every_line_becomes_the_rights_that_the_role_is_tested_with(
    role: str, tool: Path, secured: SecuredServers
) -> None:
    words = ["kafka", "--role", role, "--principal", PRINCIPAL, "--kafka-bootstrap", secured.kafka.sasl]
    words += ["--processing-guarantee", "exactly_once", "--topic-partitions", "2", "--group-id", "secured-shop"]
    words += (
        ["--topic", RAW, "--partitions", "1"]
        if role == "ingest"
        else ["--group", SUBSCRIBERS]
        if role == "subscriber"
        else []
    )
    printed = CliRunner().invoke(acls_group, words)
    assert printed.exit_code == 0, printed.output
    done = subprocess.run(
        [shutil.which("sh") or "sh", "-e"], input=printed.output, cwd=tool, text=True, capture_output=True, check=False,
        env={**os.environ, "PATH": f"{tool}:{os.environ['PATH']}"}, timeout=_PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    by_the_tool = bindings(secured, PRINCIPAL)
    secured.allow(role, processing_guarantee="exactly_once")
    assert by_the_tool == bindings(secured, f"User:{role}")
    secured.kafka.allow(PRINCIPAL.removeprefix("User:"), [])
    secured.allow(role)


def bindings(secured: SecuredServers, principal: str) -> set[tuple[str, str, str]]:
    """What a principal may do: kind, name, operation."""
    admin = secured.kafka.admin()
    asked = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, principal, None, AclOperation.ANY, AclPermissionType.ANY
    )
    found = admin.describe_acls(asked).result(timeout=30)
    assert all(acl.permission_type == AclPermissionType.ALLOW and acl.host == "*" for acl in found)
    assert all(acl.resource_pattern_type == ResourcePatternType.LITERAL for acl in found)
    return {(acl.restype.name, acl.name, acl.operation.name) for acl in found}
