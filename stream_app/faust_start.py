"""What applications for Faust's own command share: refusals as click shows them, and our worker in Faust's place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
import faust

from stream_app.process import Runnable, create_faust_worker


def end(refused: click.ClickException) -> NoReturn:
    """End the program as click would, which Faust does not leave to it."""
    refused.show()
    sys.exit(refused.exit_code)


def start_with(deployment: Runnable, require: Callable[[], None]) -> None:
    """Have the command `worker` start our worker, after `require`, which may refuse with a ClickException.

    It is called for that command only: the others, and `--help`, need no Kafka.
    """

    def create_worker(app: faust.App, *, loop: asyncio.AbstractEventLoop, **options: Any) -> faust.Worker:
        try:
            require()
        except click.ClickException as refused:
            end(refused)
        asyncio.set_event_loop(loop)  # what was required had one of its own
        return create_faust_worker(deployment, loop)

    deployment.app.conf.Worker = create_worker
