"""Fixtures of all tests; what they are is said where they are made."""

import signal

from tests.support.fixtures import (
    embedded_servers,
    names,
    no_settings_of_this_machine,
    real_kafka,
    real_redis,
    real_redis_cluster,
    real_servers,
    servers,
)

# A cancelled CI job sends SIGTERM: end like Ctrl-C, so that the fixtures stop their servers and remove their files.
signal.signal(signal.SIGTERM, signal.default_int_handler)
# A shell's background job ignores Ctrl-C, and so would every program that a test starts there.
signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = [
    "embedded_servers",
    "names",
    "no_settings_of_this_machine",
    "real_kafka",
    "real_redis",
    "real_redis_cluster",
    "real_servers",
    "servers",
]
