"""Settings, read once at start: each with its unit, its reason, and where its value came from.

Sources in rising priority: defaults, environment `STREAM_APP_*`, a TOML file, command-line flags. A wrong value stops
the program with one line, `SettingsError`. Nothing else in the program reads the environment.
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

ENV_PREFIX: Final = "STREAM_APP_"
#: Where the TOML file is looked for when neither flag nor `STREAM_APP_CONFIG` names one.
DEFAULT_CONFIG: Final = "stream-app.toml"
#: Signs snapshots where no key was set: it keeps accidents out, not attackers; the programs warn when it is in use.
DEVELOPMENT_KEY: Final = "development-only-key"
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
        "session_timeout_ms, it has its partitions back at once; empty: they wait for that, or go to another worker",
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
        reason="Redis or Valkey holding the view of the session states",
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
        unit="secret",
        reason="signs model snapshots (HMAC-SHA256); scorers refuse any other",
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
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("expected redis://, rediss:// or unix://")
        try:
            _ = parts.port
        except ValueError:
            # urlsplit's own message repeats what it took for the port, which may be the start of a password.
            raise ValueError("expected a number as port; in a password write / ? # @ as %2F %3F %23 %40") from None
        return url

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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags and file, then the environment; dotenv and secret files would be a second way."""
        # First wins. `load` passes flags over file as init values.
        return (init_settings, env_settings)

    @property
    def models(self) -> list[str]:
        """All that learn, the one that serves at first in front."""
        names = (name.strip() for name in f"{self.model},{self.challengers}".split(","))
        return list(dict.fromkeys(name for name in names if name))

    def topic(self, name: str) -> str:
        """The full name of a topic of `stream_app.topics`."""
        return f"{self.topic_prefix}{name}"


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
        name = str(first["loc"][0]) if first["loc"] else "settings"
        shown = "" if name in _secrets() or not first["loc"] else f"got {first['input']!r}: "
        message = first["msg"].removeprefix("Value error, ")
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
    return values, origin


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}; give another with --config") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(f"settings file {path}: unknown name {unknown[0]!r}; `stream-app settings` lists them all")
    return values


def _refuse_unknown_environment() -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields} | {f"{ENV_PREFIX}CONFIG"}
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


def _mask(value: SecretStr) -> str:
    """A URL keeps its host, so that the line stays useful; anything else is hidden."""
    text = value.get_secret_value()
    if "://" in text:
        scheme, rest = text.split("://", 1)
        # Redis also takes a password as `?password=…`, and an unescaped @ may be part of one.
        rest, _, query = rest.partition("?")
        hidden = f"***@{rest.rsplit('@', 1)[1]}" if "@" in rest else rest
        return f"{scheme}://{hidden}{'?***' if query else ''}"
    return "(development key)" if text == DEVELOPMENT_KEY else "***"
