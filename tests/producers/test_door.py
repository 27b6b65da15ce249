"""What comes through the door: nothing personal by default, pseudonyms under a key. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.door import Door, DoorSettings, masked_text
from producers.door_settings import door_of, keys_of
from producers.pseudonym_keys import PseudonymKey, PseudonymKeys, key_in, read_keys
from producers.source_error import SourceError
from stream_app.core import codec
from stream_app.core.codec import Rejected
from stream_app.core.events import TEXT_LENGTH_MAX, CheckoutLabel, Event
from stream_app.core.pages import page_group
from stream_app.settings import load

TIME_MS = 1_700_000_000_000
SECRET = bytes(range(32))
OTHER = bytes(range(32, 64))
SECRET_TEXT = base64.b64encode(SECRET).decode()


def event(**fields: object) -> Event:
    known: dict[str, object] = {"event_id": "e1", "event_type": "page_view", "event_time": TIME_MS, "visitor_id": "v1"}
    return Event(**{**known, **fields})  # type: ignore[arg-type]


def admitted(door: Door, given_event: Event) -> Event:
    found = door.admit(given_event)
    assert isinstance(found, Event)
    return found


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("/p/17", "/p/17"),
        ("https://shop.example/p/17?utm_source=mail&token=a1", "https://shop.example/p/17?utm_source=mail"),
        ("/search?q=jane@shop.example", "/search"),
        ("/a?UTM_Campaign=x&id=1&utm_term=a+b", "/a?UTM_Campaign=x&utm_term=a+b"),
        ("/a?utm%5Fsource=x", "/a?utm%5Fsource=x"),
        ("/a?xutm_source=1", "/a"),
        ("/a#access_token=secret", "/a"),
        ("/a?utm_source=x#top", "/a?utm_source=x"),
        ("/a#b?utm_source=x", "/a"),
        ("https://jane:pw@shop.example/a", "https://shop.example/a"),
        ("//jane@shop.example/a", "//shop.example/a"),
        ("/unsubscribe/jane.doe@shop.example/now", "/unsubscribe/[e-mail]/now"),
        ("/unsubscribe/jane.doe%40shop.example", "/unsubscribe/[e-mail]"),
        ("/a?utm_content=jane@shop.example", "/a?utm_content=[e-mail]"),
        ("https://social.example/@jane/17", "https://social.example/@jane/17"),
        ("?", ""),
        ("", ""),
        ("not a url at all", "not a url at all"),
    ],
)
def test_of_an_address_the_page_and_the_campaign_stay(url: str, left: str) -> None:
    found = admitted(Door(), event(page_url=url, referrer=url))
    assert (found.page_url, found.referrer) == (left, left)


def test_which_parameters_stay_can_be_said() -> None:
    door = Door(DoorSettings(kept_parameters=("page", "gcl*")))
    assert admitted(door, event(page_url="/a?page=2&gclid=7&utm_source=x&pages=3")).page_url == "/a?page=2&gclid=7"
    assert admitted(Door(DoorSettings(kept_parameters=())), event(page_url="/a?utm_source=x")).page_url == "/a"


@pytest.mark.parametrize(
    ("term", "left"),
    [
        ("red shoes 42", "red shoes 42"),
        ("jane.doe+x@mail.shop.example invoice", "[e-mail] invoice"),
        ("call +49 (170) 123-45 67 now", "call [number] now"),
        ("4111 1111 1111 1111", "[number]"),
        ("123456789", "[number]"),
        ("12345678", "12345678"),
        ("iso 9001 2015", "iso 9001 2015"),
        ("1 2 3 4", "1 2 3 4"),
        ("m5x16 din 7984 a2-70", "m5x16 din 7984 a2-70"),
        ("@home 100% wool", "@home 100% wool"),
    ],
)
def test_of_a_search_term_addresses_and_long_numbers_are_masked(term: str, left: str) -> None:
    assert admitted(Door(), event(event_type="search", search_term=term)).search_term == left


def test_an_event_without_anything_personal_is_the_very_same() -> None:
    plain = event(page_url="/p/17", item_id="17", search_term="shoes")
    assert Door().admit(plain) is plain


def test_the_other_fields_stay_as_they_are() -> None:
    rich = event(
        session_id="s1", item_id="jane@shop.example", order_id="1234567890123", page_url="/a?b=1", price=1.0, source="x"
    )
    found = admitted(Door(), rich)
    assert (found.order_id, found.item_id, found.session_id, found.price) == (
        "1234567890123", "jane@shop.example", "s1", 1.0,
    )  # fmt: skip


def test_an_address_as_visitor_is_refused_without_repeating_it() -> None:
    found = Door().admit(event(visitor_id="jane@shop.example"))
    assert isinstance(found, Rejected)
    assert found.reason == "invalid_value"
    assert "jane" not in found.detail
    assert isinstance(Door().admit(event(visitor_id="GA1.2@3")), Event)  # an @ alone is no address


def test_with_a_key_an_address_as_visitor_is_a_pseudonym_like_any_other() -> None:
    found = admitted(Door(DoorSettings(key_in(f"k1:{SECRET_TEXT}"))), event(visitor_id="jane@shop.example"))
    assert found.visitor_id.startswith("k1.")
    assert "jane" not in found.visitor_id


def test_everything_can_be_kept() -> None:
    open_door = Door(DoorSettings(masks=False))
    whole = event(visitor_id="jane@shop.example", page_url="/a?b=1#c", search_term="jane@shop.example")
    assert open_door.admit(whole) is whole


def test_a_pseudonym_is_the_first_half_of_the_keyed_hash() -> None:
    """By RFC 2104 spelled out, not by the function that is tested."""
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in SECRET.ljust(64, b"\0")) + b"visitor\0v1").digest()
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in SECRET.ljust(64, b"\0")) + inner).digest()
    assert outer == hmac.digest(SECRET, b"visitor\0v1", "sha256")
    expected = "k1." + base64.urlsafe_b64encode(outer[:16]).decode().rstrip("=")
    found = admitted(Door(DoorSettings(key_in(f"k1:{SECRET_TEXT}"))), event())
    assert found.visitor_id == expected
    assert len(expected) == 3 + 22


def test_a_session_has_a_pseudonym_of_its_own_kind() -> None:
    """REES46 gives the session's id where there is no user: the same text must not tell who it is."""
    found = admitted(Door(DoorSettings(key_in(f"k1:{SECRET_TEXT}"))), event(visitor_id="x", session_id="x"))
    assert found.session_id is not None
    assert found.session_id != found.visitor_id
    assert admitted(Door(DoorSettings(key_in(f"k1:{SECRET_TEXT}"))), event(session_id=None)).session_id is None


