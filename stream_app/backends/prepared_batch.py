"""Record batches whose records are made by the compiled engine: what is left to do is the header.

aiokafka's own builder takes a call for each record, and compresses what it has been given. Here a batch's records come
in one piece (`native.RecordList.batches`), and the header is put before them when the batch is sent: only then its
producer's id and sequence are known. Format 2, see "Record Batch" in Kafka's protocol guide.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

# Base offset, length of what follows, leader epoch, magic, CRC; and the part that the CRC is of: attributes, last
# offset delta, first and last timestamp, producer id and epoch, base sequence, records.
_HEAD: Final = struct.Struct(">qiibI")
_CHECKED: Final = struct.Struct(">hiqqqhii")
_AFTER_LENGTH: Final = 12

_MAGIC: Final = 2
_LZ4: Final = 0x03
_TRANSACTIONAL: Final = 0x10
_NO_EPOCH: Final = -1


class PreparedBatch(BatchBuilder):
    """`records` of one time (ms), LZ4-compressed in `body`; for `AIOKafkaProducer.send_batch`."""

    def __init__(self, records: int, body: bytes, *, timestamp: int, transactional: bool) -> None:
        # Nothing of the base class is used but its name: the client asks for these methods alone.
        self._records, self._body, self._timestamp = records, body, timestamp
        self._attributes = _LZ4 | (_TRANSACTIONAL if transactional else 0)
        self._producer = (-1, -1, -1)

    def append(self, **record: Any) -> None:
        """Nothing more goes in."""
        return

    def close(self) -> None:
        """It always was."""

    def closed(self) -> bool:
        """Nothing more goes in."""
        return True

    def record_count(self) -> int:
        """How many records it has."""
        return self._records

    def size(self) -> int:
        """In bytes, with the header."""
        return _HEAD.size + _CHECKED.size + len(self._body)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        checked = _CHECKED.pack(
            self._attributes, self._records - 1, self._timestamp, self._timestamp, *self._producer, self._records
        )
        rest = checked + self._body
        return _HEAD.pack(0, self.size() - _AFTER_LENGTH, _NO_EPOCH, _MAGIC, calc_crc32c(rest)) + rest
