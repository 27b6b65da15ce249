"""Whether a visitor lies on the partition that its key belongs to: on two partitions it would be two half visitors.

A record must have its visitor's id as its key; that is checked for each. Where a key leads is the producer's choice,
and any choice will do that everybody shares. So the shop's own is found out: Kafka's default (murmur2) or librdkafka's
(CRC-32), whichever explains the most of the visitors seen lately, and those that it does not explain are strays: most
likely some producer uses the other one. Where neither explains much, the shop has a third one, and nothing can be said.

Strays are told, not rejected: their events are all there are of them here. This is a diagnosis that lives in memory
alone; no output depends on it.
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

#: Visitors remembered before older ones count half: long enough to be sure, and a producer that was mended is forgotten
#: within a few thousand visitors.
_REMEMBERED: Final = 1_024

#: Visitors imagined to lie where Kafka's default puts them, so that the very first stray is told; a shop with another
#: partitioner sees about as many false ones for each partition when a worker starts.
_IMAGINED: Final = 8

_MASK: Final = 0xFFFFFFFF
_MULTIPLIER: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C


def murmur2(key: bytes) -> int:
    """The 32-bit hash of Kafka's own partitioner (`org.apache.kafka.common.utils.Utils.murmur2`), without its sign."""
    length = len(key)
    words = length >> 2
    hashed = _SEED ^ length
    for word in struct.unpack_from(f"<{words}I", key):
        word = word * _MULTIPLIER & _MASK
        hashed = (hashed * _MULTIPLIER & _MASK) ^ ((word ^ word >> 24) * _MULTIPLIER & _MASK)
    if length & 3:
        hashed = (hashed ^ int.from_bytes(key[words << 2 :], "little")) * _MULTIPLIER & _MASK
    hashed = (hashed ^ hashed >> 13) * _MULTIPLIER & _MASK
    return hashed ^ hashed >> 15


class Placement:
    """What is known of where the visitors of one partition of `partitions` lie."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition, self._partitions = partition, partitions
        self._seen = self._by_murmur2 = self._by_either = _IMAGINED
        self._by_crc32 = 0
        # Half-way between what chance alone puts here and everything.
        self._explained_min = 1.0 - 0.5 * (1.0 - 1.0 / partitions) ** 2

    def is_stray(self, key: bytes) -> bool:
        """Take a visitor into account by its key, and say whether it belongs elsewhere."""
        by_murmur2 = (murmur2(key) & 0x7FFFFFFF) % self._partitions == self._partition
        by_crc32 = crc32(key) % self._partitions == self._partition
        self._seen += 1
        self._by_murmur2 += by_murmur2
        self._by_crc32 += by_crc32
        self._by_either += by_murmur2 or by_crc32
        if self._seen >= _REMEMBERED:
            self._seen >>= 1
            self._by_murmur2 >>= 1
            self._by_crc32 >>= 1
            self._by_either >>= 1
        if self._by_either < self._explained_min * self._seen:
            return False
        return not (by_murmur2 if self._by_murmur2 >= self._by_crc32 else by_crc32)
