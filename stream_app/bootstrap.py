"""The one place where objects are joined: settings in, a Faust application with its services out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faust
from mode import Service
from prometheus_client import CollectorRegistry

from stream_app.core.native import native
from stream_app.observe import Observer
from stream_app.process import Supervised, new_app
from stream_app.settings import Settings
from stream_app.targets import TargetFile
from stream_app.trainer import Trainer
from stream_app.web.health import Health
from stream_app.web.live_feed import LiveFeed
from stream_app.web.live_routes import LiveRoutes
from stream_app.web.server import WebServer
from stream_app.worker import Worker


@dataclass
class Deployment:
    """What runs in this process."""

    settings: Settings
    app: faust.App
    registry: CollectorRegistry
    observer: Observer
    health: Health
    worker: Worker | None
    trainer: Trainer | None
    web: WebServer | None


def create_app(
    settings: Settings,
    *,
    worker: bool,
    trainer: bool,
    web: bool = True,
    extra_services: Sequence[Callable[[Deployment], Service]] = (),
) -> Deployment:
    """Build a process that scores, trains, or both. `extra_services` are built last, with the rest at hand.

    Raises RuntimeError under `python -O`.
    """
    if not __debug__:
        raise RuntimeError("python -O takes away checks that the Kafka client relies on: start without it")
    registry = CollectorRegistry()
    observer = Observer(
        registry,
        engine="compiled" if native is not None and settings.engine != "python" else "python",
        guarantee=settings.processing_guarantee,
        worker=worker,
        trainer=trainer,
    )
    health = Health()
    role = "-".join(name for name, wanted in (("worker", worker), ("trainer", trainer)) if wanted)
    app = new_app(settings, role)
    deployment = Deployment(settings, app, registry, observer, health, None, None, None)
    services: list[Service] = []
    if trainer:
        deployment.trainer = built = Trainer(settings, observer)
        services.append(Supervised("trainer", built.run, built.stop))
        health.register("trainer", ready=built.ready)
        observer.readiness("trainer", built.ready)
    if worker:
        deployment.worker = scorer = Worker(settings, observer)
        services.append(Supervised("worker", scorer.run, scorer.stop))
        health.register("worker", ready=scorer.ready, alive=scorer.alive)
        observer.readiness("worker", scorer.ready)
    if web:
        feed = LiveFeed(
            settings,
            health,
            worker=deployment.worker,
            trainer=deployment.trainer,
            latency=observer.end_to_end,
            longest_wait=observer.longest_wait_s,
            told=observer.shop.told,
        )
        if deployment.worker is not None:
            deployment.worker.listen(feed.take)
        deployment.web = WebServer(settings, registry, health, LiveRoutes(settings, feed))
        services.append(deployment.web)
        if settings.web_targets:
            services.append(TargetFile(settings, deployment.web, role=role))
    services.extend(build(deployment) for build in extra_services)
    app.deployed = services
    return deployment
