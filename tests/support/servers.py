"""Real servers for tests: an Apache Kafka broker run from its Maven jars, and Debian's redis-server.

Both listen on loopback with free ports, keep nothing after `stop` and die with the test process. What they need may be
missing on a laptop: `UnavailableError` says what, and the fixtures turn it into a loud skip, or a failure in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream_app.backends.child_process import ChildProcess, ServerError, free_port, port_answers
from stream_app.backends.embedded import valkey_command
from tests.support.kafka_properties import Node, server_properties
from tests.support.kafka_proxy import KafkaProxy
from tests.support.maven import fetch
from tests.support.unavailable import UnavailableError as UnavailableError
from tests.support.unavailable import program

#: Of all tests but those of `make matrix`, which names another one.
KAFKA_VERSION_USUAL: Final = "4.1.0"
KAFKA_VERSION: Final = os.environ.get("TESTED_KAFKA", KAFKA_VERSION_USUAL)
_POM: Final = Path(__file__).parent / "kafka" / "pom.xml"
_REPOSITORY: Final = Path(__file__).parents[2]
#: Ignored by git; Kafka's 46 jars (43 MB) survive `make clean` so that the next run starts in 3 s.
KAFKA_JARS: Final = _REPOSITORY / ".cache" / f"kafka-{KAFKA_VERSION}"
#: In seconds: the broker is up in 3 s on an idle machine; two cores shared with a test run may take ten times that.
_KAFKA_START_S: Final = 60.0
#: Kafka's classes, loaded and checked beforehand: made once, ignored by a Java that did not make it.
_SHARED_CLASSES: Final = KAFKA_JARS / "classes.jsa"
#: A test's broker ends before it has earned what the optimising compiler costs: with these it takes a third of the
#: processor time from its start to its hundredth transaction (17 and 6 s).
BRIEF_JVM: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={_SHARED_CLASSES}")
#: Enough for a test, and several brokers run beside each other in some.
SMALL_JVM: Final = ("-Xmx512m", *BRIEF_JVM)
#: What `kafka-server-start.sh` starts a broker with.
USUAL_JVM: Final = (
    "-server", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
)  # fmt: skip
#: What a broker says of itself at its start, by a class that has moved within this package (4.4).
_SAYS_VERSION: Final = "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils=info"
_VERSION: Final = re.compile(r"Kafka version: (\S+)")
DIRECTORY_PREFIX: Final = "stream-app-kafka-"
_REDIS_PREFIX: Final = "stream-app-redis-"
#: Two free ports, taken one after the other: a third party may be quicker.
_PORT_ATTEMPTS: Final = 3


class RealKafka:
    """One Apache Kafka broker (KRaft: broker and controller in one process).

    Topics are never created by accident; a group starts at once. Raises UnavailableError from `start` when Java or
    Maven is missing or the jars cannot be fetched, ServerError when the broker does not come up.

    Parameters
    ----------
    proxied
        Also listen behind a `KafkaProxy`, so that one process can be parted from the broker while others are not.
    inter_broker_proxied
        Send through that proxy what the broker tells itself, transaction markers above all.
    settings
        Broker settings that a test needs otherwise.
    jvm
        Options of its Java: a small heap, as many brokers start beside each other in tests.
    """

    def __init__(
        self,
        *,
        proxied: bool = False,
        inter_broker_proxied: bool = False,
        settings: Mapping[str, str] | None = None,
        jvm: Sequence[str] = SMALL_JVM,
    ) -> None:
        self._child: ChildProcess | None = None
        self._directory: Path | None = None
        self._node = Node(1, 0, 0)
        self._inter_broker_proxied = inter_broker_proxied
        self._settings = settings or {}
        self._jvm = jvm
        #: `host:port`; empty before `start`.
        self.bootstrap = ""
        #: leads to a second listener, if asked for: whoever starts from `proxied_bootstrap` stays behind it
        self.proxy = KafkaProxy() if proxied or inter_broker_proxied else None

    @property
    def proxied_bootstrap(self) -> str:
        """`host:port` of the proxy."""
        assert self.proxy is not None
        return f"127.0.0.1:{self.proxy.port}"

    @property
    def pid(self) -> int:
        """The broker's process id, for tests that kill or pause it."""
        if self._child is None:
            raise RuntimeError("real Kafka has not been started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process is there, if only stopped by a signal."""
        return self._child is not None and self._child.running

    @property
    def version(self) -> str:
        """As the broker itself says it; empty until it has, which it does when it is up."""
        said = _VERSION.search(self._child.last_words()) if self._child else None
        return said[1] if said else ""

    def start(self) -> Self:
        """Format a fresh log directory and run the broker until it answers; harmless when already started."""
        if self._child is not None:
            return self
        java = program("java", "apt-get install default-jre-headless")
        fetch_kafka_jars()
        _remove_orphans()
        if self.proxy is not None:
            self.proxy.start()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            through = self.proxy.port if self.proxy else 0
            try:
                self._start_on(java, Node(1, free_port(), free_port(), free_port(), through))
                break
            except ServerError:
                self._end()
                if attempt == _PORT_ATTEMPTS:
                    self.stop()
                    raise
        return self

    def stop(self) -> None:
        """End the broker and remove its files; harmless when already stopped."""
        self._end()
        if self.proxy is not None:
            self.proxy.stop()

    def _end(self) -> None:
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
        self._child.start(lambda: port_answers(self._node.port), timeout_s=_KAFKA_START_S)

    def _start_on(self, java: str, node: Node) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-"))
        self._node = node
        if self.proxy is not None:
            self.proxy.target_port = node.proxied_port
        text = server_properties(
            node, [node], self._directory / "log",
            inter_broker_proxied=self._inter_broker_proxied, more=self._settings,
        )  # fmt: skip
        command = formatted(java, self._directory, text, jvm=self._jvm)
        # SIGTERM waits for a controlled shutdown, seconds that no test needs: the files are thrown away.
        self._child = ChildProcess("real Kafka", command, stop_signal=signal.SIGKILL)
        self._child.start(lambda: port_answers(node.port), timeout_s=_KAFKA_START_S)
        self.bootstrap = f"127.0.0.1:{node.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class RealRedis:
    """Debian's redis-server, without persistence, or with what `SAVE` writes into a directory of its own.

    Raises UnavailableError from `start` when redis-server is missing, ServerError when it does not come up.
    """

    def __init__(self, *, persistent: bool = False) -> None:
        self._child: ChildProcess | None = None
        self._port = 0
        self._persistent = persistent
        #: where the snapshot lies, if there is to be one
        self.directory: Path | None = None
        #: `redis://host:port/0`; empty before `start`.
        self.url = ""

    @property
    def port(self) -> int:
        """Where it listens, for a proxy before it."""
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id, for tests that kill or pause it."""
        if self._child is None:
            raise RuntimeError("real Redis has not been started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process is there, if only stopped by a signal."""
        return self._child is not None and self._child.running

    def start(self) -> Self:
        """Run the server until it answers; harmless when already started."""
        if self._child is not None:
            return self
        binary = program("redis-server", "apt-get install redis-server")
        if self._persistent:
            self.directory = Path(tempfile.mkdtemp(prefix=f"{_REDIS_PREFIX}{os.getpid()}-"))
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = free_port()
            command = valkey_command(binary, port)
            if self.directory is not None:
                # The last one of a name counts. Protected: a test may point the snapshot somewhere that is not.
                command = (*command, "--dir", str(self.directory), "--enable-protected-configs", "local")
            child = ChildProcess("real Redis", command)
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
        directory, self.directory = self.directory, None
        self.url = ""
        try:
            if child is not None:
                child.stop()
        finally:
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL the server: a crash that loses all but the last snapshot, where there is one."""
        assert self._child is not None
        self._child.kill()

    def restart(self) -> None:
        """Run the server again on the same port: empty, or from the last snapshot."""
        assert self._child is not None
        self._child.start(lambda: port_answers(self._port))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def formatted(java: str, directory: Path, properties: str, *, jvm: Sequence[str]) -> list[str]:
    """Format a broker's storage in the directory; the command that runs it. Raises ServerError."""
    file = directory / "server.properties"
    file.write_text(properties)
    # Ended by SIGKILL, it would leave its lz4 library in the machine's folder for temporary files.
    run = [java, *jvm, f"-Djava.io.tmpdir={directory}"]
    run += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", _SAYS_VERSION, "-cp", f"{KAFKA_JARS}/*"]
    # Any 16 bytes in base64 are a cluster id; a fixed one saves a JVM start, and no two clusters share files.
    format_it = [*run, "kafka.tools.StorageTool", "format", "-t", "c3RyZWFtLWFwcC10ZXN0cw", "-c", str(file)]
    done = subprocess.run(format_it, capture_output=True, text=True, timeout=_KAFKA_START_S, check=False)
    if done.returncode != 0:
        raise ServerError(f"Kafka's storage could not be formatted: {done.stdout}{done.stderr}")
    return [*run, "kafka.Kafka", str(file)]


def fetch_kafka_jars() -> None:
    """Copy Kafka's jars into `KAFKA_JARS` through Maven, once; UnavailableError when that cannot be done."""
    fetch(
        _POM, KAFKA_JARS, goal="copy-dependencies", what=f"the jars of Kafka {KAFKA_VERSION}",
        properties={"kafka.version": KAFKA_VERSION},
    )  # fmt: skip
    # Of another version's brokers too few are started to earn what these cost.
    if KAFKA_VERSION == KAFKA_VERSION_USUAL and not _SHARED_CLASSES.exists():
        _share_classes(program("java", "apt-get install default-jre-headless"))


def _share_classes(java: str) -> None:
    """Let a broker that starts and ends leave the classes that it loaded. Slower without them, so a failure is none."""
    # Renamed at the end: another test run may be doing the same.
    ours = _SHARED_CLASSES.with_suffix(f".{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-") as directory:
        node = Node(1, free_port(), free_port())
        text = server_properties(node, [node], Path(directory) / "log")
        command = formatted(java, Path(directory), text, jvm=("-Xmx512m", f"-XX:ArchiveClassesAtExit={ours}"))
        # It writes them as it ends: seconds.
        broker = ChildProcess("real Kafka", command, stop_timeout_s=_KAFKA_START_S)
        broker.start(lambda: port_answers(node.port), timeout_s=_KAFKA_START_S)
        broker.stop()
    if ours.exists():
        ours.rename(_SHARED_CLASSES)


def _remove_orphans() -> None:
    """Remove log directories whose test process was killed before it could: the pid is in the name."""
    for prefix in (DIRECTORY_PREFIX, _REDIS_PREFIX):
        for directory in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            pid = directory.name.removeprefix(prefix).split("-", 1)[0]
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
