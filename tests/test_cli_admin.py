"""The operators' commands as a shell sees them: output, exit code, one line per error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from stream_app.cli_admin import doctor_command, settings_command, topics_group
from stream_app.cli_options import with_settings
from stream_app.settings import Settings
from stream_app.topics import TOPICS
from tests.support.fixtures import Names, Servers

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


def _run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False)


def test_the_list_of_topic_commands_is_not_cut() -> None:
    shown = _run(topics_group, "--help").output
    assert "  create " in shown
    assert "..." not in shown.partition("\nCommands:\n")[2]


def test_settings_show_value_unit_source_and_reason_of_each() -> None:
    table = _run(settings_command, "--web-port", "0")
    assert table.exit_code == 0
    for name, field in Settings.model_fields.items():
        assert name in table.output
        assert (field.description or "")[:20] in table.output
    facts = {line["name"]: line for line in json.loads(_run(settings_command, "--web-port", "0", "--json").output)}
    assert set(facts) == set(Settings.model_fields)
    assert facts["web_port"]["source"] == "flag --web-port"
    assert facts["web_port"]["value"] == "0"


def test_a_wrong_setting_is_one_line_and_code_2() -> None:
    for command in (settings_command, doctor_command):
        refused = _run(command, "--grace-ms", "soon")
        assert refused.exit_code == 2
        assert refused.stdout == ""
        assert refused.stderr.startswith("Error: setting grace_ms (from flag --grace-ms): got 'soon'")
        assert refused.stderr.count("\n") == 1


def test_help_warns_about_secrets_on_the_command_line_and_shows_none() -> None:
    text = " ".join(_run(doctor_command, "--help").output.split())
    assert "better through STREAM_APP_SNAPSHOT_KEY" in text
    assert "development-only-key" not in text
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in text


def test_topics_are_checked_created_and_checked(servers: Servers, names: Names) -> None:
    where = ("--kafka-bootstrap", servers.bootstrap, "--topic-prefix", names.topic_prefix)
    missing = _run(topics_group, "check", *where)
    assert missing.exit_code == 1
    assert missing.output.count("no such topic") == len(TOPICS)
    created = _run(topics_group, "create", "--json", *where)
    assert created.exit_code == 0
    assert {topic["outcome"] for topic in json.loads(created.output)} == {"created"}
    assert _run(topics_group, "check", *where).exit_code == 0


def test_topics_of_a_dead_kafka_are_one_line_and_code_1() -> None:
    for verb in ("create", "check"):
        refused = _run(topics_group, verb, "--kafka-bootstrap", "127.0.0.1:1")
        assert refused.exit_code == 1
        assert refused.stderr.startswith("Error: Kafka at 127.0.0.1:1 does not answer")
        assert refused.stderr.count("\n") == 1


def test_doctor_exits_with_1_on_a_problem_and_0_without(embedded_servers: Servers, names: Names) -> None:
    dead = _run(doctor_command, "--kafka-bootstrap", "127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1")
    assert dead.exit_code == 1
    assert "2 problems" in dead.output
    where = ("--kafka-bootstrap", embedded_servers.bootstrap, "--topic-prefix", names.topic_prefix)
    assert _run(topics_group, "create", *where).exit_code == 0
    fine = _run(doctor_command, "--json", *where, "--redis-url", embedded_servers.redis_url)
    assert fine.exit_code == 0
    assert {finding["level"] for finding in json.loads(fine.output)} == {"ok"}


def test_running_without_assertions_is_a_problem() -> None:
    program = (
        "from stream_app import doctor\nprint(next(f.level for f in doctor._program() if f.name == 'assertions'))\n"
    )
    repository = Path(__file__).parents[1]
    for flags, level in (([], "ok"), (["-O"], "problem")):
        done = subprocess.run(
            [sys.executable, *flags, "-c", program], capture_output=True, text=True, check=True, cwd=repository
        )
        assert done.stdout.strip() == level


def test_a_command_may_take_a_few_settings_only_and_the_environment_sets_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    @with_settings(only=("kafka_bootstrap",))
    def produce(settings: Settings) -> None:
        click.echo(f"{settings.kafka_bootstrap} {settings.topic_prefix}")

    monkeypatch.setenv("STREAM_APP_TOPIC_PREFIX", "shop.")
    assert _run(produce, "--kafka-bootstrap", "a:1").output == "a:1 shop.\n"
    assert _run(produce, "--web-port", "1").exit_code == 2
