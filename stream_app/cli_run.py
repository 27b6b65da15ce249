"""`run`, `worker`, `trainer`: the programs that work until they are asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Final

import click

from stream_app.cli_options import with_settings
from stream_app.cli_refusal import AskedWronglyError
from stream_app.settings import Settings

_PORT_MAX: Final = 65_535


@click.command("run")
@with_settings()
def run_command(settings: Settings) -> None:
    """Score and learn in one process, until Ctrl-C or SIGTERM.

    Needs Kafka with the topics (`stream-app topics create`) and Redis. Add `stream-app worker`s as traffic grows: they
    share the partitions. /metrics, /healthz and /readyz answer on the web port.

    \b
    Examples:
      stream-app run
      stream-app run --kafka-bootstrap kafka:9092 --redis-url redis://redis:6379/0 --web-host 0.0.0.0
      STREAM_APP_TOPIC_PREFIX=shop. stream-app run --log-level debug
    """
    _run(settings, worker=True, trainer=True)


@click.command("worker")
@click.option(
    "--processes",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="How many on this host, on web ports one after the other; 0 is one for each core.",
)
@with_settings()
def worker_command(settings: Settings, processes: int) -> None:
    """Score events; the model comes from the trainer, until Ctrl-C or SIGTERM.

    Start as many as you like, on as many machines: Kafka gives each its partitions, and takes them over when one dies.

    \b
    Examples:
      stream-app worker
      stream-app worker --processes 0 --web-port 8100
    """
    count = processes or os.cpu_count() or 1
    if count == 1:
        _run(settings, worker=True, trainer=False)
        return
    if settings.web_port + count - 1 > _PORT_MAX:
        raise AskedWronglyError(
            f"got web port {settings.web_port} for {count} processes, expected at most {_PORT_MAX + 1 - count}, or 0"
        )
    require_topics(settings)
    from stream_app.process import configure_logging
    from stream_app.worker_processes import WorkerProcesses

    configure_logging(settings)
    click.get_current_context().exit(WorkerProcesses(count, lambda number: _one_of_many(settings, number)).run())


@click.command("trainer")
@with_settings()
def trainer_command(settings: Settings) -> None:
    """Learn from resolved sessions and publish the model, until Ctrl-C or SIGTERM.

    One trainer learns at a time; a second one stands by and takes over where the first one stopped.

    \b
    Examples:
      stream-app trainer
      stream-app trainer --model newton --web-port 8090
    """
    _run(settings, worker=False, trainer=True)


def _run(settings: Settings, *, worker: bool, trainer: bool) -> None:
    require_topics(settings)
    # Faust, River and pandas take a second to import: not before it is known that there is something to run on.
    require_scoring(settings)
    from stream_app.bootstrap import create_app
    from stream_app.process import run

    click.get_current_context().exit(run(create_app(settings, worker=worker, trainer=trainer)))


def _stop_well_before_the_start() -> None:
    """Obey at once who asks to stop before there is anything to stop; from its start on Faust heeds signals."""

    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)


def _one_of_many(settings: Settings, number: int) -> list[str]:
    """This command again, with a port and a name of its own where they are given: of an option the last one counts."""
    own = ["--processes", "1"]
    if settings.web_port:
        own += ["--web-port", str(settings.web_port + number)]
    if settings.worker_id:
        own += ["--worker-id", f"{settings.worker_id}-{number}"]
    return [sys.executable, "-m", "stream_app", *sys.argv[1:], *own]


def require_scoring(settings: Settings) -> None:
    """Go on only if there are such models, and the compiled engine is one to use; else AskedWronglyError."""
    from stream_app.core.model import ZOO
    from stream_app.core.native import engine

    for name in settings.models:
        if name not in ZOO:
            setting = "model" if name == settings.model else "challengers"
            raise AskedWronglyError(
                f"setting {setting}: got {name!r}, expected one of {', '.join(sorted(ZOO))}; see `stream-app models`"
            )
    try:
        engine(settings.engine)
    except ImportError as error:
        raise AskedWronglyError(str(error)) from None


def require_topics(settings: Settings) -> None:
    """Go on only if Kafka answers and every topic fits. From here on who asks to stop is obeyed with code 0.

    Raises
    ------
    click.ClickException
        With one line: what does not fit, and what to do.
    """
    from stream_app.admin import KafkaUnreachableError, check_topics

    _stop_well_before_the_start()
    try:
        statuses = asyncio.run(check_topics(settings))
    except KafkaUnreachableError as error:
        raise click.ClickException(str(error)) from None
    bad = [status for status in statuses if not status.fine]
    if not bad:
        return
    missing = [status for status in bad if status.outcome == "missing"]
    if len(missing) == len(bad):
        names = missing[0].name if len(missing) == 1 else f"{len(missing)} of {len(statuses)} topics"
        raise click.ClickException(
            f"{names} missing on {settings.kafka_bootstrap} with prefix {settings.topic_prefix!r}; "
            "run `stream-app topics create`"
        )
    first = next(status for status in bad if status.outcome != "missing")
    raise click.ClickException(
        f"topic {first.name} does not fit: got {first.got}, expected {first.expected}; {first.what_to_do} "
        "(`stream-app topics check` shows all)"
    )
