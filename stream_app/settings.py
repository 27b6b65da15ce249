"""Settings, read once at start: each with its unit, its reason, and where its value came from.

Sources in rising priority: defaults, environment `STREAM_APP_*`, a TOML file, command-line flags. A wrong value stops
the program with one line, `SettingsError`. Nothing else in the program reads the environment.

A secret `x` may also be in a file, which `STREAM_APP_X_FILE` or `x_file` in the TOML file names (`secret_files.py`).
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from stream_app.secret_files import SUFFIX, SecretFileError, read_secret
from stream_app.security_rules import refuse_bad_combinations

ENV_PREFIX: Final = "STREAM_APP_"
#: Where the TOML file is looked for when neither flag nor `STREAM_APP_CONFIG` names one.
DEFAULT_CONFIG: Final = "stream-app.toml"
#: Signs snapshots where no key was set: it keeps accidents out, not attackers; the programs warn when it is in use.
DEVELOPMENT_KEY: Final = "development-only-key"
#: Shorter tokens can be tried out: 16 characters of hexadecimal digits are 64 bits.
WEB_TOKEN_LENGTH_MIN: Final = 16
#: A host name or IPv4 address, or an IPv6 address in brackets, and a port.
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):\d{1,5}")


class SettingsError(ValueError):
    """A setting is wrong; the text is one line: what was got, what was expected, where from."""


def _field(default: Any, *, unit: str, reason: str, **bounds: Any) -> Any:
    return Field(default, description=reason, json_schema_extra={"unit": unit}, **bounds)


class Settings(BaseSettings):
    """Everything a shop may set. Times are integers of milliseconds."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    # Kafka
    kafka_bootstrap: str = _field(
        "127.0.0.1:9092",
        unit="host:port[,…]",
        min_length=3,
        reason="brokers to start from",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = _field(
        "PLAINTEXT",
        unit="name",
        reason="how brokers are spoken to (docs/security.md): in the clear, by TLS, with a name, or both",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = _field(
        "SCRAM-SHA-512",
        unit="name",
        reason="with SASL_SSL and SASL_PLAINTEXT: how the name is proved; SCRAM never sends the password itself",
    )
    kafka_username: str = _field(
        "",
        unit="text",
        reason="with PLAIN and SCRAM: who we are",
    )
    kafka_password: SecretStr = _field(
        SecretStr(""),
        unit="secret",
        reason="with PLAIN and SCRAM: the password of kafka_username",
    )
    kafka_ca_file: str = _field(
        "",
        unit="file",
        reason="PEM certificates of whoever signs the brokers' certificates; empty: who this system trusts",
    )
    kafka_client_cert_file: str = _field(
        "",
        unit="file",
        reason="PEM certificate by which brokers know us (mTLS), with its chain; empty: none",
    )
    kafka_client_key_file: str = _field(
        "",
        unit="file",
        reason="PEM key of that certificate; empty: it is in the certificate's file",
    )
    kafka_client_key_password: SecretStr = _field(
        SecretStr(""),
        unit="secret",
        reason="of that key, where it is encrypted",
    )
    kafka_token_file: str = _field(
        "",
        unit="file",
        reason="with OAUTHBEARER: a file with the token, read at every connection, so that it may be renewed there",
    )
    kafka_token_url: str = _field(
        "",
        unit="URL",
        reason="with OAUTHBEARER: where tokens are asked for by client credentials (an OIDC token endpoint)",
    )
    kafka_token_client_id: str = _field(
        "",
        unit="text",
        reason="with kafka_token_url: the client id",
    )
    kafka_token_client_secret: SecretStr = _field(
        SecretStr(""),
        unit="secret",
        reason="with kafka_token_url: the secret of kafka_token_client_id",
    )
    kafka_token_scope: str = _field(
        "",
        unit="text",
        reason="what is asked for there, if it has to be named",
    )
    kafka_token_ca_file: str = _field(
        "",
        unit="file",
        reason="PEM certificates of whoever signs that endpoint's; empty: who this system trusts",
    )
    topic_prefix: str = _field(
        "",
        unit="text",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        reason="put before every topic name, so that several shops or tests share a cluster",
    )
    group_id: str = _field(
        "stream-app",
        unit="text",
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        reason="consumer group of the workers; also names the Redis keys, so that two deployments never mix",
    )
    topic_partitions: int = _field(
        4,
        unit="partitions",
        ge=1,
        le=1024,
        reason="of the co-partitioned topics that `topics create` makes; no more workers than this can share the work",
    )
    topic_replication: int = _field(
        1,
        unit="replicas",
        ge=1,
        le=7,
        reason="of created topics; 3 in production, 1 is all a laptop has",
    )
    processing_guarantee: Literal["at_least_once", "exactly_once"] = _field(
        "at_least_once",
        unit="name",
        reason="at_least_once: after a crash an output may repeat with the same event_id, while state and learning "
        "stay exact; exactly_once: a batch's outputs, states and offsets are one Kafka transaction",
    )
    session_timeout_ms: int = _field(
        10_000,
        unit="ms",
        ge=1_000,
        le=300_000,
        reason="a worker silent for this long loses its partitions to the others",
    )
    worker_id: str = _field(
        "",
        unit="text",
        pattern=r"^([A-Za-z0-9._-]|\{hostname\}){0,128}$",
        reason="a name that this process alone has and keeps, `{hostname}` stands for the host's: started again within "
        "session_timeout_ms after a crash, it has its partitions back at once; empty: they wait for that, or go to "
        "another worker, as they do at once when it is asked to stop",
    )
    check_crcs: bool = _field(
        True,
        unit="yes or no",
        reason="verify the checksums of what is read; off only for the embedded Kafka, whose commit markers carry none",
    )
    # Redis
    redis_url: SecretStr = _field(
        SecretStr("redis://127.0.0.1:6379/0"),
        unit="URL",
        reason="Redis or Valkey holding the view of the session states; rediss:// for TLS",
    )
    redis_username: str = _field(
        "",
        unit="text",
        reason="user of Redis's access list; empty: the one in redis_url, else `default`",
    )
    redis_password: SecretStr = _field(
        SecretStr(""),
        unit="secret",
        reason="password of redis_username; empty: the one in redis_url, else none",
    )
    redis_ca_file: str = _field(
        "",
        unit="file",
        reason="with rediss://: PEM certificates of whoever signs the server's; empty: who this system trusts",
    )
    redis_client_cert_file: str = _field(
        "",
        unit="file",
        reason="with rediss://: PEM certificate by which the server knows us (mTLS), with its chain; empty: none",
    )
    redis_client_key_file: str = _field(
        "",
        unit="file",
        reason="PEM key of that certificate; empty: it is in the certificate's file",
    )
    redis_cluster: bool = _field(
        False,
        unit="yes/no",
        reason="whether redis_url is of a node of a Redis Cluster: a partition's keys lie in one slot, so its masters "
        "share the partitions",
    )
    redis_timeout_ms: int = _field(
        500,
        unit="ms",
        ge=10,
        le=60_000,
        reason="of one Redis call; the client's own default blocks for a minute, past the session time-out",
    )
    # Sessions
    session_gap_ms: int = _field(
        1_800_000,
        unit="ms",
        ge=1_000,
        le=86_400_000,
        reason="inactivity that ends a session; 30 minutes is the web-analytics convention",
    )
    grace_ms: int = _field(
        60_000,
        unit="ms",
        ge=0,
        le=3_600_000,
        reason="how far the watermark trails the newest event time: events this much out of order are not late",
    )
    history_ttl_ms: int = _field(
        2_592_000_000,
        unit="ms",
        ge=60_000,
        le=31_536_000_000,
        reason="how long a visitor's earlier sessions are remembered; also the life of every Redis key",
    )
    late_label_ms: int = _field(
        86_400_000,
        unit="ms",
        ge=0,
        le=31_536_000_000,
        reason="how long after an outcome was learned a late label or a refund still corrects it: the visitor's state "
        "remembers it for as long; order systems export once a day; 0 remembers nothing",
    )
    # Batches and memory
    batch_records_max: int = _field(
        4_000,
        unit="records",
        ge=1,
        le=20_000,
        reason="of one partition's batch: larger ones cost less per event, but its last event waits longer and a crash "
        "repeats more",
    )
    cache_visitors_max: int = _field(
        100_000,
        unit="visitors",
        ge=100,
        le=50_000_000,
        reason="states kept in memory per partition (about 1 kB each); those not used for long come back from Redis",
    )
    idle_after_ms: int = _field(
        5_000,
        unit="ms",
        ge=100,
        le=3_600_000,
        reason="a partition without events for this long has its watermark moved on by the wall clock",
    )
    # Moments
    quiet_ms: int = _field(
        60_000,
        unit="ms",
        ge=100,
        le=86_400_000,
        reason="a session with something in its cart and no event for so long is told as `quiet`, once the watermark "
        "has passed it (`grace_ms` later); from session_gap_ms on never",
    )
    trend_turn: float = _field(
        0.5,
        unit="logits",
        ge=0.0,
        le=30.0,
        reason="how far a score must rise above the session's mean and then fall below it, or the reverse, to be told "
        "as a turned `trend`: in the synthetic shop one event in a hundred at 0.5, one in a thousand at 1",
    )
    # Discounts
    discount_policy: str = _field(
        "",
        unit="file",
        reason="who is offered how much, and when (docs/discounts.md); looked at every second; empty: the default one",
    )
    discount_clock: Literal["wall", "events"] = _field(
        "wall",
        unit="name",
        reason="how late it is for the discounts: by the machine's clock, or by the newest event where the shop's time "
        "runs otherwise (a replay, the synthetic shop)",
    )
    discount_window_ms: int = _field(
        86_400_000,
        unit="ms",
        ge=1_000,
        le=2_592_000_000,
        reason="how long after a visitor's first exposure its orders count: who leaves with a full cart comes back on "
        "the same day or seldom, and a longer window adds orders that no offer made; with another one, give the "
        "experiment another id",
    )
    discount_delay_ms: int = _field(
        86_400_000,
        unit="ms",
        ge=0,
        le=2_592_000_000,
        reason="how much longer words of these orders are waited for: order systems export once a day; keep events and "
        "labels for longer than window and delay together",
    )
    # Scores and learning
    model: str = _field(
        "newton",
        unit="name",
        min_length=1,
        reason="the classifier that serves at first, by its name in the zoo (`stream-app models`)",
    )
    challengers: str = _field(
        "",
        unit="name[,…]",
        pattern=r"^\s*([A-Za-z0-9_]+\s*(,\s*[A-Za-z0-9_]+\s*)*)?$",
        reason="models that learn beside it, each at its cost (`stream-app models`); one that is better takes over",
    )
    champion_window: int = _field(
        10_000,
        unit="examples",
        ge=500,
        le=10_000_000,
        reason="over which champion and challengers are compared; at a base rate of 3 % some 300 buyers",
    )
    band_rule: Literal["fixed", "f1", "profit"] = _field(
        "f1",
        unit="name",
        reason="where bands begin: found from the outcomes, for F1 or for the profit of an offer, or fixed as below",
    )
    band_fence_min: float = _field(
        0.08,
        unit="probability",
        gt=0.0,
        lt=1.0,
        reason="scores from here on are `on_the_fence`, until outcomes tell: twice a usual base rate of 3 to 4 %",
    )
    band_likely_min: float = _field(
        0.40,
        unit="probability",
        gt=0.0,
        lt=1.0,
        reason="scores from here on are `likely`, until outcomes tell: above what a cart alone predicts (about 27 %)",
    )
    offer_margin: float = _field(
        0.30,
        unit="share of the order",
        gt=0.0,
        le=1.0,
        reason="what an order earns at full price; with `band_rule` profit",
    )
    offer_discount: float = _field(
        0.10,
        unit="share of the order",
        ge=0.0,
        le=1.0,
        reason="what an offer gives away when it is used",
    )
    offer_effect: float = _field(
        2.0,
        unit="odds ratio",
        ge=1.0,
        le=100.0,
        reason="by how much an offer multiplies the odds of a purchase: measure it against a holdout",
    )
    offer_cost: float = _field(
        0.001,
        unit="share of the order",
        ge=0.0,
        le=1.0,
        reason="of showing an offer at all, attention included: without it even the least likely would get one",
    )
    engine: Literal["auto", "compiled", "python"] = _field(
        "auto",
        unit="name",
        reason="who folds and writes: the compiled engine, which takes Rust to build, a quarter of the instructions, "
        "or pure Python; `auto` is the former where it is built. Either writes the same bytes (docs/adr/0026)",
    )
    reasons: Literal["off", "fence", "sampled", "all"] = _field(
        "fence",
        unit="name",
        reason="which scores come with their reasons: `on_the_fence` ones (where offers are made), one in 16, or all; "
        "about 10 µs each with a linear model, 0.2 to 3 ms with another (docs/reasons.md)",
    )
    base_rate: float = _field(
        0.03,
        unit="probability",
        gt=0.0,
        lt=1.0,
        reason="share of sessions that buy, assumed until enough labels have been seen",
    )
    reservoir_size: int = _field(
        8,
        unit="examples",
        ge=1,
        le=24,  # beyond it the worst visitor's state would not fit into Kafka's 1 MiB
        reason="examples learned per episode: long sessions would otherwise outweigh all others",
    )
    label_hold_ms: int = _field(
        0,
        unit="ms",
        ge=0,
        le=86_400_000,
        reason="common age at which positives are learned, for good; 0 holds them back only until the model is warm",
    )
    snapshot_interval_ms: int = _field(
        500,
        unit="ms",
        ge=50,
        le=60_000,
        reason="how often the trainer publishes what it learned; scorers are behind by this much and a round trip",
    )
    snapshot_key: SecretStr = _field(
        SecretStr(DEVELOPMENT_KEY),
        unit="secret[,…]",
        reason="signs model snapshots (HMAC-SHA256); scorers refuse any other. Of several the first one signs and all "
        "are accepted: so a key is changed without a stop (docs/security.md)",
    )

    # The door: what of an event comes in (producers/door.py)
    pseudonym_key: SecretStr = _field(
        SecretStr(""),
        unit="ID:base64",
        reason="makes visitors' ids pseudonyms on their way in; none leaves them as they are",
    )
    pseudonym_keys_file: str = _field(
        "",
        unit="path",
        reason="pseudonym keys, each from a time on: a TOML file of [[key]] tables (docs/formats.md)",
    )
    kept_parameters: str = _field(
        "utm_*",
        unit="name[,…]",
        reason="of page_url and referrer these parameters come in, the rest of the query does not; * ends a name",
    )
    personal_fields: Literal["masked", "kept"] = _field(
        "masked",
        unit="masked|kept",
        reason="whether queries of addresses and e-mail addresses and long numbers in search terms are taken off",
    )
    # Avro (docs/formats.md)
    schema_registry_url: str = _field(
        "",
        unit="URL",
        reason="of the schema registry, as Confluent's, whose schemas Avro records name; https by the system's "
        "certificates; empty: none",
    )
    schema_registry_user: str = _field(
        "",
        unit="text",
        reason="who asks the schema registry (HTTP Basic): a name, or the API key; empty: nobody in particular",
    )
    schema_registry_password: SecretStr = _field(
        SecretStr(""),
        unit="secret",
        reason="password of schema_registry_user, or the API key's secret",
    )
    # Collecting over HTTP (docs/collect.md)
    collect_host: str = _field(
        "127.0.0.1",
        unit="address",
        min_length=1,
        reason="where `stream-app collect` takes events; loopback unless told, and with write keys only",
    )
    collect_port: int = _field(
        8080,
        unit="port",
        ge=0,
        le=65_535,
        reason="port on which `stream-app collect` takes events; 0 picks a free one",
    )
    collect_cert_file: str = _field(
        "",
        unit="file",
        reason="PEM certificate of this port, with its chain: it speaks HTTPS; empty: HTTP, behind a proxy that does",
    )
    collect_key_file: str = _field(
        "",
        unit="file",
        reason="PEM key of that certificate; empty: it is in the certificate's file",
    )
    collect_write_keys: SecretStr = _field(
        SecretStr(""),
        unit="NAME=KEY[,…]",
        reason="who may send events over HTTP; none: everybody on this machine",
    )
    collect_write_keys_file: str = _field(
        "",
        unit="file",
        reason="write keys in a file, one NAME=KEY a line",
    )
    collect_origins: str = _field(
        "",
        unit="origin[,…]",
        reason="pages that may send, such as https://shop.example; * for all; empty: those of the collector's own host",
    )
    collect_body_bytes_max: int = _field(
        524_288,
        unit="bytes",
        ge=1_024,
        le=1_900_000,  # what is rejected becomes a dead letter whole, and its topic takes 2 MiB
        reason="of one request, before and after unpacking; Segment's batches have at most 500 kB",
    )
    collect_address_rate: float = _field(
        50.0,
        unit="events a second",
        ge=0.0,
        le=1e6,
        reason="of one client's address, in bursts ten times that: an office shares one; 0 for no limit",
    )
    collect_key_rate: float = _field(
        5_000.0,
        unit="events a second",
        ge=0.0,
        le=1e6,
        reason="of one write key, likewise: one process takes some 2,000 requests a second; 0 for no limit",
    )
    collect_waiting_bytes_max: int = _field(
        33_554_432,
        unit="bytes",
        ge=2_097_152,
        le=4_294_967_296,
        reason="of requests in hand, which wait for Kafka; beyond, senders are told to come again",
    )
    collect_proxies: int = _field(
        0,
        unit="proxies",
        ge=0,
        le=10,
        reason="of your own between clients and the collector: so many entries of X-Forwarded-For are believed",
    )
    # Web
    web_host: str = _field(
        "127.0.0.1",
        unit="address",
        min_length=1,
        reason="of the live page, /metrics, /healthz and /readyz; loopback unless told",
    )
    web_port: int = _field(
        8088,
        unit="port",
        ge=0,
        le=65_535,
        reason="of the live page, /metrics, /healthz and /readyz; 0 picks a free one",
    )
    web_token: SecretStr = _field(
        SecretStr(""),
        unit="secret",
        reason="who asks for /metrics, the live page or its data has to bring it (`Authorization: Bearer …`; browsers: "
        "as password of any user); /healthz and /readyz stay open; empty: all is open to whoever reaches the port",
    )
    web_cert_file: str = _field(
        "",
        unit="file",
        reason="PEM certificate of the web port, with its chain: it speaks HTTPS; empty: HTTP",
    )
    web_key_file: str = _field(
        "",
        unit="file",
        reason="PEM key of that certificate; empty: it is in the certificate's file",
    )
    web_show_visitors: bool = _field(
        False,
        unit="yes or no",
        reason="show visitor ids on the live page; else each visitor is a short salted hash",
    )
    web_viewers_max: int = _field(
        20,
        unit="viewers",
        ge=0,
        le=1_000,
        reason="open live pages served at once, each some 10 kB a second; a further one is told so; 0 serves none",
    )
    live_analytics: bool = _field(
        True,
        unit="yes or no",
        reason="a worker follows all closed sessions and tells on its page and by metrics who buys: by source, by time "
        "and by kind of journey; at most some 4 % of a core (docs/live-page.md)",
    )
    web_targets: str = _field(
        "",
        unit="directory",
        reason="where the process leaves a target file while it runs, by which a Prometheus on this machine finds it "
        "(`file_sd_configs`), whatever its port; empty: none",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _field(
        "info",
        unit="name",
        reason="warning = recovered, nothing lost; error = loss, or a person must act",
    )
    log_format: Literal["console", "json"] = _field(
        "console",
        unit="name",
        reason="`json`: one object a line with each fact as a field, for a log collector",
    )
    tracing: bool = _field(
        False,
        unit="yes or no",
        reason="an event whose record has a W3C `traceparent` header becomes a span, and its score's record carries "
        "the header on; needs the extra `tracing`, and OpenTelemetry's own variables say where spans go",
    )

    @field_validator("kafka_bootstrap")
    @classmethod
    def _kafka_addresses(cls, addresses: str) -> str:
        # The client would stop at a malformed one with a traceback, long after the start.
        if not all(_ADDRESS.fullmatch(part.strip()) for part in addresses.split(",")):
            raise ValueError("expected host:port, several separated by commas")
        return addresses

    @field_validator("worker_id")
    @classmethod
    def _own_host(cls, worker_id: str) -> str:
        return worker_id.replace("{hostname}", socket.gethostname())

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        # As it is written: clients take REDISS:// for redis://, which is in the clear.
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("expected redis://, rediss:// or unix://")
        try:
            _ = parts.port
        except ValueError:
            # urlsplit's own message repeats what it took for the port, which may be the start of a password.
            raise ValueError("expected a number as port; in a password write / ? # @ as %2F %3F %23 %40") from None
        return url

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("expected http://host:port or https://host:port, perhaps with a path")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _registry_without_secrets(self) -> Settings:
        # Of the model, not of the field: an error of a field shows what it got.
        if "@" in self.schema_registry_url:
            raise ValueError(
                "got schema_registry_url with a user or password in it, expected these in schema_registry_user and "
                "schema_registry_password"
            )
        return self

    @model_validator(mode="after")
    def _bands_in_order(self) -> Settings:
        if self.band_rule == "profit" and self.offer_discount >= self.offer_margin:
            raise ValueError(
                f"got offer_discount {self.offer_discount} and offer_margin {self.offer_margin}, expected the first "
                "below the second: no offer could pay"
            )
        if self.band_fence_min >= self.band_likely_min:
            raise ValueError(
                f"got band_fence_min {self.band_fence_min} and band_likely_min {self.band_likely_min}, "
                "expected the first below the second"
            )
        return self

    @model_validator(mode="after")
    def _security_fits(self) -> Settings:
        if len(self.web_token.get_secret_value()) in range(1, WEB_TOKEN_LENGTH_MIN):
            raise ValueError(
                f"got a web_token of fewer than {WEB_TOKEN_LENGTH_MIN} characters, expected one that cannot be "
                "guessed: make it with `openssl rand -hex 16`"
            )
        if not self.snapshot_keys:
            raise ValueError("got an empty snapshot_key, expected a text that nobody can guess")
        refuse_bad_combinations(self)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags and file, then the environment; dotenv and pydantic's secret files would be a second way."""
        # First wins. `load` passes flags over file as init values.
        return (init_settings, env_settings)

    @property
    def models(self) -> list[str]:
        """All that learn, the one that serves at first in front."""
        names = (name.strip() for name in f"{self.model},{self.challengers}".split(","))
        return list(dict.fromkeys(name for name in names if name))

    @property
    def snapshot_keys(self) -> list[bytes]:
        """The keys of snapshots: the first one signs, all are accepted."""
        parts = re.split(r"[,\n]", self.snapshot_key.get_secret_value())
        return [part.strip().encode() for part in parts if part.strip()]

    def topic(self, name: str) -> str:
        """The full name of a topic of `stream_app.topics`."""
        return f"{self.topic_prefix}{name}"

    @property
    def namespace(self) -> str:
        """What names of this deployment alone begin with: Redis keys, transactional ids, the trainers' group."""
        return f"{self.topic_prefix}{self.group_id}"


class Explained(NamedTuple):
    """One line of `stream-app settings`."""

    name: str
    value: str
    unit: str
    source: str
    reason: str


def load(*, flags: dict[str, Any] | None = None, config: str | None = None) -> Settings:
    """Read all sources.

    Parameters
    ----------
    flags
        Values given on the command line, by field name; None means not given.
    config
        Path of the TOML file; None looks at `STREAM_APP_CONFIG`, then `stream-app.toml`, then does without.

    Raises
    ------
    SettingsError
        If a value does not fit, a name is unknown or the file cannot be read.
    """
    given, origin = _merge(flags, config)
    _refuse_unknown_environment()
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # several settings that do not go together; the text names them
            raise SettingsError(f"settings: {message}") from None
        name = str(first["loc"][0])
        shown = "" if name in _secrets() else f"got {first['input']!r}: "
        raise SettingsError(f"setting {name} (from {_origin(name, origin)}): {shown}{message}") from None


def explain(*, flags: dict[str, Any] | None = None, config: str | None = None) -> list[Explained]:
    """Every setting with its value as text (secrets masked), unit, source and reason."""
    settings = load(flags=flags, config=config)
    _, origin = _merge(flags, config)
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        shown = _mask(value) if isinstance(value, SecretStr) else str(value)
        lines.append(Explained(name, shown, unit, _origin(name, origin), field.description or ""))
    return lines


def _merge(flags: dict[str, Any] | None, config: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Flags over file, and for each name given where it came from."""
    found = DEFAULT_CONFIG if Path(DEFAULT_CONFIG).exists() else None
    path = config or os.environ.get(f"{ENV_PREFIX}CONFIG") or found
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    if path is not None:
        for name, value in _read_toml(path).items():
            values[name], origin[name] = value, f"file {path}"
    for name, value in (flags or {}).items():
        if value is not None:
            values[name], origin[name] = value, f"flag --{name.replace('_', '-')}"
    _add_secret_files(values, origin)
    return values, origin


def _add_secret_files(values: dict[str, Any], origin: dict[str, str]) -> None:
    """Read secrets of which a file is named: by the settings file (`x_file`), else by the environment.

    Raises
    ------
    SettingsError
        If a file cannot be used, or the same place gives the secret itself as well.
    """
    environment = {name.upper(): value for name, value in os.environ.items()}
    for name in _in_files():
        variable = f"{ENV_PREFIX}{name}".upper()
        path, where = values.pop(f"{name}{SUFFIX}", None), origin.pop(f"{name}{SUFFIX}", "")
        if path is not None and origin.get(name, "").startswith("file "):
            raise SettingsError(f"{where}: got {name} and {name}{SUFFIX}, expected one of both")
        if path is None and f"{variable}_FILE" in environment:
            path, where = environment[f"{variable}_FILE"], f"environment {variable}_FILE"
            if variable in environment:
                raise SettingsError(f"environment: got {variable} and {variable}_FILE, expected one of both")
        if path is None or name in values:  # one that was given nearer has the word
            continue
        try:
            values[name], origin[name] = read_secret(str(path)), f"{where}: {path}"
        except SecretFileError as error:
            raise SettingsError(f"setting {name} (from {where}): {error}") from None


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}; give another with --config") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None
    unknown = sorted(set(values) - set(Settings.model_fields) - {f"{name}{SUFFIX}" for name in _in_files()})
    if unknown:
        raise SettingsError(f"settings file {path}: unknown name {unknown[0]!r}; `stream-app settings` lists them all")
    return values


def _refuse_unknown_environment() -> None:
    files = {f"{name}{SUFFIX}" for name in _in_files()}
    known = {f"{ENV_PREFIX}{name}".upper() for name in {*Settings.model_fields, *files}} | {f"{ENV_PREFIX}CONFIG"}
    for name in sorted(os.environ):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            raise SettingsError(f"environment {name}: unknown setting; `stream-app settings` lists them all")


def _origin(name: str, origin: dict[str, str]) -> str:
    if name in origin:
        return origin[name]
    variable = f"{ENV_PREFIX}{name}".upper()
    return f"environment {variable}" if any(v.upper() == variable for v in os.environ) else "default"


def _secrets() -> set[str]:
    return {name for name, field in Settings.model_fields.items() if isinstance(field.default, SecretStr)}


def _in_files() -> list[str]:
    """Secrets that a file may hold; write keys have a setting of that name, with a format of its own."""
    return [name for name in sorted(_secrets()) if f"{name}{SUFFIX}" not in Settings.model_fields]


def _mask(value: SecretStr) -> str:
    """A URL keeps its host, so that the line stays useful; anything else is hidden."""
    text = value.get_secret_value()
    if not text:
        return ""
    if "://" in text:
        scheme, rest = text.split("://", 1)
        # Redis also takes a password as `?password=…`, and an unescaped @ may be part of one.
        rest, _, query = rest.partition("?")
        hidden = f"***@{rest.rsplit('@', 1)[1]}" if "@" in rest else rest
        return f"{scheme}://{hidden}{'?***' if query else ''}"
    return "(development key)" if text == DEVELOPMENT_KEY else "***"
