"""`stream-app demo`: starts the embedded servers and the process on them, and sums up when it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producers.format_option import chosen_format, format_options
from producers.source import Source, SourceError
from stream_app.cli_options import Sources, with_sources
from stream_app.cli_refusal import refusing
from stream_app.cli_run import require_scoring
from stream_app.demo.order import File, Order

if TYPE_CHECKING:
    from stream_app.demo.service import DemoService
    from stream_app.demo.status import Status
    from stream_app.settings import Settings

#: Pictures a second on a terminal, and lines a second elsewhere.
_PICTURE_S: Final = 0.25
_LINE_S: Final = 1.0
#: Events per second of the shop unless told: what two busy cores do with ease, embedded servers included.
_SHOP_RATE: Final = 1_000.0


@click.command("demo")
@click.option("--events", type=click.IntRange(min=1), metavar="N", help="Stop after N events [default: at Ctrl-C].")
@click.option(
    "--duration", type=click.FloatRange(min=0.0, min_open=True), metavar="S", help="Stop after S seconds of events."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="R",
    help="Events per second [default: 1000 for the shop, as fast as they are scored for a file].",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the shop: another one, another shop."
)
@click.option("--input", "path", type=click.Path(path_type=Path), metavar="FILE", help="Replay FILE, not the shop.")
@format_options
@click.option("--no-tty", is_flag=True, help="Plain lines, as where the output is not a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, and the lines to standard error.")
@with_sources(only=("web_port", "model", "discount_policy"))
def demo(
    events: int | None,
    duration: float | None,
    rate: float | None,
    seed: int,
    path: Path | None,
    format_name: str | None,
    mapping: Path | None,
    no_tty: bool,
    as_json: bool,
    sources: Sources,
) -> None:
    """Watch it work: a synthetic shop's events are scored and learned from, live, and its visitors are made offers.

    Kafka and Valkey are embedded ones that need no installation, listen on loopback only and are gone at the end. The
    shop's time runs 100 times faster than the clock, so sessions end and labels arrive while you watch; ROC AUC rises
    within a minute. Discounts are decided by the policy of --discount-policy, or the demo's own, once the model is
    warm; the shop answers them. With --input your own history takes the shop's place, and nobody is offered anything.

    Ends with a summary: at --events, after --duration, or at Ctrl-C.

    \b
    Examples:
      stream-app demo
      stream-app demo --events 50000 --rate 3000
      stream-app demo --duration 60 --seed 7 --no-tty
      stream-app demo --discount-policy my.toml
      stream-app demo --input events.csv.gz --json
    """
    file = _input(path, format_name, mapping)
    live = sys.stdout.isatty() and not no_tty and not as_json
    try:
        with _ctrl_c_for_sigterm():
            code, facts, failure = _serve(sources, Order(file, events, duration, rate, seed), live=live, err=as_json)
    except KeyboardInterrupt:
        click.echo("stopped before the first event", err=True)
        return
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        from stream_app.demo.plain import summary

        click.echo(f"\n{summary(facts)}" if live else summary(facts))  # the terminal has printed ^C
    if failure or code:
        raise click.ClickException(failure or "the worker or the trainer crashed; the log above says why")


def _input(path: Path | None, format_name: str | None, mapping: Path | None) -> File | None:
    """The history to replay, if any; a wrong file is told at once."""
    if path is None:
        if format_name is not None or mapping is not None:
            raise click.UsageError("got --format or --mapping without --input, expected the FILE that it speaks of")
        return None
    with refusing(SourceError):
        format, why = chosen_format(path, format_name, mapping)
        Source(path, format, now_ms=0).close()
    if format_name is None and mapping is None:
        click.echo(f"{path.name} is {format.name}: {why}", err=True)
    return File(path, format)


def _serve(sources: Sources, order: Order, *, live: bool, err: bool) -> tuple[int, dict[str, Any], str]:
    """Exit code, facts and failure of a run on embedded servers."""
    # Two seconds of imports: not for --help.
    from stream_app.backends.child_process import ServerError
    from stream_app.backends.embedded import EmbeddedKafka, EmbeddedValkey

    if order.file is None and order.rate is None:
        order = order._replace(rate=_SHOP_RATE)
    try:
        with EmbeddedKafka() as kafka, EmbeddedValkey() as valkey:
            return _run(_settings(sources, kafka.bootstrap, valkey.url), order, live, err)
    except ServerError as error:
        raise click.ClickException(str(error)) from None


def _settings(sources: Sources, bootstrap: str, redis_url: str) -> Settings:
    """The user's settings, but for the servers and names: nothing of a real deployment is touched."""
    from stream_app.backends.embedded import EMBEDDED_PARTITIONS
    from stream_app.demo.discounting import SETTINGS
    from stream_app.demo.embedded_settings import IN_THE_CLEAR

    ours: dict[str, Any] = {
        "kafka_bootstrap": bootstrap,
        "redis_url": redis_url,
        "topic_prefix": "",
        "group_id": "demo",
        "topic_partitions": EMBEDDED_PARTITIONS,
        "check_crcs": False,  # the embedded Kafka's commit markers carry none
        "web_host": "127.0.0.1",
        "log_level": "warning",
        **IN_THE_CLEAR,
    }
    asked = {name: value for name, value in sources.flags.items() if value is not None}
    settings = Sources({**SETTINGS, **asked, **ours}, sources.config).load()
    if sources.flags["web_port"] is None and not _is_free(settings.web_port):
        # Another demo, or a worker: the port was not asked for, so any will do.
        settings = settings.model_copy(update={"web_port": 0})
    return settings


