"""Write keys, origins, addresses, room and packed bodies."""

from __future__ import annotations

import base64
import gzip
import zlib

import pytest

from stream_app.collect.core.addresses import client_address
from stream_app.collect.core.origins import Origins
from stream_app.collect.core.refusal import OUTCOMES, RefusalError
from stream_app.collect.core.room import Room
from stream_app.collect.core.unpacking import is_packed, unpacked
from stream_app.collect.core.write_keys import WriteKeys, WriteKeysError, key_given, read_keys

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def _status(call: object, *arguments: object, **named: object) -> int:
    with pytest.raises(RefusalError) as refused:
        call(*arguments, **named)  # type: ignore[operator]
    assert refused.value.outcome in OUTCOMES
    return refused.value.status


# ---- write keys ------------------------------------------------------------------------------------------------------


def test_a_key_is_told_by_its_name_and_others_are_refused() -> None:
    keys = WriteKeys({"shop": KEY, "app": OTHER})
    assert (keys.name_of(KEY), keys.name_of(OTHER)) == ("shop", "app")
    for given in (None, "", KEY[:-1], KEY + "x", "\ud800"):
        assert _status(keys.name_of, given) == 401


def test_without_keys_everybody_may_send() -> None:
    assert WriteKeys({}).name_of(None) == "anybody"


def test_no_key_is_kept_or_told() -> None:
    keys = WriteKeys({"shop": KEY})
    assert KEY not in repr(vars(keys))
    with pytest.raises(RefusalError) as refused:
        keys.name_of(OTHER)
    assert OTHER not in str(refused.value)


def test_keys_are_read_from_one_line_or_many() -> None:
    assert read_keys(f"shop={KEY}, app={OTHER}") == {"shop": KEY, "app": OTHER}
    assert read_keys(f"# of the pages\nshop={KEY}\n\n app = {OTHER} \n") == {"shop": KEY, "app": OTHER}
    assert read_keys("") == {}


@pytest.mark.parametrize("text", [KEY, f"={KEY}", f"a b={KEY}", "shop=short", f"shop={KEY},shop={OTHER}"])
def test_keys_that_cannot_be_used_are_named_and_not_quoted(text: str) -> None:
    with pytest.raises(WriteKeysError) as error:
        read_keys(text)
    assert KEY not in str(error.value)


def test_a_key_comes_as_bearer_as_basics_user_or_in_the_query() -> None:
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    assert key_given(f"Bearer {KEY}", {}) == KEY
    assert key_given(f"Basic {basic}", {}) == KEY
    assert key_given("", {"write_key": KEY}) == key_given("", {"api_secret": KEY}) == KEY
    assert key_given("", {}) is None
    assert key_given("Basic \xff", {}) == ""


# ---- origins ---------------------------------------------------------------------------------------------------------


def test_listed_origins_and_the_collectors_own_host_may_send() -> None:
    origins = Origins("https://shop.example, http://localhost:3000/")
    for origin in ("https://shop.example", "HTTPS://Shop.example", "http://localhost:3000", "https://collect.example"):
        origins.require(origin, "collect.example")
    origins.require(None, "collect.example")
    for origin in ("https://evil.example", "http://shop.example", "https://shop.example.evil", "null", "*", ""):
        assert _status(origins.require, origin, "collect.example") == 403


def test_all_origins_may_be_let_in() -> None:
    Origins("*").require("null", "collect.example")


@pytest.mark.parametrize("listed", ["shop.example", "https://shop.example/path", "https://*.example", "ftp://a"])
def test_what_is_no_origin_is_refused(listed: str) -> None:
    with pytest.raises(ValueError, match="expected one like"):
        Origins(listed)


# ---- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "expected"),
    [
        ("192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", 0, "192.0.2.1"),  # no proxy of ours wrote that
        ("192.0.2.1", "203.0.113.9", 1, "203.0.113.9"),
        ("192.0.2.1", "10.9.9.9, 203.0.113.9", 1, "203.0.113.9"),  # the first one is the client's own invention
        ("192.0.2.1", "203.0.113.9, 198.51.100.2", 2, "203.0.113.9"),
        ("192.0.2.1", "", 1, "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", 0, "192.0.2.1"),
        ("fe80::1%eth0", "", 0, "fe80::/64"),
        (None, "", 0, "unknown"),
        ("192.0.2.1", "somebody", 1, "unknown"),
    ],
)
def test_the_clients_address(peer: str | None, forwarded: str, proxies: int, expected: str) -> None:
    assert client_address(peer, forwarded, proxies=proxies) == expected


# ---- room ------------------------------------------------------------------------------------------------------------


def test_room_is_given_back_whatever_happens() -> None:
    room = Room(100)
    with room.held() as one:
        one.add(60)
        assert _status(room.require, 41) == 503
        with room.held() as other:
            other.add(40)
            assert room.bytes == 100
            assert _status(one.add, 1) == 503
    with pytest.raises(KeyError):
        _broken(room)
    assert room.bytes == 0


def _broken(room: Room) -> None:
    with room.held() as hold:
        hold.add(100)
        raise KeyError


def test_who_only_says_that_much_will_come_takes_no_room_from_others() -> None:
    room = Room(100)
    with room.held() as slow, room.held() as quick:
        room.require(100)
        slow.add(1)
        quick.add(99)


# ---- packed bodies ---------------------------------------------------------------------------------------------------


def test_gzip_is_unpacked_up_to_the_bound() -> None:
    assert unpacked(gzip.compress(b"x" * 1_000), most=1_000) == b"x" * 1_000
    assert _status(unpacked, gzip.compress(b"x" * 1_001), most=1_000) == 413


def test_a_bomb_is_given_up_at_the_bound() -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 20_000_000))
    assert _status(unpacked, gzip.decompress(bomb), most=1_000) == 413


#: Made at a fixed time: the bytes name the test, and every process that collects it must call it the same.
_ONE = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("data", [b"", b"{}", _ONE[:-3], _ONE + b"x", zlib.compress(b"{}")])
def test_what_is_not_one_gzip_stream_is_broken(data: bytes) -> None:
    assert _status(unpacked, data, most=1_000) == 400


def test_encodings() -> None:
    assert (is_packed(""), is_packed("identity"), is_packed(" GZip ")) == (False, False, True)
    for encoding in ("br", "deflate", "gzip, gzip"):
        assert _status(is_packed, encoding) == 415
