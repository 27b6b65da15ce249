"""What the demo's own servers need: they listen on loopback and speak in the clear, whatever a real deployment does."""

from __future__ import annotations

from typing import Final

from stream_app.settings import Settings

#: Every setting of the ways to Kafka and Redis at its default: a password of a real deployment is not even read.
IN_THE_CLEAR: Final = {
    name: str(Settings.model_fields[name].default)
    for name in ("kafka_security_protocol", "kafka_sasl_mechanism")
} | dict.fromkeys(
    (
        "kafka_username", "kafka_password", "kafka_ca_file", "kafka_client_cert_file", "kafka_client_key_file",
        "kafka_client_key_password", "kafka_token_file", "kafka_token_url", "kafka_token_client_id",
        "kafka_token_client_secret", "kafka_token_scope", "kafka_token_ca_file", "redis_username", "redis_password",
        "redis_ca_file", "redis_client_cert_file", "redis_client_key_file",
    ),
    "",
)  # fmt: skip
