"""The view of the visitors' states behaves the same in a dict, in the embedded Valkey and in a real Redis."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from stream_app.backends.child_process import free_port
from stream_app.backends.memory import MemoryView
from stream_app.backends.ports import UnusableError, View, ViewError
from stream_app.backends.redis import KEYS_PER_CALL, RedisView, connect, hash_tag
from stream_app.core.effects import Position
from stream_app.core.watermark import Watermark

P = 3
TTL_MS = 3_600_000
SERVERS = [
    "embedded",
    pytest.param("real", marks=pytest.mark.real_redis),
    pytest.param("cluster", marks=pytest.mark.real_redis),
]


class Stored(RedisView):
    """A `RedisView` whose client and keys a test can look at."""

    def __init__(self, url: str, *, cluster: bool = False) -> None:
        self.client: Redis = connect(url, timeout_ms=5_000, cluster=cluster)
        self.prefix = f"shop-{uuid.uuid4().hex[:8]}.scorer"
        super().__init__(self.client, prefix=self.prefix, ttl_ms=TTL_MS)

    def key(self, rest: str) -> str:
        return f"{hash_tag(self.prefix, P)}:{rest}"

    async def keys(self) -> list[str]:
        return sorted([key.decode() async for key in self.client.scan_iter(match=f"*{self.prefix}*", count=10_000)])


def _stored(request: pytest.FixtureRequest, kind: str) -> Stored:
    if kind == "cluster":
        return Stored(request.getfixturevalue("real_redis_cluster").url, cluster=True)
    if kind == "real":
        return Stored(request.getfixturevalue("real_redis").url)
    return Stored(request.getfixturevalue("embedded_servers").redis_url)


@pytest.fixture(params=["memory", *SERVERS])
async def view(request: pytest.FixtureRequest) -> AsyncIterator[View]:
    if request.param == "memory":
        yield MemoryView()
        return
    stored = _stored(request, request.param)
    yield stored
    await stored.close()


@pytest.fixture(params=SERVERS)
async def stored(request: pytest.FixtureRequest) -> AsyncIterator[Stored]:
    stored = _stored(request, request.param)
    yield stored
    await stored.close()


def at(seq: int, *, wall_time: int = 0) -> Position:
    """A position like a worker's; `wall_time` is when it was made."""
    watermark = Watermark(newest=1_700_000_000_000)
    return Position(seq=seq, events_offset=10 * seq, watermark=watermark, wall_time=wall_time)


# ---- what is written is read ----------------------------------------------------------------------------------------


async def test_an_empty_view_has_no_position_no_states_and_nobody_open(view: View) -> None:
    assert await view.load(P, ["a", "b"]) == (None, [None, None])
    assert await view.load(P, []) == (None, [])
    assert await view.open_visitors(P) == {}


async def test_what_is_written_is_read_with_its_position(view: View) -> None:
    states = {"a": b"\x01\x00\xff", "b": b"two", "ä ö:{}*": b"three"}
    deadlines = {"a": 1_700_001_800_000, "ä ö:{}*": 1}
    assert await view.write(P, expected_seq=0, position=at(1), states=states, deadlines=deadlines) is None
    assert await view.load(P, ["b", "nobody", "a", "ä ö:{}*"]) == (at(1), [b"two", None, b"\x01\x00\xff", b"three"])
    assert await view.open_visitors(P) == deadlines


async def test_none_deletes_a_state_and_forgets_a_deadline(view: View) -> None:
    await view.write(
        P, expected_seq=0, position=at(1), states={"a": b"1", "b": b"2", "c": b"3"}, deadlines={"a": 5, "b": 6, "c": 7}
    )
    later: dict[str, int | None] = {"a": None, "b": 60, "nobody": None}
    gone: dict[str, bytes | None] = {"a": None, "c": b"4", "nobody": None}
    assert await view.write(P, expected_seq=1, position=at(2), states=gone, deadlines=later) is None
    assert await view.load(P, ["a", "b", "c"]) == (at(2), [None, b"2", b"4"])
    assert await view.open_visitors(P) == {"b": 60, "c": 7}


async def test_partitions_know_nothing_of_each_other(view: View) -> None:
    # 3 and 30: neither's keys are a prefix of the other's.
    await view.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={"a": 5})
    await view.write(10 * P, expected_seq=0, position=at(7), states={"a": b"7"}, deadlines={"b": 7})
    assert await view.load(P, ["a"]) == (at(1), [b"1"])
    await view.clear(P)
    assert await view.load(P, ["a"]) == (None, [None])
    assert await view.open_visitors(P) == {}
    assert await view.load(10 * P, ["a"]) == (at(7), [b"7"])
    assert await view.open_visitors(10 * P) == {"b": 7}


