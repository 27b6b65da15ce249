"""The command as a shell sees it: it answers at once, teaches, and names every command that there is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from stream_app import __version__
from stream_app.cli import SECTIONS, main
from stream_app.core.features import FEATURES
from stream_app.core.model import INPUT_NAMES, ZOO
from stream_app.topics import TOPICS
from tests.support.fixtures import Names, Servers

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

_REPOSITORY = Path(__file__).parents[1]
_COMMANDS = [name for commands in SECTIONS.values() for name in commands]
#: What `--help` has no need of.
_HEAVY = ("faust", "river", "pandas", "numpy", "pydantic", "aiokafka", "redis", "rich", "aiohttp", "prometheus_client")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="stream-app", catch_exceptions=False)


def _shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=_REPOSITORY, timeout=60, check=False
    )


def test_help_names_every_command_under_its_heading() -> None:
    shown = _run("--help")
    assert shown.exit_code == 0
    for heading, commands in SECTIONS.items():
        assert f"\n{heading}:\n" in shown.output
        for name, command in commands.items():
            assert f"{name} " in shown.output
            assert command.about in " ".join(shown.output.split())


def test_help_answers_without_loading_anything_heavy() -> None:
    shown = _shell("-m", "stream_app", "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: stream-app [OPTIONS] COMMAND")
    program = "import sys, stream_app.cli; print(*{m.split('.')[0] for m in sys.modules})"
    assert not set(_HEAVY) & set(_shell("-c", program).stdout.split())


@pytest.mark.parametrize("name", _COMMANDS)
def test_each_command_teaches_with_its_own_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    shown = _run(name, "--help")
    assert shown.exit_code == 0
    assert f"Usage: stream-app {name}" in shown.output
    assert len(command.get_short_help_str(200)) > 20


@pytest.mark.parametrize("name", ["demo", "run", "worker", "trainer", "session", "sessions", "features", "models"])
def test_our_own_commands_show_examples_that_parse(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    help_text = command.help or ""
    examples = [line.strip() for line in help_text.splitlines() if f"stream-app {name}" in line]
    assert examples, f"{name} has no example"
    for example in examples:
        words = example.split(f"stream-app {name}", 1)[1].split("  ")[0].split()
        command.make_context(name, words)


def test_version_and_unknown_commands() -> None:
    assert _run("--version").output == f"stream-app, version {__version__}\n"
    unknown = _run("scores")
    assert unknown.exit_code == 2
    assert "No such command 'scores'" in unknown.output


def test_features_and_models_as_a_table_and_as_json() -> None:
    listed = json.loads(_run("features", "--json").output)
    assert [feature["name"] for feature in listed["features"]] == [feature.name for feature in FEATURES]
    table = _run("features").output
    for feature in FEATURES:
        assert f"\n{feature.name} " in table
    models = json.loads(_run("models", "list", "--json").output)
    assert [model["name"] for model in models] == list(ZOO)
    assert [model["name"] for model in models if model["default"]] == ["newton"]
    listed_models = _run("models", "list").output
    for name in ZOO:
        assert f"\n{name} " in listed_models
    # As it was before there was more to do with models.
    assert (_run("models").output, _run("models", "--json").output) == (
        listed_models, _run("models", "list", "--json").output,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_model_is_shown_with_its_pipeline_inputs_cost_and_needs(name: str) -> None:
    facts = json.loads(_run("models", "show", name, "--json").output)
    assert facts["pipeline"].startswith("PurchasePriors | ")
    assert facts["inputs"] == list(INPUT_NAMES)
    assert facts["cost"] == ZOO[name].cost._asdict()
    table = _run("models", "show", name).output
    assert facts["pipeline"].split(" | ")[-1].partition("(")[0] in table
    assert f"snapshot_interval_ms of {facts['needs']['snapshot_interval_ms']:,} or more" in table


def test_a_model_that_there_is_not_is_refused_with_the_names_of_those_there_are() -> None:
    refused = _run("models", "show", "oracle")
    assert refused.exit_code == 2
    assert refused.stderr == f"Error: got model 'oracle', expected one of {', '.join(sorted(ZOO))}\n"


@pytest.mark.parametrize("name", ["run", "worker", "trainer"])
def test_without_kafka_the_programs_end_with_one_line_and_code_1(name: str) -> None:
    refused = _run(name, "--kafka-bootstrap", "127.0.0.1:1")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: Kafka at 127.0.0.1:1 does not answer")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["run", "worker", "trainer"])
def test_an_unknown_model_is_refused_with_the_names_of_those_there_are(
    name: str, embedded_servers: Servers, names: Names
) -> None:
    where = ["--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix]
    assert _run("topics", "create", *where).exit_code == 0
    refused = _run(name, *where, "--model", "oracle")
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"Error: setting model: got 'oracle', expected one of {', '.join(sorted(ZOO))}; see `stream-app models`\n"
    )


def test_without_topics_run_says_how_to_make_them(embedded_servers: Servers, names: Names) -> None:
    refused = _run("run", "--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"Error: {len(TOPICS)} of {len(TOPICS)} topics missing on ")
    assert refused.stderr.endswith("run `stream-app topics create`\n")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "number"),
    [("run", signal.SIGTERM), ("run", signal.SIGINT), ("worker", signal.SIGTERM), ("trainer", signal.SIGTERM)],
)
def test_the_programs_get_ready_and_end_with_code_0_within_ten_seconds_of_a_signal(
    name: str, number: signal.Signals, embedded_servers: Servers, names: Names
) -> None:
    where = ["--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix]
    assert _run("topics", "create", *where).exit_code == 0
    where += ["--group-id", names.group_id, "--redis-url", embedded_servers.redis_url, "--web-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "stream_app", name, *where],
        cwd=_REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    wanted = {"run": "state=ready", "worker": "state=ready", "trainer": "state=learning"}[name]
    seen = ""
    try:
        for line in process.stderr:
            seen += line
            if wanted in line:
                break
        else:
            pytest.fail(f"it ended before it was ready: {seen}")
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(timeout=15) == 0, seen + rest
        assert "Traceback" not in seen + rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
