"""The broker, the Redis and the files of one benchmark: all contenders meet the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka.admin import AdminClient
from redis import Redis

from benchmarks.contenders.contract import PARTITIONS
from benchmarks.rig.processes import cpu_seconds
from stream_app import admin
from stream_app.settings import Settings, load
from tests.support.servers import USUAL_JVM, RealKafka, RealRedis

#: Of an admin request, in seconds.
_ADMIN_S = 30.0


class Servers:
    """A real Kafka and a real Redis on loopback and a directory, all gone when it is left."""

    def __init__(self) -> None:
        self.kafka = RealKafka(jvm=USUAL_JVM)
        self.redis = RealRedis()
        self.directory = Path()

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap

    @property
    def redis_url(self) -> str:
        return self.redis.url

    @property
    def log(self) -> Path:
        """What the contenders say."""
        return self.directory / "log"

    def cpu_seconds(self) -> tuple[float, float]:
        """User and system time of the broker and of Redis so far."""
        return cpu_seconds(self.kafka.pid), cpu_seconds(self.redis.pid)

    def settings(self, prefix: str, **flags: Any) -> Settings:
        """Our own settings for the topics of this prefix."""
        given = {"kafka_bootstrap": self.bootstrap, "redis_url": self.redis_url, "topic_partitions": PARTITIONS}
        return load(flags={**given, "topic_prefix": prefix, **flags})

    async def create(self, prefix: str) -> None:
        """Make the topics of a run: the same for every contender, those that only ours writes included."""
        bad = [status for status in await admin.create_topics(self.settings(prefix)) if not status.fine]
        if bad:
            raise SystemExit(f"topics could not be made: {bad[0]}")

    def forget(self, prefix: str) -> None:
        """Delete what a run left in Kafka, Redis and files: the next one shall not pay for it."""
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        names = [name for name in client.list_topics(timeout=_ADMIN_S).topics if prefix in name]
        for deleted in client.delete_topics(names, operation_timeout=_ADMIN_S).values() if names else ():
            deleted.result()
        with Redis.from_url(self.redis_url) as redis:
            redis.flushall()
        shutil.rmtree(self.directory / prefix, ignore_errors=True)

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="stream-app-bench-"))
        try:
            self.kafka.start()
            self.redis.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.redis.stop()
        self.kafka.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
