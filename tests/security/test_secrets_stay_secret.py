"""Whatever goes wrong at a start, no secret is in what is said: output, log at its loudest, errors, settings."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from stream_app.backends.child_process import free_port
from stream_app.cli_admin import settings_command
from stream_app.settings import Settings
from tests.security.deployment import SecuredServers

#: In seconds: a start that fails does so within the time-out of one request.
PATIENCE_S = 120.0
SECRETS = [name for name, field in Settings.model_fields.items() if isinstance(field.default, SecretStr)]
STARTS = [("worker",), ("produce", "synthetic", "--events", "1"), ("session", "somebody"), ("doctor",), ("settings",)]
#: Each takes seconds, and goes the way of one above.
MORE_STARTS = [
    ("trainer",), ("discounts", "run"), ("collect",), ("ingest", "--topic", "raw"), ("topics", "create"),
    ("forget", "somebody"), ("audit",), ("doctor", "--json"), ("settings", "--json"), ("models", "status"),
]  # fmt: skip


def _secret(name: str) -> str:
    return f"very-secret-{name.replace('_', '-')}"


def _value(name: str) -> str:
    if name == "redis_url":
        return f"redis://somebody:{_secret(name)}@127.0.0.1:{free_port()}/0"
    if name == "collect_write_keys":
        return f"shop={_secret(name)}"
    if name == "pseudonym_key":
        return f"key:{base64.b64encode(_secret(name).encode() * 2).decode()}"
    return _secret(name)


def _told(words: tuple[str, ...], environment: dict[str, str], folder: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_APP_")}
    done = subprocess.run(
        [sys.executable, "-m", "stream_app", *words],
        env={**clean, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=folder,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done.stdout + done.stderr


def _leaks(text: str, values: dict[str, str]) -> list[str]:
    return [name for name, value in values.items() if _secret(name) in text or value in text]


def test_every_secret_is_tried() -> None:
    assert {"kafka_password", "kafka_token_client_secret", "redis_password", "web_token", "snapshot_key"} <= {*SECRETS}


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id="-".join(words)) for words in STARTS]
    + [pytest.param(words, id="-".join(words), marks=pytest.mark.long) for words in MORE_STARTS],
)
def test_with_servers_that_are_away(words: tuple[str, ...], tmp_path: Path) -> None:
    # One of those that exclude each other.
    values = {name: _value(name) for name in SECRETS if name not in ("redis_password", "kafka_token_client_secret")}
    pem = tmp_path / "key.pem"
    pem.write_text("no key")
    given = {f"STREAM_APP_{name}".upper(): value for name, value in values.items()}
    given |= {
        "STREAM_APP_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}", "STREAM_APP_LOG_LEVEL": "debug",
        "STREAM_APP_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "STREAM_APP_KAFKA_USERNAME": "worker",
        "STREAM_APP_WEB_PORT": "0", "STREAM_APP_COLLECT_PORT": "0",
    }  # fmt: skip
    del given["STREAM_APP_KAFKA_CLIENT_KEY_PASSWORD"], values["kafka_client_key_password"]
    text = _told(words, given, tmp_path)
    assert text.strip()
    assert _leaks(text, values) == []


@pytest.mark.usefixtures("no_settings_of_this_machine")
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("wrong", ["web_port", "kafka_client_cert_file"])
def test_with_settings_that_cannot_be(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone, beside a setting that makes the start fail: the error shows what it got, but not this."""
    value = _value(name)
    monkeypatch.setenv(f"STREAM_APP_{name}".upper(), value)
    monkeypatch.setenv(f"STREAM_APP_{wrong}".upper(), "nowhere")
    refused = CliRunner().invoke(settings_command, [])
    assert (refused.exit_code, refused.output.startswith("Error: setting")) == (2, True)
    assert _leaks(refused.output, {name: value}) == []


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_with_a_broker_that_refuses_the_password(mechanism: str, secured: SecuredServers, tmp_path: Path) -> None:
    given = {
        "STREAM_APP_KAFKA_BOOTSTRAP": secured.kafka.sasl, "STREAM_APP_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "STREAM_APP_KAFKA_CA_FILE": str(secured.authority.ca), "STREAM_APP_KAFKA_SASL_MECHANISM": mechanism,
        "STREAM_APP_KAFKA_USERNAME": "worker", "STREAM_APP_KAFKA_PASSWORD": _value("kafka_password"),
        "STREAM_APP_LOG_LEVEL": "debug",
    }  # fmt: skip
    for words in (("worker",), ("produce", "synthetic", "--events", "1"), ("doctor",)):
        text = _told(words, given, tmp_path)
        assert "refuses user 'worker'" in text, text
        assert _leaks(text, {"kafka_password": _value("kafka_password")}) == []
