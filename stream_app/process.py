"""The process around our services: a Faust application that runs them, its signals, its log, its garbage collector.

Knows no service: a process that only takes events in loads no model.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

import faust
from mode import Service

from stream_app.backends.clients import is_told_elsewhere
from stream_app.log_lines import Line, LineFormatter
from stream_app.security_rules import in_the_clear
from stream_app.settings import DEVELOPMENT_KEY, Settings

#: How long a service may take to stop: in-flight batches finish well within; then it is cancelled.
_STOP_S_MAX: Final = 8.0

#: Modules with services of Faust's kind.
_SERVICES: Final = (
    "stream_app.process",
    "stream_app.web.server",
    "stream_app.targets",
    "stream_app.collect.server",
    "stream_app.discounts.transport",
)

#: Kafka's own loggers tell every retry of a broker that is away at ERROR; we say it once ourselves.
_QUIET_LOGGERS: Final = ("aiokafka", "kafka", "faust", "mode", "aiohttp.access")


class _Boot(faust.App.BootStrategy):
    """Faust's own Kafka consumer stays off: without agents it would still join a group and create a leader topic."""

    enable_kafka = False
    enable_kafka_consumer = False
    enable_kafka_producer = False
    enable_web = False


class _App(faust.App):
    BootStrategy = _Boot
    #: started with the application and stopped with it; Faust's own decorator only takes classes
    deployed: Sequence[Service] = ()

    def _create_directories(self) -> None:
        """None: Faust's directories are for tables on disk, and we have none; the current one may be read-only."""

    async def on_started_init_extra_services(self) -> None:
        await super().on_started_init_extra_services()
        for service in self.deployed:
            await self.add_runtime_dependency(service)


class Supervised(Service):
    """Runs one of our loops as a Faust service. A loop that ends by itself is a crash: it takes the worker down."""

    def __init__(
        self, label: str, run: Callable[[], Coroutine[Any, Any, None]], stop: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._label = label
        self._run_loop, self._stop_loop = run, stop
        self._task: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run_loop())

    @Service.task
    async def _watch(self) -> None:
        assert self._task is not None
        await asyncio.wait({self._task})
        if self.should_stop:
            return
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            logging.getLogger("stream_app").error(Line("crashed", service=self._label, error=error))
            raise error
        raise RuntimeError(f"{self._label} ended by itself")

    async def on_stop(self) -> None:
        """Let the loop finish, for a while."""
        self._stop_loop()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=_STOP_S_MAX)
        if not done:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def new_app(settings: Settings, role: str) -> _App:
    """A Faust application without agents, in which our services run: give it those as `deployed`."""
    return _App(
        f"{settings.group_id}-{role}",
        broker=f"kafka://{settings.kafka_bootstrap.replace(',', ';')}",
        web_enabled=False,
        worker_redirect_stdouts=False,
        # Faust's monitor and stats pages describe agents; ours are on the registry.
        topic_disable_leader=True,
    )


class Runnable(Protocol):
    """A process of ours, whatever it does."""

    settings: Settings
    app: faust.App


def run(deployment: Runnable) -> int:
    """Run until SIGTERM or Ctrl-C; the exit code: 0 when asked to stop, 1 after a crash."""
    faust_worker = create_faust_worker(deployment, asyncio.new_event_loop())
    try:
        faust_worker.execute_from_commandline()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1
    return 0


def create_faust_worker(deployment: Runnable, loop: asyncio.AbstractEventLoop) -> faust.Worker:
    """What runs the services and heeds signals, whichever command has started it; sets up logging and collection."""
    settings = deployment.settings
    tune_garbage_collector()
    configure_logging(settings)
    loop.set_exception_handler(_complaint)
    warn_of_development_key(settings)
    warn_of_what_is_in_the_clear(settings)
    faust_worker = faust.Worker(
        deployment.app,
        loglevel=settings.log_level,
        quiet=True,
        redirect_stdouts=False,
        loop=loop,
        override_logging=False,
    )
    # Faust turns the terminal's cursor on and off, even into a pipe: our standard output is for facts.
    faust_worker.spinner = None
    return faust_worker


def _complaint(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not is_told_elsewhere(context):
        loop.default_exception_handler(context)


def tune_garbage_collector() -> None:
    """Collect rarely: a batch makes tens of thousands of objects and no cycles, and walking them all costs a fifth.

    What start-up made is set aside for good; a young collection comes after about ten batches, a full one rarely.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def configure_logging(settings: Settings) -> None:
    """Our log lines on standard error at the level that was asked for; libraries only when something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(settings.log_format))
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("stream_app").setLevel(settings.log_level.upper())
    # Services log their own life under their module's name; our events say the same in our words.
    for module in _SERVICES:
        logging.getLogger(module).setLevel(logging.ERROR)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "aiokafka" else logging.WARNING)


def warn_of_development_key(settings: Settings) -> None:
    """Say aloud that snapshots are signed with a key that everybody knows."""
    host = settings.kafka_bootstrap.rpartition(":")[0]
    local = all(
        part.rpartition(":")[0].strip() in ("127.0.0.1", "localhost", "[::1]")
        for part in settings.kafka_bootstrap.split(",")
    )
    if DEVELOPMENT_KEY.encode() in settings.snapshot_keys and not local:
        logging.getLogger("stream_app").warning(
            Line(
                "development_key",
                kafka=host,
                hint="set STREAM_APP_SNAPSHOT_KEY: anyone who can write to the topic can replace the model",
            )
        )


def warn_of_what_is_in_the_clear(settings: Settings) -> None:
    """Say aloud, in one line, what others on the network could read or use."""
    if ways := "; ".join(in_the_clear(settings)):
        logging.getLogger("stream_app").warning(
            Line("in_the_clear", what=ways, hint="use TLS, and a token for the web port: docs/security.md")
        )