def test_labels_and_events_of_a_visitor_meet_under_one_pseudonym() -> None:
    door = Door(DoorSettings(key_in(f"k1:{SECRET_TEXT}")))
    label = door.admit_label(CheckoutLabel(visitor_id="v1", order_id="o1", checkout_time=TIME_MS, session_id="s1"))
    seen = admitted(door, event(session_id="s1"))
    assert isinstance(label, CheckoutLabel)
    assert (label.visitor_id, label.session_id, label.order_id) == (seen.visitor_id, seen.session_id, "o1")
    refused = Door().admit_label(CheckoutLabel(visitor_id="a@b.example", order_id="o1", checkout_time=TIME_MS))
    assert isinstance(refused, Rejected)


def test_a_new_key_begins_at_its_event_time_whenever_it_is_handed_out() -> None:
    """
    key a ───────────────┬── key b
          early  late    │ b's beginning      both doors agree on every event, also on one that comes a week late
    """
    old = Door(DoorSettings(PseudonymKeys([PseudonymKey("a", SECRET)])))
    new = Door(DoorSettings(PseudonymKeys([PseudonymKey("a", SECRET), PseudonymKey("b", OTHER, since_ms=TIME_MS)])))
    for before in (TIME_MS - 10**9, TIME_MS - 1):
        assert old.admit(event(event_time=before)) == new.admit(event(event_time=before))
    first = admitted(new, event(event_time=TIME_MS))
    assert first.visitor_id.startswith("b.")
    late = new.admit_label(CheckoutLabel(visitor_id="v1", order_id="o", checkout_time=TIME_MS - 1))
    assert isinstance(late, CheckoutLabel)
    assert late.visitor_id == admitted(new, event(event_time=TIME_MS - 1)).visitor_id


