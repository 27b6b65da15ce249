"""The commands as a person meets them: exit codes, one-line errors, signals, JSON."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from producers.cli import produce
from stream_app.backends.child_process import free_port
from tests.support.fixtures import Names, Servers

HEADER = "timestamp,visitorid,event,itemid,transactionid\n"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "history.csv"
    path.write_text(
        HEADER + "1433000000123,77,view,5,\n1433000000124,78,sneeze,5,\n1433000000125,78,transaction,5,900\n"
    )
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(produce, [str(argument) for argument in arguments])


def test_a_replay_ends_with_a_summary_that_programs_can_read(
    history: Path, embedded_servers: Servers, names: Names
) -> None:
    result = invoke(
        "replay", history, "--format", "retailrocket", "--json",
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["rows"], summary["sent"], summary["rejected"]) == (3, 2, {"invalid_value": 1})
    assert (summary["source"], summary["stopped"]) == (str(history), False)


def test_without_a_format_it_is_told_from_the_file_and_said(embedded_servers: Servers, names: Names) -> None:
    result = invoke(
        "replay", Path(__file__).parent / "golden" / "segment.jsonl", "--json",
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["sent"], sum(summary["rejected"].values())) == (17, 9)
    assert summary["notes"][0].startswith("segment.jsonl is segment: 2")
    assert summary["notes"][-2] == "ignored as no part of a visit: 2 (identify 1, Coupon Applied 1)"


def test_for_people_the_summary_is_a_few_lines(history: Path, embedded_servers: Servers, names: Names) -> None:
    result = invoke(
        "replay", history, "--format", "retailrocket", "--limit", 2,
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 rows, 1 sent, 1 rejected" in result.stdout
    assert "rejected as invalid_value: 1" in result.stdout


def test_synthetic_sends_as_many_events_as_asked(embedded_servers: Servers, names: Names) -> None:
    result = invoke(
        "synthetic", "--rate", "max", "--events", 3000, "--json", "--broken", 0.1,
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["sent"] == 3000
    assert summary["rows"] > 3100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay", "none.csv", "--format", "rees46"], "none.csv: No such file"),
        (["replay", "{history}", "--format", "rees46"], "the header lacks event_time"),
        (["replay", "{history}", "--format", "xml"], "'xml' is not one of"),
        (["replay", "{history}", "--mapping", "none.toml"], "none.toml: No such file"),
        (
            ["replay", "{history}", "--format", "rees46", "--speed", "fast"],
            "got 'fast', expected a number above 0, or max",
        ),
        (["synthetic", "--rate", "0"], "got '0', expected a number above 0, or max"),
        (["synthetic", "--topic-prefix", "a b"], "topic_prefix"),
    ],
)
def test_a_wrong_command_is_one_line_and_code_2(history: Path, arguments: list[str], words: str) -> None:
    result = invoke(*[argument.format(history=history) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error:")]) == 1


def test_no_kafka_is_one_line_and_code_1(history: Path) -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    for arguments in (["replay", history, "--format", "retailrocket"], ["synthetic"]):
        result = invoke(*arguments, "--kafka-bootstrap", bootstrap)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: Kafka at {bootstrap} does not answer")
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_with_the_summary_and_code_0(
    number: signal.Signals, embedded_servers: Servers, names: Names
) -> None:
    command = [
        sys.executable, "-c", "from producers.cli import produce; produce()", "synthetic", "--rate", "200",
        "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()  # the first line of progress: it is sending
    process.send_signal(number)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    assert "shop's time" in first
    assert out.startswith("stopped: synthetic shop")


@pytest.mark.parametrize("command", ["replay", "synthetic"])
def test_help_shows_examples(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"stream-app produce {command}" in result.stdout