async def test_thousands_of_visitors_are_written_read_and_cleared(view: View) -> None:
    visitors = [f"visitor-{n}" for n in range(2 * KEYS_PER_CALL + 7)]
    states: dict[str, bytes | None] = {visitor: f"{visitor} state".encode() * 3 for visitor in visitors}
    deadlines: dict[str, int | None] = {visitor: 1_700_000_000_000 + n for n, visitor in enumerate(visitors)}
    assert await view.write(P, expected_seq=0, position=at(1), states=states, deadlines=deadlines) is None
    assert await view.load(P, [*visitors, "nobody"]) == (at(1), [*states.values(), None])
    assert await view.open_visitors(P) == deadlines
    await view.clear(P)
    assert await view.load(P, visitors) == (None, [None] * len(visitors))


# ---- compare and set ------------------------------------------------------------------------------------------------


async def test_the_first_write_expects_nothing_and_later_ones_the_seq_before(view: View) -> None:
    assert await view.write(P, expected_seq=0, position=at(4), states={"a": b"1"}, deadlines={}) is None
    assert await view.write(P, expected_seq=4, position=at(5), states={"a": b"2"}, deadlines={}) is None
    assert await view.write(P, expected_seq=5, position=at(9), states={"a": b"3"}, deadlines={}) is None
    assert await view.load(P, ["a"]) == (at(9), [b"3"])


@pytest.mark.parametrize("expected", [0, 2, 4])
async def test_a_write_that_expects_another_seq_changes_nothing_and_is_told_what_is_stored(
    view: View, expected: int
) -> None:
    await view.write(P, expected_seq=0, position=at(3), states={"a": b"1"}, deadlines={"a": 1})
    refused = await view.write(
        P,
        expected_seq=expected,
        position=at(expected + 1, wall_time=9),
        states={"a": None, "b": b"2"},
        deadlines={"a": 2},
    )
    assert refused == at(3)
    assert await view.load(P, ["a", "b"]) == (at(3), [b"1", None])
    assert await view.open_visitors(P) == {"a": 1}


async def test_a_write_into_a_view_that_has_lost_everything_is_told_so(view: View) -> None:
    refused = await view.write(P, expected_seq=3, position=at(4), states={"a": b"1"}, deadlines={"a": 1})
    assert refused is not None
    assert refused.seq == -1
    assert await view.load(P, ["a"]) == (None, [None])
    assert await view.open_visitors(P) == {}


async def test_the_same_write_again_counts_as_applied(view: View) -> None:
    # The answer got lost, the client asks again.
    for _ in range(3):
        answer = await view.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={"a": 1})
        assert answer is None
    assert await view.load(P, ["a"]) == (at(1), [b"1"])


async def test_another_write_to_the_same_seq_is_refused(view: View) -> None:
    # Two owners, the same seq, not the same batch.
    await view.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={})
    refused = await view.write(P, expected_seq=0, position=at(1, wall_time=5), states={"a": b"2"}, deadlines={})
    assert refused == at(1)
    assert await view.load(P, ["a"]) == (at(1), [b"1"])


async def test_a_write_without_states_moves_the_seq_alone(view: View) -> None:
    await view.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={"a": 1})
    assert await view.write(P, expected_seq=1, position=at(2), states={}, deadlines={}) is None
    assert await view.load(P, ["a"]) == (at(2), [b"1"])
    assert await view.open_visitors(P) == {"a": 1}


# ---- no answer ------------------------------------------------------------------------------------------------------


async def test_a_view_that_does_not_answer_raises_a_view_error() -> None:
    memory = MemoryView()
    memory.down = True
    away = RedisView(connect(f"redis://127.0.0.1:{free_port()}/0", timeout_ms=200), prefix="p", ttl_ms=TTL_MS)
    view: View
    for view in (memory, away):
        with pytest.raises(ViewError):
            await view.load(P, ["a"])
        with pytest.raises(ViewError):
            await view.open_visitors(P)
        with pytest.raises(ViewError):
            await view.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={})
        with pytest.raises(ViewError):
            await view.clear(P)
    await away.close()


# ---- in Redis -------------------------------------------------------------------------------------------------------


