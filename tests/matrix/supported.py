"""The supported range, and the rows that `make matrix` tries: one version changed at a time from the usual set.

The usual set is what all other tests run on: the Python that runs them, `KAFKA_VERSION_USUAL`, the redis-server of the
machine (Debian's), and an embedded Valkey where no real server is asked for.
"""

from __future__ import annotations

import sys
from typing import Final, Literal, NamedTuple

from tests.support.servers import KAFKA_VERSION_USUAL

StoreKind = Literal["Redis", "Valkey"]
Subject = Literal["Python", "Kafka", "Redis", "Valkey"]

PYTHONS: Final = ("3.11", "3.12", "3.13")
#: The last 3.x, the first 4.x, the usual one and the newest: what changed with a version came between them.
KAFKAS: Final = ("3.9.2", "4.0.2", KAFKA_VERSION_USUAL, "4.4.0")
#: Debian's, which is the oldest of the range, and the newest.
REDISES: Final = ("7.0", "8.10.2")
VALKEYS: Final = ("9.1.2",)


class Row(NamedTuple):
    """One version of one thing."""

    subject: Subject
    version: str

    def __str__(self) -> str:
        return f"{self.subject} {self.version}"


def supported() -> list[Row]:
    """The whole range."""
    return [
        *(Row("Python", version) for version in PYTHONS),
        *(Row("Kafka", version) for version in KAFKAS),
        *(Row("Redis", version) for version in REDISES),
        *(Row("Valkey", version) for version in VALKEYS),
    ]


def usual() -> set[Row]:
    """What all other tests run on, so that no row is needed."""
    return {
        Row("Python", f"{sys.version_info.major}.{sys.version_info.minor}"),
        Row("Kafka", KAFKA_VERSION_USUAL),
        Row("Redis", REDISES[0]),
    }


def rows() -> list[Row]:
    """Those of the range that are tried by themselves: all but the usual ones."""
    return [row for row in supported() if row not in usual()]
