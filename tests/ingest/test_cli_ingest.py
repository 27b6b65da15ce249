"""`stream-app ingest` as a person meets it: exit codes, one-line errors, signals, JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stream_app.backends.child_process import free_port
from stream_app.cli import main
from stream_app.settings import Settings
from tests.ingest.running import Message, send
from tests.producers.test_golden import GOLDEN
from tests.support.fixtures import Names, Servers

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

_ROOT = Path(__file__).parents[2]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["ingest", *[str(argument) for argument in arguments]], prog_name="stream-app")


def shell(servers: Servers, names: Names, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")}
    environment |= {
        "STREAM_APP_KAFKA_BOOTSTRAP": servers.bootstrap, "STREAM_APP_TOPIC_PREFIX": names.topic_prefix,
        "PYTHONPATH": str(_ROOT),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "stream_app", "ingest", *arguments],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected files (- is standard input), or --topic, and not both"),
        (["a.jsonl", "--topic", "raw"], "expected files (- is standard input), or --topic, and not both"),
        (["--topic", "raw", "--json"], "got --json with --topic"),
        (["--topic", "clickstream.events.v1"], "which is one of our own: what is written would be read again"),
        (["--topic", "shop.dead.letters.v1", "--topic-prefix", "shop."], "which is one of our own"),
        (["--topic", "raw", "--mapping", "none.toml"], "none.toml: No such file"),
        (["--topic", "raw", "--mapping", "none.toml", "--format", "ga4"], "got --format and --mapping"),
        (["none.jsonl"], "none.jsonl: No such file"),
        (["a.avro", "--format", "avro"], "got --format avro with files, expected --topic"),
        (["--topic", "raw", "--format", "avro"], "without a schema registry, expected --schema-registry-url http://"),
        (["--topic", "raw", "--format", "avro", "--schema-registry-url", "registry:8081"], "expected http://host:port"),
        (
            ["--topic", "raw", "--format", "avro", "--schema-registry-url", "http://r:1", "--mapping", "none.toml"],
            "none.toml: No such file",
        ),
        (["-", "-"], "got - twice"),
        ([str(GOLDEN / "retailrocket.csv"), "--format", "rees46"], "the header lacks event_time"),
    ],
)
def test_a_wrong_command_is_one_line_and_code_2(arguments: list[str], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error:")]) == 1


def test_no_kafka_is_one_line_and_code_1() -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    for arguments in ([GOLDEN / "rees46.csv"], ["--topic", "raw", "--format", "ga4"]):
        result = invoke(*arguments, "--kafka-bootstrap", bootstrap)
        assert result.exit_code == 1
        assert f"Error: Kafka at {bootstrap} does not answer" in result.stderr
        assert "Traceback" not in result.output


def test_avro_without_what_it_takes_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    for name in [name for name in sys.modules if name.startswith(("producers.avro", "stream_app.ingest.avro"))]:
        monkeypatch.delitem(sys.modules, name)
    result = invoke("--topic", "raw", "--format", "avro", "--schema-registry-url", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "pip install '.[avro]'" in result.stderr


def test_a_registry_that_is_not_there_is_one_line_and_code_1(embedded_servers: Servers, names: Names) -> None:
    at = ("--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix)
    created = CliRunner().invoke(main, ["topics", "create", *at])
    assert created.exit_code == 0, created.output
    raw, url = f"{names.topic_prefix}raw", f"http://127.0.0.1:{free_port()}"
    asyncio.run(send(Settings(kafka_bootstrap=embedded_servers.bootstrap), raw, [Message(b"{")]))
    result = invoke("--topic", raw, "--format", "avro", "--schema-registry-url", url, *at)
    assert result.exit_code == 1, result.output
    assert f"Error: the schema registry at {url}: does not answer" in result.stderr
    assert "Traceback" not in result.output


def test_a_topic_that_is_not_there_ends_with_code_1(embedded_servers: Servers, names: Names) -> None:
    created = CliRunner().invoke(
        main,
        ["topics", "create", "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix],
    )
    assert created.exit_code == 0, created.output
    process = shell(embedded_servers, names, "--topic", "no.such.topic", "--format", "ga4", "--web-port", "0")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "topic no.such.topic does not exist" in error.decode()


def test_standard_input_is_told_and_sent(embedded_servers: Servers, names: Names) -> None:
    process = shell(embedded_servers, names, "-", "--json")
    out, error = process.communicate((GOLDEN / "segment.jsonl").read_bytes(), timeout=60)
    assert process.returncode == 0, error
    summary = json.loads(out)
    assert (summary["source"], summary["sent"], sum(summary["rejected"].values())) == ("-", 17, 9)
    assert summary["notes"][0].startswith("standard input is segment: 2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_standard_input_cleanly_with_the_summary_and_code_0(
    number: signal.Signals, embedded_servers: Servers, names: Names
) -> None:
    process = shell(embedded_servers, names, "-", "--format", "segment")
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write((GOLDEN / "segment.jsonl").read_bytes())
    process.stdin.flush()
    first = process.stderr.readline()  # the first line of progress: it is sending
    process.send_signal(number)
    assert process.wait(30) == 0
    assert process.stdout is not None
    out = process.stdout.read().decode()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    assert first.startswith(b"sending: ")
    assert out.splitlines()[0].startswith("note: ignored as no part of a visit")
    assert "stopped: -" in out
    assert "28 rows, 17 sent, 9 rejected" in out or "26 rows, 17 sent, 9 rejected" in out
