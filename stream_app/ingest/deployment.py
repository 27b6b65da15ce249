"""The one place where the ingest's objects are joined: settings and a raw topic in, a Faust application out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import faust
from mode import Service
from prometheus_client import CollectorRegistry

from producers.door_settings import door_of
from producers.formats import Format
from stream_app.ingest.ingester import Ingester
from stream_app.ingest.observe import IngestObserver
from stream_app.ingest.partition import BatchReader
from stream_app.process import Supervised, new_app
from stream_app.settings import Settings
from stream_app.targets import TargetFile
from stream_app.web.health import Health
from stream_app.web.server import WebServer

#: Not Avro's own type: it needs what only the extra `avro` brings.
ReaderOf: TypeAlias = Callable[[Settings, IngestObserver], BatchReader]


@dataclass
class Deployment:
    """What runs in this process."""

    settings: Settings
    app: faust.App
    ingester: Ingester


def create_app(
    settings: Settings, topic: str, told: tuple[Format, str] | None, *, reader_of: ReaderOf | None = None
) -> Deployment:
    """Build the process that takes a raw topic in.

    Parameters
    ----------
    topic
        The raw topic's full name; the prefix is that of our own topics.
    told
        The format of its records, and how it is known; None lets the records tell it.
    reader_of
        Makes what finds the format of each batch, where it takes more than `told`.

    Raises
    ------
    RuntimeError
        Under `python -O`.
    SourceError
        If what the settings say of the door cannot be used.
    """
    if not __debug__:
        raise RuntimeError("python -O takes away checks that the Kafka client relies on: start without it")
    registry = CollectorRegistry()
    observer = IngestObserver(registry)
    reader = None if reader_of is None else reader_of(settings, observer)
    ingester = Ingester(settings, topic, told, door_of(settings), observer, reader)
    observer.readiness("ingest", ingester.ready)
    health = Health()
    health.register("ingest", ready=ingester.ready, alive=ingester.alive)
    web = WebServer(settings, registry, health, None)
    services: list[Service] = [Supervised("ingest", ingester.run, ingester.stop), web]
    if settings.web_targets:
        services.append(TargetFile(settings, web, role="ingest"))
    app = new_app(settings, "ingest")
    app.deployed = services
    return Deployment(settings, app, ingester)