def _run(settings: Settings, order: Order, live: bool, err: bool) -> tuple[int, dict[str, Any], str]:
    from stream_app.admin import create_topics
    from stream_app.bootstrap import Deployment, create_app
    from stream_app.demo.discounting import DiscountProcess, require_policy
    from stream_app.demo.service import DemoService
    from stream_app.process import run

    require_scoring(settings)
    require_policy(settings)
    asyncio.run(create_topics(settings))
    services: list[DemoService] = []
    outlet = _Terminal(order, settings) if live else _Lines(settings, err=err)

    def build(deployment: Deployment) -> DemoService:
        service = DemoService(
            deployment,
            order,
            show=lambda status: outlet.show(status, deployment.web.url if deployment.web else ""),
            show_s=_PICTURE_S if live else _LINE_S,
            discounts=discounts,
        )
        services.append(service)
        return service

    with ExitStack() as stack:
        # Not with history: what its visitors did they did without an offer, and no offer changes it.
        discounts = stack.enter_context(DiscountProcess(settings)) if order.file is None else None
        deployment = create_app(settings, worker=True, trainer=True, extra_services=(build,))
        stack.callback(outlet.close)
        code = run(deployment)
    (service,) = services
    return code, service.facts(), service.failure


class _Lines:
    """A plain line now and then."""

    def __init__(self, settings: Settings, *, err: bool) -> None:
        self._settings = settings
        self._err = err
        self._said_where = False

    def show(self, status: Status, url: str) -> None:
        from stream_app.demo.plain import beside, line

        if not self._said_where:
            self._said_where = True
            click.echo(f"the shop live at {url}/; Ctrl-C ends the demo", err=self._err)
            click.echo(f"metrics at {url}/metrics, readiness at {url}/readyz", err=self._err)
            click.echo(f"for another terminal: {beside(self._settings)}", err=self._err)
        click.echo(line(status), err=self._err)

    def close(self) -> None:
        """Nothing to put back."""


class _Terminal:
    """A picture that is drawn anew; log lines go into it."""

    def __init__(self, order: Order, settings: Settings) -> None:
        from rich.live import Live

        from stream_app.demo.plain import beside

        self._beside = beside(settings)

        self._title = f"shop {order.seed}" if order.file is None else order.file.path.name
        self._live = Live(auto_refresh=False, screen=True)
        self._log = _LastLine()
        self._shown = False

    def show(self, status: Status, url: str) -> None:
        from stream_app.demo.screen import picture

        if not self._shown:
            self._shown = True
            # The program has set logging up by now: its handler would write across the picture.
            logging.getLogger().handlers[:] = [self._log]
            self._live.start()
        self._live.update(
            picture(status, title=self._title, url=url, beside=self._beside, note=self._log.text), refresh=True
        )

    def close(self) -> None:
        self._live.stop()
        for text in self._log.errors:
            click.echo(text, err=True)


class _LastLine(logging.Handler):
    """Keeps the newest line for the picture, and errors for when the picture is gone."""

    #: Of errors: the first ones tell the cause.
    _ERRORS_MAX: Final = 20

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text = f"{record.levelname} {record.getMessage()}"
        if record.levelno >= logging.ERROR and len(self.errors) < self._ERRORS_MAX:
            self.errors.append(self.text)


@contextmanager
def _ctrl_c_for_sigterm() -> Iterator[None]:
    """Until the event loop heeds signals, SIGTERM ends the start like Ctrl-C: servers are stopped on the way out."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
