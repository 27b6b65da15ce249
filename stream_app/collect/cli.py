"""`stream-app collect`: events over HTTP, until it is asked to stop."""

from __future__ import annotations

from typing import Final

import click

from producers.door_settings import DOOR_SETTINGS, door_of
from producers.source_error import SourceError
from stream_app.cli_options import with_settings
from stream_app.cli_refusal import refusing
from stream_app.cli_run import require_topics
from stream_app.collect.senders import senders_of
from stream_app.settings import Settings, SettingsError

#: What has to do with it; the environment and the file may set all others as ever.
_SETTINGS: Final = (
    "kafka_bootstrap",
    "topic_prefix",
    "group_id",
    "collect_host",
    "collect_port",
    "collect_cert_file",
    "collect_key_file",
    "collect_write_keys",
    "collect_write_keys_file",
    "collect_origins",
    "collect_body_bytes_max",
    "collect_address_rate",
    "collect_key_rate",
    "collect_waiting_bytes_max",
    "collect_proxies",
    *DOOR_SETTINGS,
    "worker_id",
    "web_host",
    "web_port",
    "web_targets",
    "log_level",
    "log_format",
)


@click.command("collect")
@with_settings(only=_SETTINGS)
def collect_command(settings: Settings) -> None:
    """Take events over HTTP into clickstream.events.v1, for sites without Kafka, until Ctrl-C or SIGTERM.

    POST /v1/events takes events as JSON, one or several, also as Segment and GA4 send them; 200 means that Kafka has
    acknowledged them. /v1/snippet.js is a script for the shop's pages. /metrics, /healthz and /readyz answer on the web
    port. All of it: docs/collect.md.

    \b
    Examples:
      stream-app collect --collect-origins https://shop.example
      STREAM_APP_COLLECT_WRITE_KEYS=shop=KEY stream-app collect --collect-host 0.0.0.0 --web-port 8092
    """
    with refusing(SettingsError, SourceError):
        senders, door = senders_of(settings), door_of(settings)
    require_topics(settings)
    # Clients and the web server take a second to import: not before it is known that there is something to run on.
    from stream_app.collect.deployment import create
    from stream_app.process import run

    click.get_current_context().exit(run(create(settings, senders, door)))