async def test_every_key_dies_by_itself_and_carries_the_hash_tag_of_its_partition(stored: Stored) -> None:
    states: dict[str, bytes | None] = {f"v{n}": b"x" for n in range(50)}
    deadlines: dict[str, int | None] = dict.fromkeys(states, 1)
    await stored.write(P, expected_seq=0, position=at(1), states=states, deadlines=deadlines)
    await stored.write(P, expected_seq=1, position=at(2), states={"v1": b"y", "v2": None}, deadlines={"v2": None})
    keys = await stored.keys()
    assert len(keys) == 51
    assert all(key.startswith(f"{{{stored.prefix}:{P}}}:") for key in keys)
    for key in keys:
        assert 0 < await stored.client.pttl(key) <= TTL_MS, key


async def test_a_write_gives_the_keys_it_touches_their_full_life_again(stored: Stored) -> None:
    await stored.write(P, expected_seq=0, position=at(1), states={"a": b"1", "b": b"1"}, deadlines={"a": 1})
    for key in await stored.keys():
        await stored.client.pexpire(key, 60_000)
    await stored.write(P, expected_seq=1, position=at(2), states={"a": b"2"}, deadlines={})
    lives = {key.rpartition(":")[2]: await stored.client.pttl(key) > 60_000 for key in await stored.keys()}
    assert lives == {"a": True, "open": True, "position": True, "b": False}


async def test_a_flushed_script_cache_heals(stored: Stored) -> None:
    await stored.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={})
    await stored.client.script_flush()
    assert await stored.write(P, expected_seq=1, position=at(2), states={"a": b"2"}, deadlines={}) is None
    assert await stored.load(P, ["a"]) == (at(2), [b"2"])


@pytest.mark.parametrize("garbage", [b"not JSON", b"7", b"[]", b'{"seq":"x"}'])
async def test_a_position_that_is_not_ours_counts_as_missing(stored: Stored, garbage: bytes) -> None:
    await stored.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={})
    await stored.client.set(stored.key("position"), garbage)
    assert (await stored.load(P, []))[0] is None
    refused = await stored.write(P, expected_seq=1, position=at(2), states={"a": b"2"}, deadlines={})
    assert refused is not None
    assert refused.seq == -1
    await stored.clear(P)
    assert await stored.write(P, expected_seq=0, position=at(2), states={"a": b"2"}, deadlines={}) is None


async def test_a_key_of_another_type_in_our_place_is_an_error_that_can_be_tried_again(stored: Stored) -> None:
    await stored.client.set(stored.key("open"), b"x")
    with pytest.raises(ViewError, match="WRONGTYPE"):
        await stored.open_visitors(P)
    await stored.clear(P)
    assert await stored.open_visitors(P) == {}


async def test_clearing_takes_few_calls(stored: Stored) -> None:
    states: dict[str, bytes | None] = {f"v{n}": b"x" for n in range(4_000)}
    await stored.write(P, expected_seq=0, position=at(1), states=states, deadlines={})
    before = await _calls(stored.client)
    await stored.clear(P)
    assert await _calls(stored.client) - before < 50
    assert await stored.keys() == []


async def _calls(client: Redis) -> int:
    stats = await client.info("commandstats")
    return sum(int(stat["calls"]) for name, stat in stats.items() if name in ("cmdstat_unlink", "cmdstat_del"))


async def test_a_server_that_drops_keys_to_make_room_is_refused(stored: Stored) -> None:
    await stored.refuse_eviction()
    await stored.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnusableError, match="got a Redis with maxmemory-policy allkeys-lru, expected noeviction"):
            await stored.refuse_eviction()
    finally:
        await stored.client.config_set("maxmemory-policy", "noeviction")


async def test_what_a_late_clearing_takes_away_is_missed_by_the_next_write(stored: Stored) -> None:
    # Its scan was before another owner wrote the view anew, its deletion comes after that.
    await stored.write(P, expected_seq=0, position=at(1), states={"a": b"1"}, deadlines={"a": 5})
    scan = stored.client.scan_iter

    async def slow_scan(**options: object) -> object:
        found = [key async for key in scan(**options)]  # type: ignore[arg-type]
        await stored.write(P, expected_seq=0, position=at(7), states={"a": b"2"}, deadlines={"a": 6})
        for key in found:
            yield key

    stored.client.scan_iter = slow_scan  # type: ignore[method-assign,assignment]
    await stored.clear(P)
    assert await stored.write(P, expected_seq=7, position=at(8), states={}, deadlines={}) == Position(seq=-1)
