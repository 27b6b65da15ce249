"""Every program under a name of its own on secured servers, its passwords in files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_app import kafka_acls, redis_acls
from stream_app.backends.child_process import free_port
from stream_app.settings import Settings, load
from tests.scenarios.process import Process
from tests.security.certificates import Authority
from tests.security.secured_kafka import SecuredKafka
from tests.security.secured_redis import SecuredRedis
from tests.security.tokens import Issuer

#: One for all: Redis's access list is written for it.
GROUP = "secured-shop"
RAW = "raw.clicks"
#: The group of who reads scores and offers.
SUBSCRIBERS = "shop-offers"
COMMAND_S = 60.0


@dataclass
class SecuredServers:
    """Servers, and the way in for each role."""

    kafka: SecuredKafka
    redis: SecuredRedis
    authority: Authority
    issuer: Issuer
    directory: Path
    processes: list[Process] = field(default_factory=list)
    #: of every role
    common: Mapping[str, Any] = field(default_factory=dict)
    #: this checkout's, or one that was installed
    program: Sequence[str] = (sys.executable, "-m", "stream_app")

    @staticmethod
    def password(role: str) -> str:
        """Of a role in Kafka."""
        return f"kafka-knows-{role}-by-this"

    def flags(self, role: str, **more: Any) -> dict[str, Any]:
        """Settings of a role, passwords among them."""
        return {
            "kafka_bootstrap": self.kafka.sasl,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ca_file": str(self.authority.ca),
            "kafka_username": role,
            "kafka_password": self.password(role),
            "redis_url": self.redis.url,
            "redis_ca_file": str(self.authority.ca),
            "redis_username": role if role in ("worker", "trainer", "discounts", "forget", "look") else "look",
            "redis_password": self.redis.password(
                role if role in ("worker", "trainer", "discounts", "forget", "look") else "look"
            ),
            "redis_timeout_ms": 5_000,
            "group_id": GROUP,
            "topic_partitions": 2,
            "snapshot_key": "a-key-of-this-test",
            **self.common,
            **more,
        }

    def settings(self, role: str, **more: Any) -> Settings:
        """The same, read."""
        return load(flags={name: str(value) for name, value in self.flags(role, **more).items()})

    def allow(self, role: str, *, without: kafka_acls.Grant | None = None, **more: Any) -> None:
        """Let a role do what the list says, or all of it but one."""
        asked = kafka_acls.Asked(group=SUBSCRIBERS, topics=(RAW,) if role == "ingest" else (), partitions=1)
        given = kafka_acls.grants(role, self.settings(role, **more), asked)
        self.kafka.allow(role, [grant for grant in given if grant != without])

    def environment(self, role: str, **more: Any) -> dict[str, str]:
        """Of a process: secrets are in files."""
        found = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_APP_")}
        for name, value in self.flags(role, **more).items():
            variable = f"STREAM_APP_{name}".upper()
            if name.endswith("password") or name == "snapshot_key":
                path = self.directory / f"{role}-{name}"
                path.write_text(f"{value}\n")
                found[f"{variable}_FILE"] = str(path)
            else:
                found[variable] = str(value)
        return found

    def command(self, role: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*self.program, *words],
            env=self.environment(role, **more), capture_output=True, text=True, timeout=COMMAND_S, check=False,
        )  # fmt: skip

    def start(self, role: str, *words: str, **more: Any) -> Process:
        """Run a service."""
        port = free_port()
        process = Process(
            role,
            [*self.program, *words, "--web-port", str(port)],
            self.environment(role, **more),
            port=port,
            log=self.directory / f"{len(self.processes)}-{role}.log",
        )
        self.processes.append(process)
        return process

    @contextmanager
    def stopped_at_the_end(self) -> Iterator[None]:
        """Stop what was started within; tell what it said if something went wrong."""
        first = len(self.processes)
        try:
            yield
        except BaseException:
            for process in self.processes[first:]:
                sys.stderr.write(f"--- {process.name}, ended {process.exit_code}\n{process.said()[-3000:]}\n")
            raise
        finally:
            for process in self.processes[first:]:
                if process.exit_code is None:
                    process.kill()


@contextmanager
def secured_servers(authority: Authority, directory: Path, **common: Any) -> Iterator[SecuredServers]:
    """A Kafka and a Redis in which each role is a user of its own; Redis's list is already there.

    `common` are settings of all roles; `directory` is for what the roles are given in files. Raises UnavailableError.
    """
    (directory / "issuer").mkdir()
    issuer = Issuer(directory / "issuer")
    settings = load(flags={"group_id": GROUP})
    users = {role: redis_acls.line(role, role, settings) for role in redis_acls.ROLES}
    passwords = {role: SecuredServers.password(role) for role in [*kafka_acls.ROLES, "nobody"]}
    with ExitStack() as stack:
        kafka = stack.enter_context(SecuredKafka(authority, issuer, users=passwords, short={"short": "short-password"}))
        redis = stack.enter_context(SecuredRedis(authority, users))
        yield SecuredServers(kafka, redis, authority, issuer, directory, common=common)
