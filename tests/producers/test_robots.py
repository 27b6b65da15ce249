"""Declared robots: which user agents say that they are one, and what each format's events get of it."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from producers.adapters.result import Arrival
from producers.adapters.robots import declares_robot
from producers.adapters.snowplow_columns import COLUMNS
from producers.formats import FORMATS
from producers.mapping_file import MappingError, mapped_format
from stream_app.core.codec import Rejected, encode
from stream_app.core.events import Event

NOW_MS = 1_893_456_000_000
ARRIVAL = Arrival(NOW_MS, NOW_MS)

#: What nearly all of them say.
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"

CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/126.0.0.0 Safari/537.36"
GOOGLEBOT = (
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.6478.61 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
)

ROBOTS = (
    GOOGLEBOT,
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; Baiduspider-render/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)",
    f"Mozilla/5.0 (Linux; Android 5.0) {WEBKIT} Mobile Safari/537.36 (compatible; Bytespider)",
    "AdsBot-Google (+http://www.google.com/adsbot.html)",
    "Mediapartners-Google",
    "Mozilla/5.0 (compatible; Google-InspectionTool/1.0;)",
    "GoogleOther",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "meta-externalagent/1.1",
    "Mozilla/5.0 (compatible; ChatGPT-User/1.0; https://openai.com/bot)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/126.0.0.0 Safari/537.36 Chrome-Lighthouse",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 PTST/240601",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
    "DatadogSynthetics",
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 RuxitSynthetic/1.0",
    "Mozilla/5.0 (compatible; Screaming Frog SEO Spider/20.0)",
)

#: Browsers, browsers within apps, televisions, telephones of a maker called Cubot; and a shop's own servers and apps.
PERSONS = (
    CHROME,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    f"Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) {WEBKIT} Chrome/126.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 "
    "[FBAN/FBIOS;FBAV/468.0.0.0;FBBV/1;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS;FBSV/17.5;FBSS/3;FBLC/de_DE]",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Instagram 335.0.0.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 [Pinterest/iOS]",
    f"Mozilla/5.0 (Linux; Android 14; SM-S918B; wv) {WEBKIT} Version/4.0 Chrome/126.0 Mobile Safari/537.36 GSA/15.2",
    "Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) AppleWebKit/537.36 (KHTML, like Gecko) 94.0 TV Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0.0.0",
    f"Mozilla/5.0 (Linux; U; Android 13; en-US) {WEBKIT} Version/4.0 Chrome/100.0 UCBrowser/13.4 Mobile Safari",
    "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80/191.273; U; en) Presto/2.12.423 Version/12.16",
    "Dalvik/2.1.0 (Linux; U; Android 13; Pixel 6 Build/TQ3A)",
    "Shop/3.2.1 (com.example.shop; build:77; iOS 17.5.0) Alamofire/5.9",
    "Shop/9 CFNetwork/1496.0.7 Darwin/23.5.0",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
    "analytics-python/2.3.2",
    "",
)


@pytest.mark.parametrize("agent", ROBOTS)
def test_who_says_that_it_is_a_robot_is_one(agent: str) -> None:
    assert declares_robot(agent)
    assert declares_robot(agent.upper())


@pytest.mark.parametrize("agent", PERSONS)
def test_browsers_and_apps_and_a_shops_own_servers_are_none(agent: str) -> None:
    assert not declares_robot(agent)


def test_a_text_made_to_be_slow_is_not() -> None:
    """A linear search takes microseconds of 512 characters; a backtracking one would not come back."""
    started = time.process_time()
    for text in ("cubot" * 50_000, "+http" * 50_000, "google-" * 50_000, "\x00" * 250_000, "bo" * 100_000 + "t"):
        declares_robot(text)
    assert time.process_time() - started < 5.0


# ---- formats ---------------------------------------------------------------------------------------------------------


def segment(agent: object) -> bytes:
    return json.dumps(
        {"type": "page", "anonymousId": "v", "messageId": "m", "timestamp": "2026-01-31T18:30:05Z",
         "context": {"userAgent": agent, "page": {"url": "https://s.example/"}}}
    ).encode()  # fmt: skip


def segment_batch(agent: object) -> bytes:
    call = {"type": "page", "anonymousId": "v", "messageId": "m", "timestamp": "2026-01-31T18:30:05Z"}
    return json.dumps({"batch": [call], "context": {"userAgent": agent}}).encode()


def ga4(agent: object) -> bytes:
    event = {"name": "page_view", "params": {"page_location": "https://s.example/"}}
    body = {"client_id": "1.1", "timestamp_micros": 1_769_884_205_250_000, "user_agent": agent, "events": [event]}
    return json.dumps(body).encode()


def ga4_parameter(agent: object) -> bytes:
    event = {"name": "page_view", "params": {"user_agent": agent}}
    return json.dumps({"client_id": "1.1", "timestamp_micros": 1_769_884_205_250_000, "events": [event]}).encode()


def bigquery(agent: object) -> bytes:
    return json.dumps(
        {"event_name": "page_view", "event_timestamp": "1769884205250000", "user_pseudo_id": "1.1",
         "event_params": [{"key": "user_agent", "value": {"string_value": agent}}]}
    ).encode()  # fmt: skip


_SNOWPLOW: Mapping[str, Any] = {
    "collector_tstamp": "2026-01-31T18:30:06.100Z", "event": "page_view", "event_id": "e-1", "domain_userid": "d-1",
}  # fmt: skip


def snowplow(agent: object) -> bytes:
    return json.dumps({**_SNOWPLOW, "useragent": agent}).encode()


def snowplow_tsv(agent: object) -> bytes:
    row = {**_SNOWPLOW, "useragent": agent}
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="").writerow([row.get(name, "") for name in COLUMNS])
    return out.getvalue().encode()


def enveloped(agent: object) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": json.loads(segment(agent))}
    ).encode()


BY_AGENT: dict[str, tuple[str, Callable[[object], bytes]]] = {
    "segment": ("segment", segment),
    "segment, a batch": ("segment", segment_batch),
    "ga4": ("ga4", ga4),
    "ga4, a parameter": ("ga4", ga4_parameter),
    "ga4-bigquery": ("ga4-bigquery", bigquery),
    "snowplow": ("snowplow", snowplow),
    "snowplow, tsv": ("snowplow", snowplow_tsv),
    "cloudevents": ("cloudevents", enveloped),
}


def event_of(format: str, value: bytes) -> Event:
    (event,) = FORMATS[format].results(value, ARRIVAL)
    assert isinstance(event, Event), event
    return event


@pytest.mark.parametrize("name", BY_AGENT)
def test_a_declared_robots_event_is_a_bots_and_its_user_agent_stays_outside(name: str) -> None:
    format, made = BY_AGENT[name]
    of_robot, of_person = event_of(format, made(GOOGLEBOT)), event_of(format, made(CHROME))
    assert (of_robot.bot, of_person.bot) == (True, None)
    assert b'"bot":true' in encode(of_robot)
    assert b"bot" not in encode(of_person)
    assert b"Nexus" not in encode(of_robot)


@pytest.mark.parametrize("name", [name for name in BY_AGENT if name not in ("snowplow, tsv", "ga4-bigquery")])
@pytest.mark.parametrize("agent", [None, 7, ["Googlebot"], {"bot": True}, ""])
def test_a_user_agent_that_is_no_text_says_nothing(name: str, agent: object) -> None:
    format, made = BY_AGENT[name]
    assert event_of(format, made(agent)).bot is None


IAB = "iglu:com.iab.snowplow/spiders_and_robots/jsonschema/1-0-0"
YAUAA = "iglu:nl.basjes/yauaa_context/jsonschema/1-0-4"
DETECTED = "iglu:com.snowplowanalytics.snowplow/bot_detection/jsonschema/1-0-0"
IN_BROWSER = "iglu:com.snowplowanalytics.snowplow/client_side_bot_detection/jsonschema/1-0-0"


@pytest.mark.parametrize(
    ("schema", "data", "bot"),
    [
        (IAB, {"spiderOrRobot": True, "category": "SPIDER_OR_ROBOT"}, True),
        (IAB, {"spiderOrRobot": False, "category": "BROWSER"}, None),
        (YAUAA, {"deviceClass": "Robot", "agentClass": "Robot"}, True),
        (YAUAA, {"deviceClass": "Robot Imitator"}, True),
        (YAUAA, {"deviceClass": "Phone", "agentClass": "Robot Mobile"}, True),
        (YAUAA, {"deviceClass": "Phone", "agentClass": "Browser"}, None),
        (DETECTED, {"bot": True, "indicators": ["iab"]}, True),
        (DETECTED, {"bot": False, "indicators": []}, None),
        (IN_BROWSER, {"bot": True, "kind": "HeadlessChrome"}, True),
        (IAB, {"spiderOrRobot": "perhaps"}, None),
        (IAB, {"spiderOrRobot": [1]}, None),
        (IAB, "robot", None),
        ("iglu:com.example/robots/jsonschema/1-0-0", {"bot": True, "spiderOrRobot": True}, None),
    ],
)
def test_what_snowplows_enrichments_say_of_robots_is_believed(schema: str, data: object, bot: bool | None) -> None:
    contexts = {"schema": "iglu:x.y/contexts/jsonschema/1-0-1", "data": [{"schema": schema, "data": data}]}
    assert event_of("snowplow", json.dumps({**_SNOWPLOW, "derived_contexts": contexts}).encode()).bot is bot


def test_one_enrichment_that_says_so_is_enough() -> None:
    record = {
        **_SNOWPLOW,
        "contexts_com_iab_snowplow_spiders_and_robots_1": [{"spiderOrRobot": True}],
        "contexts_nl_basjes_yauaa_context_1": [{"deviceClass": "Desktop", "agentClass": "Browser"}],
    }
    assert event_of("snowplow", json.dumps(record).encode()).bot is True


CANONICAL = {"event_id": "e", "event_type": "page_view", "event_time": 1_769_884_205_250, "visitor_id": "v"}


@pytest.mark.parametrize(("told", "bot"), [(True, True), (False, False), (None, None)])
def test_our_own_events_say_it_themselves(told: bool | None, bot: bool | None) -> None:
    assert event_of("canonical", json.dumps({**CANONICAL, "bot": told}).encode()).bot is bot


@pytest.mark.parametrize(
    ("told", "bot"), [("true", True), ("TRUE", True), ("1", True), ("false", False), ("0", False), ("", None)]
)
def test_in_a_table_the_flag_is_text(told: str, bot: bool | None) -> None:
    header = ",".join([*CANONICAL, "bot"]).encode()
    row = ",".join([*map(str, CANONICAL.values()), told]).encode()
    (event,) = FORMATS["canonical"].delimited_parser(header, ARRIVAL)(row)
    assert isinstance(event, Event)
    assert event.bot is bot


@pytest.mark.parametrize("told", ["yes", 2, "no", 0.5, [], {}])
def test_a_flag_that_is_none_is_refused(told: object) -> None:
    (by_record,) = FORMATS["canonical"].adapt({**CANONICAL, "bot": told}, ARRIVAL)
    (by_line,) = FORMATS["canonical"].results(json.dumps({**CANONICAL, "bot": told}).encode(), ARRIVAL)
    assert isinstance(by_record, Rejected)
    assert "bot" in by_record.detail
    assert isinstance(by_line, Rejected)


# ---- a mapping file --------------------------------------------------------------------------------------------------

MAPPING = {"event_type": "what", "event_time": "at", "visitor_id": "who", "event_id": "id"}
RECORD = {"what": "page_view", "at": "2026-01-31T18:30:05Z", "who": "v", "id": "e"}


def mapped(told: Mapping[str, Any], record: Mapping[str, Any]) -> Any:
    (result,) = mapped_format({**MAPPING, **told}, name="mine.toml").adapt(record, ARRIVAL)
    return result


def test_a_mapping_names_the_flag_or_the_user_agent() -> None:
    assert mapped({"bot": "robot"}, {**RECORD, "robot": True}).bot is True
    assert mapped({"bot": "robot"}, {**RECORD, "robot": "0"}).bot is False
    assert mapped({"bot": "robot"}, RECORD).bot is None
    assert mapped({"user_agent": ["ua", "client.ua"]}, {**RECORD, "client": {"ua": GOOGLEBOT}}).bot is True
    assert mapped({"user_agent": "ua"}, {**RECORD, "ua": CHROME}).bot is None


def test_a_robots_user_agent_says_more_than_a_flag_that_does_not_know_it() -> None:
    told = {"bot": "robot", "user_agent": "ua"}
    assert mapped(told, {**RECORD, "robot": False, "ua": GOOGLEBOT}).bot is True
    assert mapped(told, {**RECORD, "robot": True, "ua": CHROME}).bot is True


def test_a_mapped_flag_that_is_none_is_rejected_with_its_place() -> None:
    result = mapped({"bot": "robot"}, {**RECORD, "robot": "perhaps"})
    assert isinstance(result, Rejected)
    assert result.detail == "got robot 'perhaps', expected true or false, or nothing"


@pytest.mark.parametrize(("told", "says"), [({"user_agent": "a b"}, "user_agent"), ({"bot": "lines[].robot"}, "bot")])
def test_a_place_that_is_none_is_told(told: dict[str, str], says: str) -> None:
    with pytest.raises(MappingError, match=says):
        mapped_format({**MAPPING, **told}, name="mine.toml")
