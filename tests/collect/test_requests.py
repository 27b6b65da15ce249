"""A real collector on the embedded Kafka: keys, pages, bounds, limits, and what becomes of what is sent."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from producers.sink import partition_of
from tests.collect.collector import KEY, ORIGIN, OTHER_KEY, WRONG_KEY, Collector, deployed, event
from tests.scenarios.process import wait_for
from tests.support.fixtures import Names, Servers

#: Small bounds, so that tests meet them soon. Each address has its own limit: a test is an address, by what its
#: requests say that the proxy before the collector has seen.
ADDRESS_RATE, KEY_RATE, BODY_BYTES = 20.0, 200.0, 64 * 1024


@pytest.fixture(scope="module")
def collector(embedded_servers: Servers) -> Iterator[Collector]:
    name = f"collect-{uuid.uuid4().hex[:8]}"
    with deployed(embedded_servers, Names(f"{name}.", name)) as deployment:
        yield Collector(
            deployment,
            collect_proxies=1,
            collect_address_rate=ADDRESS_RATE,
            collect_key_rate=KEY_RATE,
            collect_body_bytes_max=BODY_BYTES,
            log_level="debug",
        ).until_ready()


@pytest.fixture
def address(request: pytest.FixtureRequest) -> dict[str, str]:
    number = abs(hash(request.node.nodeid))
    return {"X_Forwarded_For": f"10.{number % 251}.{number // 251 % 251}.{number // 63_001 % 251}"}


def _sent(collector: Collector, prefix: str) -> dict[str, dict[str, Any]]:
    return {value["event_id"]: value for _, value in collector.events() if value["event_id"].startswith(prefix)}


# ---- what is sent ----------------------------------------------------------------------------------------------------


def test_what_is_accepted_is_on_the_topic_in_its_visitors_partition(collector: Collector, address: Any) -> None:
    reply = collector.post([event(f"one-{n}", item_id=f"i{n}") for n in range(20)], **address)
    assert (reply.status, reply.json["accepted"]) == (200, 20)
    assert [result["event_ids"] for result in reply.json["results"]] == [[f"one-{n}"] for n in range(20)]
    found = {value["event_id"]: (partition, value) for partition, value in collector.events()}
    for n in range(20):
        partition, value = found[f"one-{n}"]
        assert value["item_id"] == f"i{n}"
        assert partition == partition_of(value["visitor_id"].encode(), 4)


def test_rejected_events_are_told_one_by_one_and_are_dead_letters(collector: Collector, address: Any) -> None:
    bad = b'{"event_id": "bad-1", "event_type": "nod", "visitor_id": "v", "event_time": 1770000000000}'
    reply = collector.post(b"[" + json.dumps(event("bad-0")).encode() + b"," + bad + b"]", **address)
    assert (reply.status, reply.outcomes) == (200, ["accepted", "rejected"])
    assert reply.json["results"][1]["reason"] == "invalid_value"
    assert "nod" in reply.json["results"][1]["detail"]
    (headers,) = [headers for value, headers in collector.letters() if value == bad]
    assert (headers["reason"], headers["source"], headers["row"]) == ("invalid_value", "collect /v1/events", "1")


def test_where_nothing_is_accepted_the_status_says_so_and_the_bytes_are_kept(
    collector: Collector, address: Any
) -> None:
    body = f"nonsense {uuid.uuid4().hex}".encode()
    reply = collector.post(body, **address)
    assert (reply.status, reply.json["results"][0]["reason"]) == (422, "not_json")
    assert [headers["reason"] for value, headers in collector.letters() if value == body] == ["not_json"]


def test_an_event_without_a_time_has_that_of_its_arrival(collector: Collector, address: Any) -> None:
    timeless = event("timeless")
    del timeless["event_time"]
    before = int(time.time() * 1000)
    assert collector.post(timeless, **address).status == 200
    assert before <= _sent(collector, "timeless")["timeless"]["event_time"] <= int(time.time() * 1000)


def test_segment_and_ga4_are_taken_at_their_own_paths_and_with_their_own_keys(
    collector: Collector, address: Any
) -> None:
    call = {"type": "page", "messageId": "seg-1", "anonymousId": "a1"}
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    assert (
        collector.post({"batch": [call]}, "/v1/batch", key=None, Authorization=f"Basic {basic}", **address).status
        == 200
    )
    track = {"event": "Product Added", "messageId": "seg-2", "anonymousId": "a1", "properties": {"product_id": "p"}}
    assert collector.post({**track, "writeKey": KEY}, "/v1/t", key=None, **address).status == 200
    assert set(_sent(collector, "seg-")) == {"seg-1", "seg-2"}
    body = {"client_id": "ga-client", "events": [{"name": "view_item", "params": {"items": [{"item_id": "g"}]}}]}
    reply = collector.post(body, f"/mp/collect?measurement_id=G-1&api_secret={KEY}", key=None, **address)
    (event_id,) = reply.json["results"][0]["event_ids"]
    assert _sent(collector, event_id)[event_id]["visitor_id"] == "ga-client"


def test_a_gzipped_body_is_unpacked_and_a_bomb_is_not(collector: Collector, address: Any) -> None:
    packed = gzip.compress(json.dumps([event(f"zip-{n}") for n in range(50)]).encode())
    assert collector.post(packed, Content_Encoding="gzip", **address).json["accepted"] == 50
    bomb = gzip.compress(b"[" + b" " * 50_000_000)
    assert len(bomb) < BODY_BYTES
    assert collector.post(bomb, Content_Encoding="gzip", **address).status == 413
    assert collector.post(b"{}", Content_Encoding="gzip", **address).status == 400
    assert collector.post(b"{}", Content_Encoding="br", **address).status == 415


# ---- who may send ----------------------------------------------------------------------------------------------------


def test_without_a_known_key_nothing_is_taken(collector: Collector, address: Any) -> None:
    for key in (None, WRONG_KEY):
        reply = collector.post(event("stolen"), key=key, **address)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert collector.post(event("stolen"), f"/v1/events?write_key={WRONG_KEY}", key=None, **address).status == 401
    assert _sent(collector, "stolen") == {}


def test_a_page_of_an_allowed_origin_may_send_and_read_the_answer(collector: Collector, address: Any) -> None:
    reply = collector.post(event("page"), Origin=ORIGIN, **address)
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert "Origin" in reply.headers["Vary"]
    refused = collector.post(event("page"), key=WRONG_KEY, Origin=ORIGIN, **address)
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, ORIGIN)


def test_another_page_may_not(collector: Collector, address: Any) -> None:
    for origin in ("https://evil.example", "null"):
        reply = collector.post(event("foreign"), Origin=origin, **address)
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (403, None)
    assert _sent(collector, "foreign") == {}


def test_a_preflight_is_answered_for_allowed_origins(collector: Collector) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    reply = collector.ask("OPTIONS", "/v1/events", headers=asked)
    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Methods"] == "POST"
    assert "content-type" in reply.headers["Access-Control-Allow-Headers"]
    assert collector.ask("OPTIONS", "/v1/events", headers={**asked, "Origin": "https://evil.example"}).status == 403


def test_a_beacon_needs_no_preflight(collector: Collector, address: Any) -> None:
    # What navigator.sendBeacon sends: a simple request, its key in the address.
    simple = {"Content_Type": "text/plain;charset=UTF-8", "Origin": ORIGIN}
    reply = collector.post(event("beacon"), f"/v1/events?write_key={KEY}", key=None, **simple, **address)
    assert reply.status == 200


# ---- bounds ----------------------------------------------------------------------------------------------------------


def test_a_body_beyond_the_bound_is_refused_whether_it_says_its_size_or_not(collector: Collector, address: Any) -> None:
    large = b"[" + b" " * BODY_BYTES + b"]"
    assert collector.post(large, **address).status == 413
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=20)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    headers |= {"X-Forwarded-For": address["X_Forwarded_For"]}
    connection.request("POST", "/v1/events", iter([large]), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_other_types_paths_and_methods_are_refused_as_json(collector: Collector, address: Any) -> None:
    assert collector.post(event("form"), Content_Type="multipart/form-data", **address).status == 415
    assert collector.post(event("form"), "/v2/events", **address).status == 404
    reply = collector.ask("GET", "/v1/events")
    assert (reply.status, reply.headers["Allow"]) == (405, "OPTIONS,POST")
    assert set(reply.json["error"]) == {"status", "got", "expected", "do"}


def test_what_is_no_http_is_counted_and_nothing_of_it_is_in_the_log(collector: Collector) -> None:
    before = collector.process.metric("intent_collect_requests_total", outcome="broken")
    with socket.create_connection(("127.0.0.1", collector.port), timeout=20) as client:
        client.sendall(f"POST /v1/events HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nbroken\x01header\r\n\r\n".encode())
        assert b" 400 " in client.recv(1000)
    assert collector.process.metric("intent_collect_requests_total", outcome="broken") == before + 1
    assert "Traceback" not in collector.process.said()


def test_an_address_that_sends_too_much_waits_and_others_do_not(collector: Collector, address: Any) -> None:
    burst = int(10 * ADDRESS_RATE)
    # A second and a half's worth more than a burst: a debt.
    assert collector.post([event(f"much-{n}") for n in range(burst + 30)], **address).status == 200
    reply = collector.post(event("much"), **address)
    assert reply.status == 429
    assert reply.headers["Retry-After"] in ("1", "2")
    assert collector.post(event("other"), X_Forwarded_For="192.0.2.77").status == 200
    # Who waits as long as told gets in.
    time.sleep(int(reply.headers["Retry-After"]))
    assert collector.post(event("much"), **address).status == 200


def test_a_write_key_has_a_limit_of_its_own_over_all_addresses(collector: Collector) -> None:
    taken = 0
    for n in range(60):
        events = [event(f"app-{n}-{m}") for m in range(int(KEY_RATE))]
        if collector.post(events, key=OTHER_KEY, X_Forwarded_For=f"198.51.100.{n}").status == 429:
            break
        taken += 1
    assert 10 <= taken < 60
    assert collector.post(event("shop"), X_Forwarded_For="198.51.100.99").status == 200


def test_who_does_not_finish_a_body_is_cut_off_and_holds_nobody_up(collector: Collector, address: Any) -> None:
    head = (
        f"POST /v1/events?write_key={KEY} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
        f"X-Forwarded-For: {address['X_Forwarded_For']}\r\nContent-Length: 1000\r\n\r\n[1"
    )
    slow = socket.create_connection(("127.0.0.1", collector.port), timeout=20)
    slow.sendall(head.encode())
    # What has come, not the thousand that it says are to come.
    wait_for("room held", lambda: collector.process.metric("intent_collect_waiting_bytes") == 2, seconds=60)
    assert collector.post(event("beside"), **address).status == 200
    slow.close()  # its client is gone: its room is free at once
    wait_for("room free", lambda: collector.process.metric("intent_collect_waiting_bytes") == 0, seconds=60)


# ---- what operators see ----------------------------------------------------------------------------------------------


ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"


def test_a_page_that_a_declared_robot_has_open_sends_a_bots_events(collector: Collector, address: Any) -> None:
    """And nobody but a page: a server's user agent is its own, not that of whom it speaks of."""
    before = collector.process.metric("intent_door_findings_total", finding="bot")
    collector.post(event("robot-1"), Origin=ORIGIN, User_Agent=ROBOT, **address)
    collector.post(event("robot-2"), Origin=ORIGIN, User_Agent=BROWSER, **address)
    collector.post(event("robot-3"), User_Agent=ROBOT, **address)
    collector.post(event("robot-4"), User_Agent="python-requests/2.32", **address)
    assert {name: value.get("bot") for name, value in _sent(collector, "robot-").items()} == {
        "robot-1": True, "robot-2": None, "robot-3": None, "robot-4": None,
    }  # fmt: skip
    assert collector.process.metric("intent_door_findings_total", finding="bot") == before + 1


