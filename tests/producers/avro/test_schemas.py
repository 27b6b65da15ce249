"""Which numbers the registry is asked for, when again, and what it means that it is away."""

from __future__ import annotations

import pytest

from producers.avro import schemas
from producers.avro.decoder import Decoder
from producers.avro.schemas import UNKNOWN_S, Schemas
from producers.avro.wire import frame
from stream_app.core.codec import Rejected
from stream_app.schema_registry import RegistryError
from tests.producers.avro.written import KIOSK, SEGMENT, MemoryRegistry, registered


class Told:
    def __init__(self) -> None:
        self.lines: list[tuple[int, str, str]] = []

    def __call__(self, number: int, outcome: str, what: str) -> None:
        self.lines.append((number, outcome, what))


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def of(registry: MemoryRegistry, clock: Clock) -> tuple[Schemas, Told]:
    return Schemas(registry, told=(told := Told()), monotonic=clock, again_s=0.0), told


async def test_each_number_is_asked_for_once_and_only_where_a_record_names_it() -> None:
    registry, clock = MemoryRegistry(), Clock()
    registry.schemas = {1: registered(KIOSK), 2: registered(SEGMENT)}
    found, told = of(registry, clock)
    batch = [frame(1, b"x"), frame(2, b"x"), frame(1, b"y"), b"", None, b'{"a":1}', b"\x00\x00"]
    decoders = await found.of(batch)
    assert {number: type(decoder) for number, decoder in decoders.items()} == {1: Decoder, 2: Decoder}
    assert sorted(registry.asked) == [1, 2]
    assert told.lines == [(1, "found", "Kiosk"), (2, "found", "shop.Track")]
    assert (await found.of(batch)).keys() == {1, 2}
    assert (await found.of([b"{}"])) == {}
    assert len(registry.asked) == 2


async def test_a_number_that_no_registry_counts_to_is_not_asked_for() -> None:
    registry, clock = MemoryRegistry(), Clock()
    found, _ = of(registry, clock)
    decoders = await found.of([b"\0\xff\xff\xff\xff", b"\0\x80\0\0\0x"])
    assert all(isinstance(decoder, Rejected) for decoder in decoders.values())
    assert sorted(decoders) == [2**31, 2**32 - 1]
    assert registry.asked == []


async def test_an_unknown_number_is_asked_for_twice_then_left_alone_for_a_minute() -> None:
    registry, clock = MemoryRegistry(), Clock()
    found, told = of(registry, clock)
    for _ in range(3):
        decoder = (await found.of([frame(9, b"")]))[9]
        assert isinstance(decoder, Rejected)
        assert decoder.reason == "unknown_schema"
        assert "schema 9, which the registry does not know" in decoder.detail
    assert registry.asked == [9, 9]
    assert told.lines == [(9, "unknown", "")]
    registry.schemas[9] = registered(KIOSK)
    clock.now += UNKNOWN_S
    assert isinstance((await found.of([frame(9, b"")]))[9], Decoder)


async def test_a_number_that_another_node_of_the_registry_knows_a_moment_later_is_no_mistake() -> None:
    class Lagging(MemoryRegistry):
        async def schema(self, number: int):  # type: ignore[no-untyped-def]
            found = await super().schema(number)
            self.schemas[number] = registered(KIOSK)
            return found

    found, told = of(Lagging(), Clock())
    assert isinstance((await found.of([frame(3, b"")]))[3], Decoder)
    assert told.lines == [(3, "found", "Kiosk")]


async def test_a_registry_that_is_away_says_nothing_about_any_record() -> None:
    registry, clock = MemoryRegistry(), Clock()
    registry.schemas = {1: registered(KIOSK), 2: registered(SEGMENT)}
    found, told = of(registry, clock)
    await found.of([frame(1, b"")])
    registry.away = True
    with pytest.raises(RegistryError, match="does not answer"):
        await found.of([frame(1, b""), frame(2, b""), frame(3, b"")])
    # What is known needs nobody.
    assert isinstance((await found.of([frame(1, b"")]))[1], Decoder)
    registry.away = False
    decoders = await found.of([frame(1, b""), frame(2, b""), frame(3, b"")])
    assert [type(decoders[number]) for number in (1, 2, 3)] == [Decoder, Decoder, Rejected]
    assert [(number, outcome) for number, outcome, _ in told.lines] == [(1, "found"), (2, "found"), (3, "unknown")]


async def test_a_schema_that_cannot_be_read_makes_its_records_dead_letters_and_is_asked_for_once() -> None:
    registry = MemoryRegistry()
    registry.schemas = {1: registered({}, kind="JSON")}
    found, _ = of(registry, Clock())
    for _ in range(2):
        decoder = (await found.of([frame(1, b"")]))[1]
        assert isinstance(decoder, Rejected)
        assert (decoder.reason, "schema 1: got a schema of kind JSON" in decoder.detail) == ("unknown_schema", True)
    assert registry.asked == [1]


async def test_what_is_kept_has_a_bound_and_a_batch_has_all_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "KNOWN_MAX", 3)
    monkeypatch.setattr(schemas, "UNKNOWN_MAX", 2)
    registry = MemoryRegistry()
    registry.schemas = {number: registered(KIOSK) for number in range(10)}
    found, _ = of(registry, Clock())
    decoders = await found.of([frame(number, b"") for number in range(20)])
    assert [type(decoders[number]) for number in range(20)] == [Decoder] * 10 + [Rejected] * 10
    registry.asked.clear()
    await found.of([frame(number, b"") for number in (7, 8, 9, 18, 19)])
    assert registry.asked == []
    await found.of([frame(0, b""), frame(17, b"")])
    assert registry.asked == [0, 17, 17]
