"""Which security settings go together. A combination that cannot work, or that would protect less than it seems to, is
refused at the start: what was got, what is expected, what to do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from stream_app.tls import TlsFileError, client_context, server_context

if TYPE_CHECKING:
    from stream_app.settings import Settings


def refuse_bad_combinations(settings: Settings) -> None:
    """Look at all of them; the files are read as well. Raises ValueError, with one line that quotes no secret."""
    _kafka_tls(settings)
    _kafka_sasl(settings)
    _redis(settings)
    _schema_registry(settings)
    _server_files(settings, "web")
    _server_files(settings, "collect")


def in_the_clear(settings: Settings) -> Iterator[str]:
    """What others on the network could read, or use without a name, each in a few words; nothing on this machine."""
    brokers = [address.strip().rpartition(":")[0] for address in settings.kafka_bootstrap.split(",")]
    if not settings.kafka_security_protocol.endswith("SSL") and not all(map(is_loopback, brokers)):
        yield f"Kafka is spoken to in the clear ({settings.kafka_security_protocol})"
    redis = urlsplit(settings.redis_url.get_secret_value())
    if redis.scheme == "redis" and not is_loopback(redis.hostname or "localhost"):
        yield "Redis is spoken to in the clear"
    registry = urlsplit(settings.schema_registry_url)
    if registry.scheme == "http" and not is_loopback(registry.hostname or ""):
        yield "the schema registry is spoken to in the clear"
    if not is_loopback(settings.web_host):
        if not settings.web_token.get_secret_value():
            yield f"the web port listens on {settings.web_host} without a web_token"
        elif not settings.web_cert_file:
            yield f"the web port listens on {settings.web_host} without TLS, so its token can be read"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host or address by this name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _kafka_tls(settings: Settings) -> None:
    protocol = settings.kafka_security_protocol
    files = {
        "kafka_ca_file": settings.kafka_ca_file,
        "kafka_client_cert_file": settings.kafka_client_cert_file,
        "kafka_client_key_file": settings.kafka_client_key_file,
        "kafka_client_key_password": settings.kafka_client_key_password.get_secret_value(),
    }
    if protocol not in ("SSL", "SASL_SSL"):
        _refuse_given(files, f"kafka_security_protocol {protocol}", "SSL or SASL_SSL, or none of these files")
        return
    _client_files("kafka", files)


def _kafka_sasl(settings: Settings) -> None:
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    named = {
        "kafka_username": settings.kafka_username,
        "kafka_password": settings.kafka_password.get_secret_value(),
    }
    asked = {
        "kafka_token_url": settings.kafka_token_url,
        "kafka_token_client_id": settings.kafka_token_client_id,
        "kafka_token_client_secret": settings.kafka_token_client_secret.get_secret_value(),
        "kafka_token_scope": settings.kafka_token_scope,
        "kafka_token_ca_file": settings.kafka_token_ca_file,
    }
    tokens = {"kafka_token_file": settings.kafka_token_file, **asked}
    if not protocol.startswith("SASL_"):
        _refuse_given({**named, **tokens}, f"kafka_security_protocol {protocol}", "SASL_SSL, or none of them")
    elif mechanism != "OAUTHBEARER":
        _refuse_given(tokens, f"kafka_sasl_mechanism {mechanism}", "OAUTHBEARER, or none of them")
        _require(named, f"kafka_sasl_mechanism {mechanism}")
    else:
        _refuse_given(named, "kafka_sasl_mechanism OAUTHBEARER", "kafka_token_file or kafka_token_url instead")
        if settings.kafka_token_file:
            _refuse_given(asked, "kafka_token_file", "one of both: the token is in the file, or asked for")
            return
        needed = ("kafka_token_url", "kafka_token_client_id", "kafka_token_client_secret")
        _require(
            {name: asked[name] for name in needed},
            "kafka_sasl_mechanism OAUTHBEARER without kafka_token_file",
        )
        _token_url(settings.kafka_token_url, settings.kafka_token_ca_file)


def _token_url(url: str, ca_file: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("kafka_token_url: expected https://host/path, the client's name and secret in settings of own")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            f"got kafka_token_url http://{parts.hostname}, expected https: the secret would be in the clear"
        )
    try:
        client_context(ca_file=ca_file)
    except TlsFileError as error:
        raise ValueError(f"TLS to kafka_token_url: {error}") from None


def _redis(settings: Settings) -> None:
    parts = urlsplit(settings.redis_url.get_secret_value())
    files = {
        "redis_ca_file": settings.redis_ca_file,
        "redis_client_cert_file": settings.redis_client_cert_file,
        "redis_client_key_file": settings.redis_client_key_file,
    }
    if settings.redis_username and not settings.redis_password.get_secret_value():
        raise ValueError("got redis_username without redis_password, expected both")
    if settings.redis_username and (parts.username or "username=" in parts.query):
        raise ValueError("got a user in redis_url and redis_username, expected one of both")
    if settings.redis_cluster and (parts.scheme == "unix" or parts.path.strip("/") not in ("", "0")):
        raise ValueError(
            "got redis_cluster with a socket or a database, expected a host and database 0: it has no others"
        )
    if settings.redis_password.get_secret_value() and (parts.password or "password=" in parts.query):
        raise ValueError("got a password in redis_url and redis_password, expected one of both")
    if parts.scheme != "rediss":
        _refuse_given(files, f"a redis_url with {parts.scheme}://", "rediss://, or none of these files")
        return
    if any(name.lower().startswith("ssl_") for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError(
            "got TLS options in redis_url, expected redis_ca_file, redis_client_cert_file and redis_client_key_file"
        )
    _client_files("redis", files)


def _schema_registry(settings: Settings) -> None:
    parts = urlsplit(settings.schema_registry_url)
    secret = settings.schema_registry_password.get_secret_value()
    if secret and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError(
            f"got schema_registry_password with schema_registry_url http://{parts.hostname}, expected https: the "
            "password would be in the clear"
        )


def _client_files(server: str, files: dict[str, str]) -> None:
    """Whether a client can use them; by setting: CA, certificate, key, and the password of a key that may have one."""
    ca_file, cert_file, key_file, *password = files.values()
    if not cert_file:
        of_ours = {name: value for name, value in files.items() if name != f"{server}_ca_file"}
        _refuse_given(of_ours, f"no {server}_client_cert_file", "the certificate as well")
    try:
        client_context(ca_file=ca_file, cert_file=cert_file, key_file=key_file, password="".join(password))
    except TlsFileError as error:
        raise ValueError(f"TLS to {server.capitalize()}: {error}") from None


def _server_files(settings: Settings, port: str) -> None:
    cert, key = getattr(settings, f"{port}_cert_file"), getattr(settings, f"{port}_key_file")
    if key and not cert:
        raise ValueError(f"got {port}_key_file without {port}_cert_file, expected the certificate as well")
    if cert:
        try:
            server_context(cert_file=cert, key_file=key)
        except TlsFileError as error:
            raise ValueError(f"TLS of the {port} port: {error}") from None


def _refuse_given(given: dict[str, str], beside: str, expected: str) -> None:
    """Names only: some of the values are secrets."""
    names = [name for name, value in given.items() if value]
    if names:
        raise ValueError(f"got {', '.join(names)} with {beside}, expected {expected}")


def _require(needed: dict[str, str], by: str) -> None:
    names = [name for name, value in needed.items() if not value]
    if names:
        raise ValueError(f"got {by} and no {' and no '.join(names)}, expected {'them' if names[1:] else 'it'} set")