def test_metrics_count_what_was_answered(collector: Collector, address: Any) -> None:
    process = collector.process
    names = {
        "taken": ("intent_collect_requests_total", {"outcome": "taken"}),
        "refused": ("intent_collect_requests_total", {"outcome": "unauthorized"}),
        "accepted": ("intent_collect_events_total", {"kind": "canonical", "outcome": "accepted"}),
        "rejected": ("intent_collect_rejected_total", {"reason": "missing_field"}),
        "seconds": ("intent_collect_seconds_count", {}),
    }
    before = {what: process.metric(name, **labels) for what, (name, labels) in names.items()}
    collector.post([event("count-1"), event("count-2"), {}], **address)
    collector.post(event("count-3"), key=WRONG_KEY, **address)
    after = {what: process.metric(name, **labels) - before[what] for what, (name, labels) in names.items()}
    assert after == {"taken": 1, "refused": 1, "accepted": 2, "rejected": 1, "seconds": 1}
    assert process.metric("intent_ready", component="collector") == 1


def test_no_key_no_address_and_nothing_sent_is_in_the_log(collector: Collector) -> None:
    said = collector.process.said()
    assert "collecting" in said
    assert "collect_rejected kind=canonical reason=" in said
    for secret in (KEY, OTHER_KEY, WRONG_KEY, "198.51.100", "visitor of", "beacon"):
        assert secret not in said


