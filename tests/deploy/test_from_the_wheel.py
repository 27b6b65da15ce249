"""From nothing but our wheels: the demo, then a deployment on secured servers that is restarted while it works."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from stream_app import kafka_acls, topics
from tests.deploy.installation import Installation, build, build_native, wheel_of
from tests.deploy.subscriber import Subscriber
from tests.scenarios.process import Process, wait_for
from tests.security.certificates import Authority
from tests.security.deployment import SUBSCRIBERS, SecuredServers, secured_servers
from tests.security.secured_redis import ADMIN_PASSWORD
from tests.support.fixtures import skip_or_fail
from tests.support.unavailable import UnavailableError, program

pytestmark = [pytest.mark.real_kafka, pytest.mark.real_redis, pytest.mark.long, pytest.mark.timeout(1800)]

PARTITIONS = 6
WORKERS = ("one", "two", "three")
#: Events a second, fifty for each partition: without a reason none is silent for half a second.
RATE = 300
#: In seconds, for anything here: machines are busy.
PATIENCE_S = 120.0
#: In seconds, of steady work before the first restart: what silence is usual is measured as well.
STEADY_S = 10.0
#: In seconds, the default of the group's session time-out: a hand-over that takes as long was none. How long it does
#: take is printed, and in docs/guarantees.md.
SESSION_TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Both wheels, with the demo's servers, as `pip install` takes them."""
    built = build(tmp_path_factory.mktemp("dist"))
    wheels = [wheel_of(built)]
    try:
        program("cargo", "https://rustup.rs")
        wheels.append(build_native(built))
    except UnavailableError as reason:
        skip_or_fail(reason)
    return Installation(tmp_path_factory.mktemp("elsewhere"), wheels, extras="demo")


@pytest.fixture(scope="module")
def secured(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredServers]:
    """Servers with the rights, functions and topics that docs/security.md has an administrator make."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    common = {"topic_partitions": PARTITIONS, "processing_guarantee": "exactly_once"}
    with ExitStack() as stack:
        try:
            servers = stack.enter_context(secured_servers(authority, tmp_path_factory.mktemp("secured"), **common))
        except UnavailableError as reason:
            skip_or_fail(reason)
        servers.program = installed.program
        for role in kafka_acls.ROLES:
            servers.allow(role)
        done(servers, "topics", "topics", "create")
        done(servers, "look", "acls", "functions", redis_username="admin", redis_password=ADMIN_PASSWORD)
        yield servers


def test_the_demo_runs_from_the_wheel_with_the_compiled_engine(installed: Installation) -> None:
    told = json.loads(installed.says("demo", "--events", "2000", "--json"))
    assert (told["events_sent"], told["scores"], told["repeated"]) == (2000, 2000, 0)
    where = installed.run(
        installed.python, "-c", "import stream_app, stream_app_native as n; print(stream_app.__file__, n)"
    )
    assert "site-packages" in where


def test_three_workers_are_restarted_one_by_one_and_every_event_is_scored_once(
    secured: SecuredServers, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = secured.settings("look").topic(topics.SCORES)
    options = {**secured.kafka.options("subscriber", secured.password("subscriber")), "group.id": SUBSCRIBERS}
    with secured.stopped_at_the_end(), Subscriber(options, topic, PARTITIONS) as subscriber:
        trainer = secured.start("trainer", "trainer")
        workers = {name: secured.start("worker", "worker", worker_id=name) for name in WORKERS}
        for worker in (trainer, *workers.values()):
            until_ready(worker)
        with sending(secured) as sent:
            wait_for("a score in each partition", lambda: all_scored(subscriber), seconds=PATIENCE_S)
            begun = time.monotonic()
            time.sleep(STEADY_S)
            usual = subscriber.silences(begun, time.monotonic())
            handed_over = []
            for name, worker in workers.items():
                begun = time.monotonic()
                assert worker.terminate() == 0
                stopped = time.monotonic()
                workers[name] = secured.start("worker", "worker", worker_id=name)
                until_ready(workers[name])
                # Whatever the last of the three rounds leaves behind is part of it.
                ready = time.monotonic()
                wait_for("the next scores", lambda since=ready: all_scored(subscriber, since), seconds=PATIENCE_S)
                silences = subscriber.silences(begun, time.monotonic())
                handed_over.append(silences)
                with capsys.disabled():
                    print(f"\n{name}: stopped {stopped - begun:.2f}, ready {ready - stopped:.2f}; {told(silences)}")
        with capsys.disabled():
            print(f"usual {told(usual)}")
        wait_for("all scores", lambda: len(subscriber.events) == sent()["sent"], seconds=PATIENCE_S)
        assert [worker.terminate() for worker in workers.values()] == [0] * len(WORKERS)
        # One host's three, in the place of three hosts'.
        together = secured.start("worker", "worker", "--processes", str(len(WORKERS)), worker_id="host")
        until_ready(together)
        more = json.loads(
            done(secured, "producer", "produce", "synthetic", "--events", "1000", "--seed", "2", "--json")
        )
        total = sent()["sent"] + more["sent"]
        wait_for("all scores", lambda: len(subscriber.events) == total, seconds=PATIENCE_S)
        assert together.terminate() == 0
        assert max(subscriber.events.values()) == 1
        audit(secured)
        assert max(max(silences.values()) for silences in handed_over) < SESSION_TIMEOUT_S, (usual, handed_over)


def until_ready(process: Process) -> None:
    wait_for(process.name, lambda: process.exit_code is not None or process.ready()[0], seconds=PATIENCE_S)
    assert process.exit_code is None, process.name


def all_scored(subscriber: Subscriber, since: float = 0.0) -> bool:
    """Whether every partition has had a score since then."""
    now = time.monotonic()
    return all(silence < now - since for silence in subscriber.silences(since, now).values())


def told(silences: dict[int, float]) -> str:
    return ", ".join(f"{number}: {seconds:.2f} s" for number, seconds in silences.items())


def done(servers: SecuredServers, role: str, *words: str, **more: str) -> str:
    """What a command says that ends well."""
    ended = servers.command(role, *words, **more)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def audit(servers: SecuredServers) -> None:
    """Clean, and nothing is left unlooked at."""
    report = json.loads(done(servers, "look", "audit", "--json"))
    assert report["clean"], report
    print(report)


@contextmanager
def sending(servers: SecuredServers) -> Iterator[Callable[[], dict[str, int]]]:
    """The synthetic shop while the block runs; afterwards its summary can be asked for."""
    command = [*servers.program, "produce", "synthetic", "--rate", str(RATE), "--json"]
    shop = subprocess.Popen(command, env=servers.environment("producer"), stdout=subprocess.PIPE, text=True)
    summary: dict[str, int] = {}
    try:
        yield lambda: summary
        shop.send_signal(signal.SIGINT)
        said, _ = shop.communicate(timeout=PATIENCE_S)
        assert shop.returncode == 0
        summary.update(json.loads(said))
    finally:
        shop.kill()
        shop.wait()
