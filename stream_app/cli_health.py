"""`stream-app health`: whether the process of these settings is alive, for whoever restarts it, as the image does."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Final

import click

from stream_app.cli_options import with_settings
from stream_app.settings import Settings
from stream_app.tls import own_context

#: In seconds, for the answer: it is given from memory, and whoever asks waits little longer.
_TIMEOUT_S: Final = 3.0
#: Addresses at which nobody can be asked, and those that they stand for.
_ALL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@click.command("health")
@click.option("--ready", is_flag=True, help="Whether it does its work, and not only whether it is alive.")
@with_settings(only=("web_host", "web_port", "web_cert_file"))
def health_command(settings: Settings, ready: bool) -> None:
    """Ask the process that runs here with these settings whether it is alive, by its web port, TLS or not.

    Exit codes: 0 it is, 1 it is not, or does not answer.

    \b
    Examples:
      stream-app health
      STREAM_APP_WEB_PORT=8090 stream-app health --ready
    """
    host = _ALL.get(settings.web_host, settings.web_host)
    scheme = "https" if settings.web_cert_file else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.web_port}/{'readyz' if ready else 'healthz'}"
    tls = own_context(settings.web_cert_file) if settings.web_cert_file else None
    try:
        status, said = _asked(url, tls)
    except OSError as error:
        raise click.ClickException(f"{url} does not answer: {getattr(error, 'reason', error)}") from None
    click.echo(said)
    click.get_current_context().exit(status != HTTPStatus.OK)


def _asked(url: str, tls: ssl.SSLContext | None) -> tuple[int, str]:
    """Status and text. Raises OSError where there is no answer."""
    # No proxy: it is this machine that is asked.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=tls))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=_TIMEOUT_S) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
