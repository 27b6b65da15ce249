"""`worker --processes N`: N workers that one process watches over, and none that it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app.cli import main
from stream_app.cli_run import _one_of_many
from stream_app.settings import ENV_PREFIX, Settings
from stream_app.worker_processes import WorkerProcesses
from tests.support.fixtures import Names, Servers

# Not the embedded Kafka: it refuses a member that asks for its share after the leader has given it, which two members
# do by chance, and more often on a busy machine.
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
    pytest.mark.real_kafka,
    pytest.mark.real_redis,
]

_PATIENCE_S = 120.0
_REPOSITORY = Path(__file__).parents[2]


def _until(what: str, found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not found():
        assert time.monotonic() < deadline, f"waited {_PATIENCE_S:g} s for {what}"
        time.sleep(0.05)


def _children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class _Watching:
    """A process that watches over two workers of a shop."""

    def __init__(self, servers: Servers, names: Names, directory: Path) -> None:
        ours = {
            "kafka_bootstrap": servers.bootstrap,
            "redis_url": servers.redis_url,
            "topic_prefix": names.topic_prefix,
            "group_id": names.group_id,
            "web_port": "0",
            "web_targets": str(directory / "targets"),
            "check_crcs": "false",
        }
        clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
        self._targets = directory / "targets"
        self._log = directory / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream_app", "worker", "--processes", "2", "--worker-id", "w"],
                env={**clean, **{f"{ENV_PREFIX}{name.upper()}": value for name, value in ours.items()}},
                cwd=_REPOSITORY,
                stdout=log,
                stderr=log,
            )

    def workers(self) -> set[int]:
        return {pid for pid in _children(self.process.pid) if _alive(pid)}

    def ready(self) -> list[str]:
        """What those that are ready say of themselves, by the targets that they leave for Prometheus."""
        found = []
        for path in self._targets.glob("*.json"):
            (target,) = json.loads(path.read_text())[0]["targets"]
            try:
                with urllib.request.urlopen(f"http://{target}/readyz", timeout=5.0) as answer:
                    found.append(json.load(answer)["components"]["worker"]["is"])
            except OSError:
                continue
        return sorted(found)

    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
def watching(real_servers: Servers, names: Names, tmp_path: Path) -> Iterator[_Watching]:
    where = ["--kafka-bootstrap", real_servers.bootstrap, "--topic-prefix", names.topic_prefix]
    created = CliRunner().invoke(main, ["topics", "create", *where])
    assert created.exit_code == 0, created.output
    watching = _Watching(real_servers, names, tmp_path)
    workers: set[int] = set()
    try:
        try:
            _until("both to share", lambda: watching.ready() == ["scoring 2 partitions"] * 2)
        except AssertionError as late:
            raise AssertionError(f"{late}; they said:\n{watching.said()}") from None
        workers = watching.workers()
        yield watching
    finally:
        for pid in watching.workers() | workers:
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)
        watching.process.kill()
        watching.process.wait()


def test_they_share_the_partitions_one_that_is_killed_comes_back_and_all_end_when_asked(
    watching: _Watching,
) -> None:
    before = watching.workers()
    assert len(before) == 2
    os.kill(victim := min(before), signal.SIGKILL)
    _until("another in its place", lambda: len(watching.workers() - before) == 1)
    _until("both to share again", lambda: watching.ready() == ["scoring 2 partitions"] * 2)
    assert "worker_ended process=" in watching.said()
    assert f"code={-signal.SIGKILL} again_in_s=1\n" in watching.said()
    after = watching.workers()
    assert victim not in after
    watching.process.send_signal(signal.SIGINT)
    assert watching.process.wait(_PATIENCE_S) == 0, watching.said()
    assert not any(map(_alive, after))
    assert "Traceback" not in watching.said()


def _shell(text: str) -> Callable[[int], list[str]]:
    return lambda number: ["/bin/sh", "-c", text.format(number=number)]


def test_none_outlives_the_one_who_watches(tmp_path: Path) -> None:
    program = f"""
from stream_app.worker_processes import WorkerProcesses
WorkerProcesses(2, lambda number: ["/bin/sh", "-c", f"echo $$ > {tmp_path}/{{number}}; exec sleep 600"]).run()
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=_REPOSITORY) as watching:
        _until("both to run", lambda: len([path for path in tmp_path.iterdir() if path.read_text()]) == 2)
        pids = [int(path.read_text()) for path in tmp_path.iterdir()]
        assert all(map(_alive, pids))
        watching.kill()
    _until("all to end", lambda: not any(map(_alive, pids)))


def test_what_every_start_would_refuse_ends_all_with_its_code(tmp_path: Path) -> None:
    # The first one would run for a minute; the second one refuses.
    command = _shell(f"if [ {{number}} = 1 ]; then exit 2; fi; echo $$ > {tmp_path}/pid; exec sleep 60")
    assert WorkerProcesses(2, command).run() == 2
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    assert not any(map(_alive, pids))


def test_one_that_is_asked_to_stop_before_it_heeds_signals_has_ended_well(tmp_path: Path) -> None:
    program = f"""
import sys
from stream_app.worker_processes import WorkerProcesses
sys.exit(WorkerProcesses(2, lambda n: ["/bin/sh", "-c", f"echo $$ > {tmp_path}/{{n}}; exec sleep 600"]).run())
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=_REPOSITORY) as watching:
        try:
            _until("both to run", lambda: len([path for path in tmp_path.iterdir() if path.read_text()]) == 2)
            watching.terminate()
            assert watching.wait(_PATIENCE_S) == 0
        finally:
            watching.kill()


@pytest.mark.parametrize("words", [["worker"], ["worker", "--processes", "2"], ["trainer"]])
def test_a_process_that_is_asked_to_stop_while_it_still_looks_at_kafka_ends_with_0(words: list[str]) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(_PATIENCE_S)
        where = ["--kafka-bootstrap", f"127.0.0.1:{silent.getsockname()[1]}"]
        command = [sys.executable, "-m", "stream_app", *words, *where]
        with subprocess.Popen(command, cwd=_REPOSITORY, env=clean, stderr=subprocess.PIPE) as process:
            try:
                connection, _ = silent.accept()
                process.terminate()
                _, said = process.communicate(timeout=_PATIENCE_S)
                connection.close()
            finally:
                process.kill()
    assert process.returncode == 0, said
    assert b"Traceback" not in said


def test_the_port_and_the_name_are_each_ones_own() -> None:
    asked = _one_of_many(Settings(web_port=8100, worker_id="w"), 3)
    assert asked[-6:] == ["--processes", "1", "--web-port", "8103", "--worker-id", "w-3"]
    assert _one_of_many(Settings(web_port=0), 3)[-2:] == ["--processes", "1"]


def test_ports_that_there_are_not_are_refused() -> None:
    refused = CliRunner().invoke(main, ["worker", "--processes", "2", "--web-port", "65535"])
    assert refused.exit_code == 2
    assert "got web port 65535 for 2 processes, expected at most 65534, or 0" in refused.output
