"""`run`, `worker`, `trainer`: the programs that work until they are asked to stop."""

from __future__ import annotations

import asyncio

import click

from stream_app.cli_options import with_settings
from stream_app.settings import Settings


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
@with_settings()
def worker_command(settings: Settings) -> None:
    """Score events; the model comes from the trainer, until Ctrl-C or SIGTERM.

    Start as many as you like, on as many machines: Kafka gives each its partitions, and takes them over when one dies.

    \b
    Examples:
      stream-app worker
      stream-app worker --web-port 8089
    """
    _run(settings, worker=True, trainer=False)


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
    require_model(settings)
    from stream_app.bootstrap import create_app, run

    click.get_current_context().exit(run(create_app(settings, worker=worker, trainer=trainer)))


def require_model(settings: Settings) -> None:
    """Go on only if the models are such that there are; else click.ClickException with one line and code 2."""
    from stream_app.core.model import ZOO

    for name in settings.models:
        if name not in ZOO:
            setting = "model" if name == settings.model else "challengers"
            refused = click.ClickException(
                f"setting {setting}: got {name!r}, expected one of {', '.join(sorted(ZOO))}; see `stream-app models`"
            )
            refused.exit_code = 2
            raise refused


def require_topics(settings: Settings) -> None:
    """Go on only if Kafka answers and every topic fits.

    Raises
    ------
    click.ClickException
        With one line: what does not fit, and what to do.
    """
    from stream_app.admin import KafkaUnreachableError, check_topics

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
