"""The one place where the collector's objects are joined: settings in, services out."""

from __future__ import annotations

from dataclasses import dataclass

import faust
from mode import Service
from prometheus_client import CollectorRegistry

from producers.door import Door
from stream_app.backends.clients import KafkaClients
from stream_app.collect.delivery import Delivery
from stream_app.collect.intake import Intake
from stream_app.collect.observe import CollectObserver
from stream_app.collect.senders import Senders
from stream_app.collect.server import CollectServer
from stream_app.process import Supervised, new_app
from stream_app.settings import Settings
from stream_app.targets import TargetFile
from stream_app.web.health import Health
from stream_app.web.server import WebServer


@dataclass
class Deployment:
    """What runs in this process."""

    settings: Settings
    app: faust.App
    server: CollectServer


def create(settings: Settings, senders: Senders, door: Door) -> Deployment:
    """Build the collector."""
    registry = CollectorRegistry()
    observer = CollectObserver(registry)
    delivery = Delivery(settings, observer, KafkaClients(settings))
    intake = Intake(settings, delivery, observer, senders=senders, door=door)
    server = CollectServer(settings, intake, observer, senders=senders)
    health = Health()
    health.register("kafka", ready=delivery.ready)
    health.register("collector", ready=server.ready)
    observer.readiness(lambda: (delivery.ready()[0] and server.ready()[0], ""))
    web = WebServer(settings, registry, health, None)
    services: list[Service] = [Supervised("collect", delivery.run, delivery.stop), web]
    if settings.web_targets:
        services.append(TargetFile(settings, web, role="collector"))
    app = new_app(settings, "collector")
    # Stopped the other way round: the port first, and when it has answered what it had in hand, what it needs.
    app.deployed = [*services, server]
    return Deployment(settings, app, server)
