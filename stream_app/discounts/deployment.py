"""The one place where the discount application's objects are joined: settings in, a Faust application out."""

from __future__ import annotations

import time
from dataclasses import dataclass

import faust
from aiokafka import AIOKafkaConsumer
from mode import Service
from prometheus_client import CollectorRegistry

from stream_app import topics
from stream_app.backends.clients import KafkaClients, heartbeat_ms
from stream_app.backends.redis import RedisView, connect_by
from stream_app.discounts.activity import Activity
from stream_app.discounts.agents import add_agents
from stream_app.discounts.beginning import group_id
from stream_app.discounts.beside import Beside
from stream_app.discounts.budget import Budget
from stream_app.discounts.clock import Clock, EventClock, WallClock
from stream_app.discounts.measuring import Measuring
from stream_app.discounts.measuring_observer import MeasuringObserver
from stream_app.discounts.observe import DiscountObserver
from stream_app.discounts.owners import Owners
from stream_app.discounts.partition import Partition, Shared
from stream_app.discounts.policy_watch import PolicyWatch
from stream_app.discounts.reopening import Reopening
from stream_app.discounts.restoring import Restoring
from stream_app.discounts.timing_follower import TimingFollower
from stream_app.discounts.transport import DiscountApp
from stream_app.discounts.writing import DecisionWriter
from stream_app.metrics import Metrics
from stream_app.process import Supervised
from stream_app.settings import Settings
from stream_app.targets import TargetFile
from stream_app.web.health import Health
from stream_app.web.server import WebServer

#: Between two commits of the group's offsets, in seconds: so much is decided about a second time after a crash.
_COMMIT_S = 1.0


@dataclass
class Deployment:
    """What runs in this process."""

    settings: Settings
    app: faust.App
    registry: CollectorRegistry
    owners: Owners
    policy: PolicyWatch
    web: WebServer | None


def create_app(settings: Settings, *, web: bool = True) -> Deployment:
    """Build the discount application.

    Raises
    ------
    PolicyError
        The policy cannot be used.
    RuntimeError
        Under `python -O`.
    """
    if not __debug__:
        raise RuntimeError("python -O takes away checks that the Kafka client relies on: start without it")
    registry = CollectorRegistry()
    metrics = Metrics(registry, discounts=True)
    observer = DiscountObserver(metrics, registry)
    policy = PolicyWatch(settings.discount_policy, observer)
    clients = KafkaClients(settings)
    app = _faust_app(settings, clients)
    redis = connect_by(settings)
    budget = Budget(redis, settings)
    measuring = Measuring(settings, MeasuringObserver(metrics), policy=lambda: policy.current.policy, clients=clients)
    timing = TimingFollower(settings, observer, clients, wanted=lambda: policy.current.policy)
    beside = Beside(measuring, timing)
    shared = Shared(
        budget=budget,
        reopening=Reopening(settings, clients, budget, reopened=observer.budget_opened),
        observer=observer,
        in_force=lambda: policy.current,
        chooser=lambda: measuring.chooser,
        windows=timing,
        gap_ms=settings.session_gap_ms,
        fenced_pause_s=2 * heartbeat_ms(settings) / 1000,
    )

    def partition(number: int) -> Partition:
        writer = DecisionWriter(settings, number, clients=clients)
        restoring = Restoring(
            settings, number, clients=clients, writer=writer, budget=budget, group_id=group_id(settings)
        )
        # The states' life is the workers' business: nothing is written here.
        view = RedisView(redis, prefix=settings.namespace, ttl_ms=settings.history_ttl_ms)
        return Partition(
            number,
            shared=shared,
            writer=writer,
            restoring=restoring,
            clock=_clock(settings),
            activity=Activity(view, number),
        )

    owners = Owners(
        partition,
        shared,
        topics=[settings.topic(name) for name in (topics.MOMENTS, topics.CLOSED)],
        client=lambda: _client(app),
        session_timeout_ms=settings.session_timeout_ms,
    )
    add_agents(app, owners, settings)
    observer.readiness(owners.ready)
    services: list[Service] = [
        Supervised("discounts", owners.run, owners.stop),
        Supervised("policy", policy.run, policy.stop),
        Supervised("measuring and timing", beside.run, beside.stop),
    ]
    deployment = Deployment(settings, app, registry, owners, policy, None)
    if web:
        health = Health()
        health.register("discounts", ready=owners.ready, alive=owners.alive)
        deployment.web = WebServer(settings, registry, health, None)
        services.append(deployment.web)
        if settings.web_targets:
            services.append(TargetFile(settings, deployment.web, role="discounts"))
    app.deployed = services
    return deployment


def _faust_app(settings: Settings, clients: KafkaClients) -> DiscountApp:
    return DiscountApp(
        group_id(settings),
        clients=clients,
        broker=f"kafka://{settings.kafka_bootstrap.replace(',', ';')}",
        # Faust's own server changes tables and listens everywhere; ours has what is needed.
        web_enabled=False,
        worker_redirect_stdouts=False,
        # It elects a leader by a topic of its own, for timers of which we have none.
        topic_disable_leader=True,
        topic_allow_declare=False,
        # Ours acknowledge when they have written, or not at all: nothing to wait for.
        stream_wait_empty=False,
        broker_commit_interval=_COMMIT_S,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_request_timeout=settings.session_timeout_ms / 1000 + 5.0,
        broker_heartbeat_interval=heartbeat_ms(settings) / 1000,
        broker_check_crcs=settings.check_crcs,
    )


def _client(app: faust.App) -> AIOKafkaConsumer | None:
    """The consumer's client, once there is one."""
    # Asking the application for a consumer would make one.
    consumer = app._consumer
    return consumer.client if consumer is not None else None


def _clock(settings: Settings) -> Clock:
    return EventClock(time.time) if settings.discount_clock == "events" else WallClock(time.time)
