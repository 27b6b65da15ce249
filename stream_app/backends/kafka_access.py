"""How a Kafka client gets in: the arguments that every one of them is made with, and why it was turned away.

`access(settings)` is the only place that knows addresses, protocol, certificates and passwords. A test holds that
nobody else in the program names `bootstrap_servers`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.backends.kafka_tokens import TokenError, token_provider
from stream_app.settings import Settings
from stream_app.tls import client_context

#: What a broker answers to whom it knows, and does not let do what was asked.
DENIED: Final = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

#: For one address, in ms: somebody waits at a terminal.
_LOOK_MS: Final = 4_000


def access(settings: Settings) -> dict[str, Any]:
    """Addresses, and how to get in: for any of aiokafka's clients."""
    return {"bootstrap_servers": settings.kafka_bootstrap, **security(settings)}


def security(settings: Settings) -> dict[str, Any]:
    """How to get in, wherever that is; empty in the clear.

    Raises
    ------
    TlsFileError
        If a certificate's file is not what it was at the start any more.
    """
    protocol = settings.kafka_security_protocol
    options: dict[str, Any] = {}
    if protocol in ("SSL", "SASL_SSL"):
        # Read anew for each client: certificates are renewed while we run.
        options["ssl_context"] = client_context(
            ca_file=settings.kafka_ca_file,
            cert_file=settings.kafka_client_cert_file,
            key_file=settings.kafka_client_key_file,
            password=settings.kafka_client_key_password.get_secret_value(),
        )
    if protocol.startswith("SASL_"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = token_provider(settings)
        else:
            options["sasl_plain_username"] = settings.kafka_username
            options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return {"security_protocol": protocol, **options} if protocol != "PLAINTEXT" else {}


async def why_turned_away(options: Mapping[str, Any]) -> str:
    """Try each address once, for whom the client only said that it could not connect: what stands in the way, in words.

    `options` are those of `access`. The client itself logs it and raises something else, which sounds the same for a
    broker that is away, a certificate that is not trusted and a password that is wrong.
    """
    reasons: dict[str, None] = {}
    secured = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    for host, port, _ in collect_hosts(options["bootstrap_servers"]):
        try:
            async with asyncio.timeout(_LOOK_MS / 1000):
                connection = await create_conn(host, port, request_timeout_ms=_LOOK_MS, **secured)
            try:
                # Without SASL it is only here that a broker that wants it closes the connection.
                async with asyncio.timeout(_LOOK_MS / 1000):
                    await connection.send(MetadataRequest([]))
            finally:
                connection.close()
            if secured.get("sasl_mechanism") == "OAUTHBEARER":
                # The client takes a refusal for a welcome, and what the broker says next for an answer.
                return "it answers and gives nothing: does the broker refuse our token (too old, another issuer)?"
            return "it does answer now: try again"
        except (KafkaError, OSError, TimeoutError) as error:
            reasons[_words(error, secured)] = None
    return "; ".join(reasons)


def denied_hint(error: BaseException) -> str:
    """What to do about an error, if it is that the broker lets us in and does not let us do it; else empty."""
    if not isinstance(error, DENIED):
        return ""
    return " (the broker's access list does not allow it: `stream-app acls kafka` prints what each role needs)"


def _words(error: BaseException, secured: Mapping[str, Any]) -> str:
    mechanism = secured.get("sasl_mechanism")
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the broker's certificate is not trusted ({error.verify_message}): "
            "give whoever signed it as kafka_ca_file, and the broker's name as the certificate has it"
        )
    if isinstance(error, ssl.SSLError):
        hint = "is that a TLS port?" if error.reason == "WRONG_VERSION_NUMBER" else "does it want a client certificate?"
        return f"TLS failed ({(error.reason or 'no reason given').replace('_', ' ').lower()}): {hint}"
    if isinstance(error, SaslAuthenticationFailed) and mechanism != "OAUTHBEARER":
        name = secured["sasl_plain_username"]
        return f"the broker refuses user {name!r} by {mechanism}: are kafka_username and kafka_password right?"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"the broker does not offer {mechanism} on that port: give another kafka_sasl_mechanism"
    if isinstance(error, TokenError):
        return str(error)
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KafkaError | TimeoutError) and mechanism == "OAUTHBEARER":
        # The client takes the refusal (RFC 7628 §3.2.2) for a welcome, and the broker closes the connection after it.
        return (
            f"the connection was made and not answered ({said}): does the broker refuse our token (too old, another "
            "issuer or audience than it expects)?"
        )
    if isinstance(error, KafkaError | TimeoutError):
        return (
            f"the connection was made and not answered ({said}): is kafka_security_protocol right for that port, and "
            "does it ask for a client certificate?"
        )
    return f"{said}; is it running, and is --kafka-bootstrap right?"
