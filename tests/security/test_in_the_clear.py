"""What others on the network could read or use is said once, at the start, by every program that goes on running."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from stream_app.process import warn_of_what_is_in_the_clear
from stream_app.security_rules import in_the_clear
from stream_app.settings import load
from tests.security.certificates import Authority

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

TOKEN = "a-token-of-24-characters"
SCRAM = {"kafka_username": "u", "kafka_password": "hunter2hunter2"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"kafka_bootstrap": "127.0.0.1:9092,kafka-2.example:9092"}, "Kafka is spoken to in the clear (PLAINTEXT)"),
        (
            {"kafka_bootstrap": "k.example:9092", "kafka_security_protocol": "SASL_PLAINTEXT", **SCRAM},
            "Kafka is spoken to in the clear (SASL_PLAINTEXT)",
        ),
        ({"redis_url": "redis://:hunter2hunter2@r.example:6379"}, "Redis is spoken to in the clear"),
        ({"schema_registry_url": "http://registry.example"}, "the schema registry is spoken to in the clear"),
        ({"web_host": "0.0.0.0"}, "the web port listens on 0.0.0.0 without a web_token"),
        ({"web_host": "::", "web_token": TOKEN}, "the web port listens on :: without TLS, so its token can be read"),
    ],
)
def test_it_is_one_line_that_names_it_and_no_secret(
    flags: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load(flags=flags)
    assert list(in_the_clear(settings)) == [said]
    warn_of_what_is_in_the_clear(settings)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert said in record.getMessage()
    assert TOKEN not in caplog.text
    assert "hunter2" not in caplog.text


def test_several_are_one_line_too(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_what_is_in_the_clear(load(flags={"kafka_bootstrap": "k.example:1", "redis_url": "redis://r.example"}))
    assert len(caplog.records) == 1


def test_nothing_is_said_of_this_machine_or_of_tls(caplog: pytest.LogCaptureFixture, authority: Authority) -> None:
    pair = authority.server()
    secured = {
        "kafka_bootstrap": "k.example:9094", "kafka_security_protocol": "SASL_SSL", **SCRAM,
        "redis_url": "rediss://r.example", "schema_registry_url": "https://registry.example", "web_host": "0.0.0.0",
        "web_token": TOKEN, "web_cert_file": str(pair.cert), "web_key_file": str(pair.key),
    }  # fmt: skip
    for flags in ({}, secured):
        warn_of_what_is_in_the_clear(load(flags=flags))
    assert caplog.records == []
