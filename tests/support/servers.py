"""Real servers for tests: an Apache Kafka broker run from its Maven jars, and Debian's redis-server.

Both listen on loopback with free ports, keep nothing after `stop` and die with the test process. What they need may be
missing on a laptop: `UnavailableError` says what, and the fixtures turn it into a loud skip, or a failure in CI.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream_app.backends.child_process import ChildProcess, ServerError, free_port, port_answers
from stream_app.backends.embedded import valkey_command

KAFKA_VERSION: Final = "4.1.0"
_POM: Final = Path(__file__).parent / "kafka" / "pom.xml"
_REPOSITORY: Final = Path(__file__).parents[2]
#: Ignored by git; Kafka's 46 jars (43 MB) survive `make clean` so that the next run starts in 3 s.
KAFKA_JARS: Final = _REPOSITORY / ".cache" / f"kafka-{KAFKA_VERSION}"
#: Written last, so that a half-made copy is made again; holds the pom it was made from.
_COMPLETE: Final = KAFKA_JARS / "complete"
#: In seconds: a first download through Maven takes about 10 s on a good line.
_MAVEN_TIMEOUT_S: Final = 300.0
#: In seconds: the broker is up in 3 s on an idle machine; two cores shared with a test run may take ten times that.
_KAFKA_START_S: Final = 60.0
_DIRECTORY_PREFIX: Final = "stream-app-kafka-"
#: Two free ports, taken one after the other: a third party may be quicker.
_PORT_ATTEMPTS: Final = 3


class UnavailableError(RuntimeError):
    """This machine lacks what a real server needs; the text says what to install."""


class RealKafka:
    """One Apache Kafka broker (KRaft: broker and controller in one process).

    Topics are never created by accident; a group starts at once. Raises UnavailableError from `start` when Java or
    Maven is missing or the jars cannot be fetched, ServerError when the broker does not come up.
    """

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._directory: Path | None = None
        self._ports: tuple[int, int] = (0, 0)
        #: `host:port`; empty before `start`.
        self.bootstrap = ""

    @property
    def pid(self) -> int:
        """The broker's process id, for tests that kill or pause it."""
        if self._child is None:
            raise RuntimeError("real Kafka has not been started")
        return self._child.pid

    def start(self) -> Self:
        """Format a fresh log directory and run the broker until it answers; harmless when already started."""
        if self._child is not None:
            return self
        java = _program("java", "apt-get install default-jre-headless")
        fetch_kafka_jars()
        _remove_orphans()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                self._start_on(java, free_port(), free_port())
                break
            except ServerError:
                self.stop()
                if attempt == _PORT_ATTEMPTS:
                    raise
        return self

    def stop(self) -> None:
        """End the broker and remove its files; harmless when already stopped."""
        child, self._child = self._child, None
        directory, self._directory = self._directory, None
        self.bootstrap = ""
        try:
            if child is not None:
                child.stop()
        finally:
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL the broker and keep its log directory: a crash. `restart` brings it back."""
        assert self._child is not None
        self._child.kill()

    def restart(self) -> None:
        """Run the broker again on the same ports and files."""
        assert self._child is not None
        self._child.start(lambda: port_answers(self._ports[0]), timeout_s=_KAFKA_START_S)

    def _start_on(self, java: str, port: int, controller_port: int) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=f"{_DIRECTORY_PREFIX}{os.getpid()}-"))
        self._ports = (port, controller_port)
        properties = self._directory / "server.properties"
        properties.write_text(_server_properties(port, controller_port, self._directory / "log"))
        run = [java, "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{KAFKA_JARS}/*"]
        # Any 16 bytes in base64 are a cluster id; a fixed one saves a JVM start, and no two brokers share files.
        format_it = [*run, "kafka.tools.StorageTool", "format", "-t", "c3RyZWFtLWFwcC10ZXN0cw", "-c", str(properties)]
        formatted = subprocess.run(format_it, capture_output=True, text=True, timeout=_KAFKA_START_S, check=False)
        if formatted.returncode != 0:
            raise ServerError(f"Kafka's storage could not be formatted: {formatted.stdout}{formatted.stderr}")
        # SIGTERM waits for a controlled shutdown, seconds that no test needs: the files are thrown away.
        self._child = ChildProcess("real Kafka", [*run, "kafka.Kafka", str(properties)], stop_signal=signal.SIGKILL)
        self._child.start(lambda: port_answers(port), timeout_s=_KAFKA_START_S)
        self.bootstrap = f"127.0.0.1:{port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class RealRedis:
    """Debian's redis-server, without persistence.

    Raises UnavailableError from `start` when redis-server is missing, ServerError when it does not come up.
    """

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._port = 0
        #: `redis://host:port/0`; empty before `start`.
        self.url = ""

    @property
    def pid(self) -> int:
        """The server's process id, for tests that kill or pause it."""
        if self._child is None:
            raise RuntimeError("real Redis has not been started")
        return self._child.pid

    def start(self) -> Self:
        """Run the server until it answers; harmless when already started."""
        if self._child is not None:
            return self
        binary = _program("redis-server", "apt-get install redis-server")
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = free_port()
            child = ChildProcess("real Redis", valkey_command(binary, port))
            try:
                child.start(lambda port=port: port_answers(port))  # type: ignore[misc]
            except ServerError:
                if attempt == _PORT_ATTEMPTS:
                    raise
                continue
            self._child, self._port, self.url = child, port, f"redis://127.0.0.1:{port}/0"
            break
        return self

    def stop(self) -> None:
        """End the server; harmless when already stopped."""
        child, self._child = self._child, None
        self.url = ""
        if child is not None:
            child.stop()

    def kill(self) -> None:
        """SIGKILL the server: a crash that loses everything. `restart` brings it back empty."""
        assert self._child is not None
        self._child.kill()

    def restart(self) -> None:
        """Run the server again on the same port, empty."""
        assert self._child is not None
        self._child.start(lambda: port_answers(self._port))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def fetch_kafka_jars() -> None:
    """Copy Kafka's jars into `KAFKA_JARS` through Maven, once; UnavailableError when that cannot be done."""
    pom = _POM.read_text()
    if _fetched(pom):
        return
    maven = _program("mvn", "apt-get install maven")
    # Into a directory of our own, then renamed: another test run may be fetching at the same moment.
    fresh = KAFKA_JARS.with_name(f"{KAFKA_JARS.name}.{os.getpid()}")
    copy = [maven, "-q", "-B", "-ntp", "-f", str(_POM), "dependency:copy-dependencies"]
    copy.append(f"-DoutputDirectory={fresh}")
    try:
        done = subprocess.run(copy, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"Maven could not fetch Kafka's jars: {done.stdout.strip()[-2000:]}")
        (fresh / _COMPLETE.name).write_text(pom)
        if not _fetched(pom):
            shutil.rmtree(KAFKA_JARS, ignore_errors=True)
            fresh.rename(KAFKA_JARS)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"Maven did not fetch Kafka's jars within {_MAVEN_TIMEOUT_S:g} s") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fetched(pom: str) -> bool:
    return _COMPLETE.exists() and _COMPLETE.read_text() == pom


def _program(name: str, install: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UnavailableError(f"{name} is not installed (Debian: {install})")
    return path


def _remove_orphans() -> None:
    """Remove log directories whose test process was killed before it could: the pid is in the name."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY_PREFIX}*"):
        pid = directory.name.removeprefix(_DIRECTORY_PREFIX).split("-", 1)[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(directory, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _server_properties(port: int, controller_port: int, log: Path) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(log),
        "auto.create.topics.enable": "false",
        # One broker can hold one copy; the defaults of three would leave groups and transactions waiting for ever.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Fifty partitions each would cost seconds at the first group and the first transaction.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        # The cleaner's default buffer of 128 MB does not fit the small heap.
        "log.cleaner.dedupe.buffer.size": "16777216",
        # A killed broker is let back in only when its old session has run out: 3 s instead of 9.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Tests use short session time-outs to see a takeover soon; the broker's own floor is 6 s.
        "group.min.session.timeout.ms": "500",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
