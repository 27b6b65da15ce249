"""Record batches of the compiled engine: what aiokafka's own reader finds in them is what was put in."""

from __future__ import annotations

import random

import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from stream_app.backends.prepared_batch import PreparedBatch
from stream_app.core.native import native
from tests.native.built import needs_native

pytestmark = needs_native

#: As the writers' own bound, but small enough to be reached.
BYTES_MAX = 2_000

pairs = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=3_000)), max_size=30)


def read(records: list[tuple[bytes, bytes]], *, transactional: bool = False) -> list[list[tuple[bytes, bytes]]]:
    """Through record batches as they are sent, batch by batch; each must say of itself what holds."""
    found = []
    for count, body in native.RecordList.of(records).batches(BYTES_MAX):
        prepared = PreparedBatch(count, body, timestamp=1_700_000_000_123, transactional=transactional)
        prepared._set_producer_state(2**40, 7, 2**31 - 5)
        data = prepared._build()
        assert len(data) == prepared.size()
        (batch,) = _batches(data)
        assert batch.validate_crc()
        assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (2**40, 7, 2**31 - 5)
        assert batch.is_transactional == transactional
        assert (batch.base_offset, batch.last_offset_delta) == (0, count - 1)
        inside = list(batch)
        assert [record.offset for record in inside] == list(range(count))
        assert {record.timestamp for record in inside} == {1_700_000_000_123}
        assert all(not record.headers for record in inside)
        found.append([(record.key, record.value) for record in inside])
        assert len(body) <= BYTES_MAX or count == 1
    return found


def _batches(data: bytes) -> list[object]:
    records, found = MemoryRecords(data), []
    while records.has_next():
        found.append(records.next_batch())
    return found


@given(pairs, st.booleans())
def test_what_goes_in_comes_out_in_order(records: list[tuple[bytes, bytes]], transactional: bool) -> None:
    assert [pair for batch in read(records, transactional=transactional) for pair in batch] == records


def test_batches_are_as_few_as_fit_when_records_compress_and_when_they_do_not() -> None:
    alike = [(b"k%d" % n, b'{"feature": 0.125, "other": 1.0}' * 10) for n in range(60)]
    (first, *rest) = read(alike)
    assert len(first) > 10 * BYTES_MAX / len(alike[0][1]) / 4
    assert sum(map(len, [first, *rest])) == 60
    noise = [(b"k", random.Random(n).randbytes(400)) for n in range(20)]
    assert all(1 < len(batch) <= 4 for batch in read(noise)[:-1])


def test_a_record_larger_than_a_batch_has_one_of_its_own() -> None:
    large = random.Random(1).randbytes(3 * BYTES_MAX)
    assert [len(batch) for batch in read([(b"a", b"1"), (b"b", large), (b"c", b"2")])] == [1, 1, 1]


def test_a_list_of_records_reads_like_a_list() -> None:
    records = [(b"a", b"1"), (b"", b""), ("ü".encode(), b"3")]
    found = native.RecordList.of(records)
    assert (len(found), list(found), found[-1], found[1:]) == (3, records, records[2], records[1:])
    assert found == records
    assert found != records[:2]
    with pytest.raises(IndexError, match="got record 3 of 3"):
        found[3]