def test_the_snippet_and_the_document_are_served_and_kept_by_browsers(collector: Collector) -> None:
    for path, content_type in (("/v1/snippet.js", "text/javascript"), ("/openapi.json", "application/json")):
        reply = collector.ask("GET", path)
        assert (reply.status, reply.headers.get_content_type()) == (200, content_type)
        assert collector.ask("GET", path, headers={"If-None-Match": reply.headers["ETag"]}).status == 304


def test_asked_to_stop_it_answers_what_it_has_in_hand(collector: Collector) -> None:
    """Last: it stops the module's collector, in the middle of sending."""
    results: list[tuple[str, int]] = []

    def send(worker: int) -> None:
        for n in range(10_000):
            event_id = f"stop-{worker}-{n}"
            try:
                status = collector.post(event(event_id), X_Forwarded_For=f"203.0.113.{n % 250}").status
            except (OSError, http.client.HTTPException):
                return
            results.append((event_id, status))

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    wait_for("some requests", lambda: sum(status == 200 for _, status in list(results)) > 200, seconds=60)
    assert collector.process.terminate() == 0
    for thread in threads:
        thread.join()
    answered = {event_id for event_id, status in results if status == 200}
    assert len(answered) > 200
    assert {status for _, status in results} <= {200, 429, 503}
    assert answered <= set(_sent(collector, "stop-"))
