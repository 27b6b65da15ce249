"""Three Kafka brokers on loopback, for what one broker cannot show: leaders that move, coordinators that die."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream_app.backends.child_process import ChildProcess, ServerError, free_port, port_answers
from tests.support.kafka_properties import Node, server_properties
from tests.support.servers import BRIEF_JVM, DIRECTORY_PREFIX, fetch_kafka_jars, formatted, program

#: In seconds: three JVMs on two cores come up together.
_START_S: Final = 120.0
#: A dead controller is replaced, and a dead broker's partitions led by others, within seconds.
_QUICK: Final = {"controller.quorum.election.timeout.ms": "1000", "controller.quorum.fetch.timeout.ms": "2000"}


class KafkaCluster:
    """Brokers 1 to 3, each controller as well; every topic of three copies survives the loss of one.

    Raises UnavailableError and ServerError as `RealKafka` does.
    """

    def __init__(self) -> None:
        self._children: dict[int, ChildProcess] = {}
        self._nodes: dict[int, Node] = {}
        self._directories: list[Path] = []
        #: `host:port,…`; empty before `start`.
        self.bootstrap = ""

    def start(self) -> Self:
        """Format and run all three until they answer."""
        java = program("java", "apt-get install default-jre-headless")
        fetch_kafka_jars()
        nodes = [Node(number, free_port(), free_port()) for number in (1, 2, 3)]
        try:
            for node in nodes:
                directory = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-"))
                self._directories.append(directory)
                text = server_properties(node, nodes, directory / "log", more=_QUICK)
                command = formatted(java, directory, text, jvm=("-Xmx256m", *BRIEF_JVM))
                self._nodes[node.id] = node
                self._children[node.id] = ChildProcess(
                    f"real Kafka {node.id}", command, stop_signal=signal.SIGKILL
                ).start(lambda: True)
            self._until_up(nodes)
        except BaseException:
            self.stop()
            raise
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        return self

    def stop(self) -> None:
        """End all and remove their files."""
        for child in self._children.values():
            child.stop()
        self._children.clear()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)
        self._directories.clear()

    def pid(self, broker: int) -> int:
        """A broker's process id."""
        return self._children[broker].pid

    def kill(self, broker: int) -> None:
        """SIGKILL one."""
        self._children[broker].kill()

    def restart(self, broker: int) -> None:
        """Run a killed one again; harmless when it runs."""
        node = self._nodes[broker]
        self._children[broker].start(lambda: port_answers(node.port), timeout_s=_START_S)

    def _until_up(self, nodes: list[Node]) -> None:
        deadline = time.monotonic() + _START_S
        while not all(port_answers(node.port) for node in nodes):
            dead = [child for child in self._children.values() if not child.running]
            if dead or time.monotonic() > deadline:
                words = "; ".join(child.last_words()[-500:] for child in dead or self._children.values())
                raise ServerError(f"three brokers did not come up within {_START_S:g} s: {words}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
