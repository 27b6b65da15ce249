"""A real Kafka that lets nobody in unknown: SASL over TLS on one port, client certificates on another, access lists.

What is not allowed is denied. The broker speaks to itself on a third port, in the clear on loopback, where whoever
comes may do everything: no program under test is told of it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from stream_app.backends.child_process import ChildProcess, ServerError, free_port, port_answers
from stream_app.kafka_acls import Grant
from tests.security.certificates import Authority
from tests.security.tokens import AUDIENCE, ISSUER, Issuer
from tests.support.kafka_properties import Node, server_properties
from tests.support.servers import DIRECTORY_PREFIX, KAFKA_JARS, SMALL_JVM, fetch_kafka_jars, program

ADMIN = "admin"
_START_S = 60.0
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Create": AclOperation.CREATE,
}


class SecuredKafka:
    """One broker. `users` have passwords by SCRAM-SHA-512 and PLAIN, and those of `short` by SCRAM-SHA-256 only.

    Raises UnavailableError and ServerError as `RealKafka`.
    """

    def __init__(
        self, authority: Authority, issuer: Issuer, *, users: Mapping[str, str], short: Mapping[str, str]
    ) -> None:
        self._authority, self._issuer = authority, issuer
        self._users, self._short = {ADMIN: "set-up-and-nothing-else", **users}, short
        self._directory = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-"))
        self._log = self._directory / "broker.log"
        self._child: ChildProcess | None = None
        #: `host:port` for SASL over TLS, and for client certificates
        self.sasl = self.mtls = ""

    def __enter__(self) -> Self:
        java = program("java", "apt-get install default-jre-headless")
        fetch_kafka_jars()
        node = Node(1, free_port(), free_port())
        sasl, mtls = free_port(), free_port()
        self.sasl, self.mtls = f"127.0.0.1:{sasl}", f"127.0.0.1:{mtls}"
        file = self._directory / "server.properties"
        file.write_text(server_properties(node, [node], self._directory / "log", more=self._settings(node, sasl, mtls)))
        run = [java, *SMALL_JVM, f"-Djava.io.tmpdir={self._directory}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        # Each denial is a line: a test that fails shows what was missing.
        run += ["-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info"]
        run += [f"-Dorg.slf4j.simpleLogger.logFile={self._log}"]
        run += [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._issuer.jwks.as_uri()}"]
        run += ["-cp", f"{KAFKA_JARS}/*"]
        known = [("SCRAM-SHA-512", *user) for user in self._users.items()]
        known += [("SCRAM-SHA-256", *user) for user in self._short.items()]
        passwords = [f"--add-scram={kind}=[name={name},password={password}]" for kind, name, password in known]
        done = subprocess.run(
            [*run, "kafka.tools.StorageTool", "format", "-t", "c3RyZWFtLWFwcC10ZXN0cw", "-c", str(file), *passwords],
            capture_output=True, text=True, timeout=_START_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ServerError(f"Kafka's storage could not be formatted: {done.stdout}{done.stderr}")
        self._child = ChildProcess("secured Kafka", [*run, "kafka.Kafka", str(file)], stop_signal=signal.SIGKILL)
        self._child.start(lambda: port_answers(sasl) and port_answers(mtls), timeout_s=_START_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def denied(self, principal: str) -> set[str]:
        """What somebody asked for and did not get, as the broker's log tells: `WRITE on Topic:LITERAL:…`."""
        found = re.findall(
            rf"Principal = User:{principal} is Denied operation = (\w+) from host = \S+ on resource = (\S+) ",
            self._log.read_text(),
        )
        return {f"{operation} on {resource}" for operation, resource in found}

    def admin(self) -> AdminClient:
        """Who sets up, and may do everything."""
        return AdminClient(self.options(ADMIN, self._users[ADMIN]))

    def admin_properties(self) -> str:
        """The same, as Kafka's own programs read it from a file."""
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return (
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n"
            f'sasl.jaas.config={module} required username="{ADMIN}" password="{self._users[ADMIN]}";\n'
            f"ssl.truststore.type=PEM\nssl.truststore.location={self._authority.ca}\n"
        )

    def options(self, name: str, password: str) -> dict[str, Any]:
        """For librdkafka's clients."""
        return {
            "bootstrap.servers": self.sasl,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": name,
            "sasl.password": password,
            "ssl.ca.location": str(self._authority.ca),
        }

    def allow(self, principal: str, given: Iterable[Grant]) -> None:
        """Let it do this, and nothing else that it could do before."""
        admin = self.admin()
        everything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{principal}", None, AclOperation.ANY,
            AclPermissionType.ANY,
        )  # fmt: skip
        for future in admin.delete_acls([everything]).values():
            future.result(timeout=30)
        bindings = [
            AclBinding(
                _KINDS[grant.resource], name, ResourcePatternType.LITERAL, f"User:{principal}", "*",
                _OPERATIONS[operation], AclPermissionType.ALLOW,
            )
            for grant in given for operation in grant.operations for name in grant.names
        ]  # fmt: skip
        for future in admin.create_acls(bindings).values() if bindings else ():
            future.result(timeout=30)

    def _settings(self, node: Node, sasl: int, mtls: int) -> dict[str, str]:
        addresses = f"PLAINTEXT://127.0.0.1:{node.port},SASL://{self.sasl},MTLS://{self.mtls}"
        module = "org.apache.kafka.common.security"
        plain = " ".join(f'user_{name}="{password}"' for name, password in self._users.items())
        bearer = "listener.name.sasl.oauthbearer.sasl"
        validator = f"{module}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        return {
            "listeners": f"{addresses},CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": addresses,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MTLS:SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._authority.server().both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._authority.ca),
            "listener.name.mtls.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/,DEFAULT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.sasl.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required {plain};",
            "listener.name.sasl.scram-sha-256.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            f"{bearer}.jaas.config": f"{module}.oauthbearer.OAuthBearerLoginModule required;",
            f"{bearer}.server.callback.handler.class": validator,
            "sasl.oauthbearer.jwt.validator.class": f"{module}.oauthbearer.BrokerJwtValidator",
            "sasl.oauthbearer.jwks.endpoint.url": self._issuer.jwks.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": ISSUER,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{ADMIN}",
        }
