"""Fixtures of all tests; what they are is said where they are made."""

from tests.support.fixtures import (
    embedded_servers,
    names,
    real_kafka,
    real_redis,
    real_servers,
    servers,
)

__all__ = ["embedded_servers", "names", "real_kafka", "real_redis", "real_servers", "servers"]
