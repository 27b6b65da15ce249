"""Kafka, Redis and Prometheus as docker-compose.yml would start them, here: real ones, by the file's own words."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from stream_app.backends.child_process import ChildProcess, free_port, port_answers
from tests.deploy.compose import REPOSITORY
from tests.deploy.role import START_S, answers, passes
from tests.support.servers import (
    KAFKA_JARS,
    KAFKA_VERSION,
    SMALL_JVM,
    fetch_kafka_jars,
    formatted,
)
from tests.support.unavailable import UnavailableError, program

#: Kafka's own command-line programs, which its brokers do not need: fetched apart, kept between runs.
_TOOLS: Final = REPOSITORY / ".cache" / f"kafka-tools-{KAFKA_VERSION}"
_TOOLS_JAR: Final = _TOOLS / f"kafka-tools-{KAFKA_VERSION}.jar"
#: What `bin/NAME.sh` of Kafka runs.
_CLASSES: Final = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
}
_ADDRESS: Final = re.compile(r"(?<=[/@])(?:kafka|127\.0\.0\.1)?:(\d+)")
#: Small, as a test's broker is: nothing of it is about what the file says.
_SMALL: Final = {
    "log.cleaner.dedupe.buffer.size": "16777216",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
}


def fetch_kafka_tools() -> None:
    """Their jar through Maven, once; UnavailableError when that cannot be done."""
    if _TOOLS_JAR.exists():
        return
    maven = program("mvn", "apt-get install maven")
    copy = [maven, "-q", "-B", "-ntp", "dependency:copy", f"-Dartifact=org.apache.kafka:kafka-tools:{KAFKA_VERSION}"]
    try:
        done = subprocess.run(
            [*copy, f"-DoutputDirectory={_TOOLS}"], cwd=REPOSITORY / "tests" / "support" / "kafka",
            capture_output=True, text=True, timeout=START_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnavailableError("Maven did not fetch Kafka's tools in time") from None
    if done.returncode != 0:
        raise UnavailableError(f"Maven could not fetch Kafka's tools: {done.stdout.strip()[-2000:]}")


def kafka_tool(name: str) -> list[str]:
    """How `bin/NAME.sh` of Kafka is started here. Raises UnavailableError."""
    fetch_kafka_jars()
    fetch_kafka_tools()
    java = program("java", "apt-get install default-jre-headless")
    return [java, *SMALL_JVM, "-cp", f"{KAFKA_JARS}/*:{_TOOLS}/*", _CLASSES[name]]


class ComposedKafka:
    """The broker, by the variables that its container is given. Use it as a context manager.

    Parameters
    ----------
    service
        Of the compose file.
    directory
        For its log, empty.
    """

    def __init__(self, service: Mapping[str, Any], directory: Path) -> None:
        self._service, self._directory = service, directory
        self._ports: dict[str, int] = {}
        #: broker settings by the names that Kafka has for them
        self.given = {_property(name): self._value(name, str(text)) for name, text in service["environment"].items()}
        self._child: ChildProcess | None = None

    def _value(self, name: str, text: str) -> str:
        if name == "KAFKA_LOG_DIRS":
            return str(self._directory / "log")
        return _ADDRESS.sub(lambda found: f"127.0.0.1:{self.port(found[1])}", text)

    def port(self, there: str) -> int:
        """What is here for a port of the file."""
        return self._ports.setdefault(there, free_port())

    @property
    def bootstrap(self) -> str:
        """Where containers would find it."""
        return f"127.0.0.1:{self.port('9092')}"

    def __enter__(self) -> Self:
        fetch_kafka_jars()
        fetch_kafka_tools()
        text = "".join(f"{name}={value}\n" for name, value in {**self.given, **_SMALL}.items())
        command = formatted(
            program("java", "apt-get install default-jre-headless"), self._directory, text, jvm=SMALL_JVM
        )
        self._child = ChildProcess("Kafka of docker-compose.yml", command)
        self._child.start(self._healthy, timeout_s=START_S)
        return self

    def _healthy(self) -> bool:
        """By its own check: a script of Kafka's, which starts a class."""
        if not port_answers(self.port("9092")):  # without that, the check would take its time to say no
            return False
        kind, script, *arguments = self._service["healthcheck"]["test"]
        assert kind == "CMD"
        assert Path(script).parent == Path("/opt/kafka/bin")
        where = [re.sub(r"(?<=^127\.0\.0\.1:)\d+$", lambda found: str(self.port(found[0])), word) for word in arguments]
        return passes([*kafka_tool(Path(script).stem), *where], {"PATH": "/usr/bin:/bin"})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.kill()


class ComposedRedis:
    """The Redis, by its container's command. Use it as a context manager."""

    def __init__(self, service: Mapping[str, Any], directory: Path) -> None:
        self._service, self._port = service, free_port()
        name, *arguments = service["command"]
        here = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(directory)]
        command = [program(name, "apt-get install redis-server"), *arguments, *here]
        self._child = ChildProcess("Redis of docker-compose.yml", command)
        #: where it is
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        self._child.start(self._healthy, timeout_s=START_S)
        return self

    def _healthy(self) -> bool:
        kind, client, *arguments = self._service["healthcheck"]["test"]
        assert kind == "CMD"
        return passes([client, "-p", str(self._port), *arguments], {"PATH": "/usr/bin:/bin"})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.stop()


def prometheus_gets_healthy(service: Mapping[str, Any], directory: Path) -> None:
    """Run Prometheus by the configuration that its container mounts, until its check passes; else ServerError."""
    mounted = dict(volume.removesuffix(":ro").split(":") for volume in service["volumes"])
    for source, target in mounted.items():
        if source.startswith("./"):
            shutil.copy(REPOSITORY / source, directory / Path(target).name)
    port = free_port()
    command = [
        program("prometheus", "apt-get install prometheus"),
        # Where its image looks for it, with what is mounted there.
        f"--config.file={directory / Path('/etc/prometheus/prometheus.yml').name}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    kind, *check = service["healthcheck"]["test"]
    assert kind == "CMD"
    asked = [word.replace("127.0.0.1:9090", f"127.0.0.1:{port}") for word in check]
    child = ChildProcess("Prometheus of docker-compose.yml", command)
    try:
        child.start(lambda: passes(asked, {"PATH": "/usr/bin:/bin"}), timeout_s=START_S)
        assert answers(f"http://127.0.0.1:{port}/-/ready")
    finally:
        child.stop()


def _property(variable: str) -> str:
    """As Kafka's image reads it: KAFKA_LOG_DIRS is log.dirs."""
    return variable.removeprefix("KAFKA_").lower().replace("_", ".")