def test_all_names_of_a_visitor_are_known_for_an_erasure() -> None:
    keys = PseudonymKeys([PseudonymKey("b", OTHER, since_ms=TIME_MS), PseudonymKey("a", SECRET)])
    assert [name.partition(".")[0] for name in keys.names_of("v1")] == ["a", "b"]
    assert keys.names_of("v1") == [keys.at(0).visitor("v1"), keys.at(TIME_MS).visitor("v1")]


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(
        '[[key]]\nid = "2026b"\nsince = 2023-11-14T22:13:20Z\n'
        f'secret = "{base64.urlsafe_b64encode(OTHER).decode()}"\n\n'
        f'[[key]]\nid = "2026a"\nsecret = "{SECRET_TEXT}"\n'
    )
    keys = read_keys(path)
    assert (keys.at(TIME_MS - 1).key_id, keys.at(TIME_MS).key_id) == ("2026a", "2026b")
    assert keys.at(TIME_MS).visitor("v1") == PseudonymKey("2026b", OTHER).visitor("v1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got no tables"),
        ("[[key]]\nid = 'a'", "got a key with id, expected id and secret"),
        ("[[key]]\nid = 'a'\nsecret = 'c2hvcnQ='", "got a secret of 5 bytes, expected at least 32"),
        ("[[key]]\nid = 'a'\nsecret = 'S3CR3T!!'", "got a secret that is not base64"),
        (f"[[key]]\nid = 'A b'\nsecret = '{SECRET_TEXT}'", "got the key id 'A b', expected"),
        (f"[[key]]\nid = 'a'\nsecret = '{SECRET_TEXT}'\nuntil = 1", "got a key with id, secret, until"),
        (f"[[key]]\nid = 'a'\nsecret = '{SECRET_TEXT}'\nsince = 1", "got since 1, expected a time"),
        (f"[[key]]\nid = 'a'\nsecret = '{SECRET_TEXT}'\nsince = 2026-01-01T00:00:00Z", "got no key without `since`"),
        (f"[[key]]\nid = 'a'\nsecret = '{SECRET_TEXT}'\n" * 2, "got two keys with one id"),
        (f"key = '{SECRET_TEXT}", "got something else than TOML"),
    ],
)
def test_a_wrong_file_of_keys_is_one_line_without_a_secret(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(SourceError) as refused:
        read_keys(path)
    told = str(refused.value)
    assert words in told
    assert told.startswith(str(path))
    assert "\n" not in told
    assert SECRET_TEXT not in told
    assert "S3CR3T" not in told


def test_no_text_of_a_key_or_a_door_has_its_secret(no_settings_of_this_machine: None) -> None:
    key = PseudonymKey("k1", SECRET)
    settings = load(flags={"pseudonym_key": f"k1:{SECRET_TEXT}"})
    texts = [
        repr(key),
        str(key),
        key.check,
        door_of(settings).check,
        repr(settings),
        str(DoorSettings(keys_of(settings))),
    ]
    for text in texts:
        assert SECRET_TEXT[:8] not in text
        assert SECRET.hex()[:8] not in text
        assert repr(SECRET)[2:10] not in text


def test_doors_are_told_apart_by_their_keys_and_by_what_they_keep(no_settings_of_this_machine: None) -> None:
    flags = [
        {},
        {"pseudonym_key": f"k1:{SECRET_TEXT}"},
        {"pseudonym_key": f"k1:{base64.b64encode(OTHER).decode()}"},
        {"kept_parameters": "utm_*, page"},
        {"personal_fields": "kept"},
    ]
    checks = [door_of(load(flags=flag)).check for flag in flags]
    assert len(set(checks)) == len(checks)
    assert checks == [door_of(load(flags=flag)).check for flag in flags]


def test_a_key_and_a_file_of_keys_are_not_taken_together(no_settings_of_this_machine: None) -> None:
    with pytest.raises(SourceError, match="expected at most one"):
        keys_of(load(flags={"pseudonym_key": f"k1:{SECRET_TEXT}", "pseudonym_keys_file": "keys.toml"}))


_HOSTILE = st.text(st.sampled_from("ab1 @.%40?&#=/:utm_+-()"), max_size=200)


@given(url=_HOSTILE, term=_HOSTILE)
def test_whatever_comes_the_result_is_an_event_that_passing_again_does_not_change(url: str, term: str) -> None:
    door = Door()
    once = admitted(door, event(page_url=url, search_term=term))
    assert door.admit(once) == once
    assert isinstance(codec.decode_event(codec.encode(once), record_time_ms=TIME_MS), Event)


@given(url=_HOSTILE)
def test_what_a_page_is_for_does_not_change(url: str) -> None:
    """Scores are made of the kind of page: with or without the door they are the same."""
    if "@" not in url and "%40" not in url:
        assert page_group(admitted(Door(), event(page_url=url)).page_url or "") == page_group(url)


def test_a_text_at_the_bound_stays_within_it() -> None:
    packed = ("a@b.c " * 1_000)[:TEXT_LENGTH_MAX]
    assert len(masked_text(packed)) == TEXT_LENGTH_MAX
    assert json.loads(codec.encode(admitted(Door(), event(search_term=packed))))["search_term"] == masked_text(packed)
