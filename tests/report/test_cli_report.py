"""`stream-app report`: figures worked out by hand, names shown as they are, and what is said when it goes wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from producers.formats import FORMATS
from stream_app.cli import main
from stream_app.core.events import Event
from stream_app.report.schema import figures_schema, schema_text
from tests.analytics.small import event
from tests.report.shop_file import BY_HAND, synthetic_events, written

DOCS = Path(__file__).parents[2] / "docs"


def run(history: Path, *more: str) -> Result:
    options = ["--format", "canonical", "--out", str(history.with_name("report.html"))]
    return CliRunner().invoke(main, ["report", str(history), *options, *more])


def figures(tmp_path: Path, events: list[Event], *more: str, rubbish: bool = False) -> dict[str, Any]:
    asked = [] if "--evaluate-events" in more else ["--evaluate-events", "0"]
    result = run(written(tmp_path / "events.jsonl", events, rubbish=rubbish), "--json", "-", *asked, *more)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return figures(tmp_path_factory.mktemp("by-hand"), BY_HAND, rubbish=True)


def share(told: dict[str, Any]) -> tuple[int, int]:
    return told["hits"], told["cases"]


def test_what_was_read_and_what_is_wrong_with_it(by_hand: dict[str, Any]) -> None:
    events = by_hand["data"]["events"]
    assert (events["taken_in"], events["twice"], events["late"], events["sorted_first"]) == (9, 1, 0, False)
    assert events["rejected"] == {"not_json": 1}
    assert events["types"] == {"view_item": 6, "add_to_cart": 1, "purchase": 2}
    assert {name: count for name, count in events["impossible"].items() if count} == {"purchase without a price": 1}
    assert events["missing"]["brand"] == {"view_item": 2, "add_to_cart": 0, "purchase": 1}
    assert (events["first"], events["last"]) == ("2024-07-01T00:00:00Z", "2024-07-01T03:20:00Z")


def test_sessions_whose_end_is_known_and_how_many_of_them_bought(by_hand: dict[str, Any]) -> None:
    data = by_hand["data"]
    assert (data["sessions"]["sessions"], data["cut_off"]) == (4, 1)
    assert share(data["sessions"]["purchase"]) == (2, 4)
    assert share(data["sessions"]["cart"]) == (1, 4)
    # d has nothing before its purchase, c a view, b two, a three steps.
    assert [came["sessions"] for came in data["by_events"][:5]] == [1, 1, 1, 1, 0]
    assert [share(came["purchase"]) for came in data["by_events"][:4]] == [(1, 1), (0, 1), (0, 1), (1, 1)]
    assert [came["sessions"] for came in data["by_hour"][:3]] == [3, 1, 0]
    assert [(came["name"], came["sessions"]) for came in data["by_day"]] == [("2024-07-01", 4)]


def test_the_funnel_by_hand(by_hand: dict[str, Any]) -> None:
    funnels = by_hand["funnels"]
    assert [funnels[name] for name in ("episodes", "seen", "carted", "bought")] == [5, 4, 1, 2]
    assert {name: share(told) for name, told in funnels["overall"].items()} == {
        "view → cart": (1, 4),
        "view → purchase": (1, 4),
        "cart → purchase": (1, 1),
    }
    (by_category,) = (one for one in funnels["breakdowns"] if one["by"] == "category")
    shoes = by_category["names"][0]
    assert (shoes["name"], shoes["seen"]) == ("shoes", 2)
    ratio = shoes["ratios"]["view → purchase"]
    assert share(ratio["plain"]) == (1, 2)
    assert ratio["smoothed"] == pytest.approx((1 + 30 * 0.25) / (2 + 30), rel=1e-5)


def test_purchases_against_time_by_hand(by_hand: dict[str, Any]) -> None:
    times = by_hand["purchase_time"]
    curve = times["overall"]
    # a: bought after 60 s. b: over after 30 s. c and e are bounces, d has no view.
    assert {n: count for n, count in enumerate(curve["episodes"]) if count} == {3: 1, 6: 1}
    assert (curve["share"][3], curve["share"][6], curve["bought"][6]) == (0.0, 1.0, 1)
    assert (share(curve["bounces"]), share(curve["timed"]), times["without_view"]) == ((0, 2), (1, 2), 1)
    # Of two that look for 30 s one leaves; the other one buys in the seventh bucket.
    assert (curve["at_risk"][3], curve["at_risk"][6], curve["hazard"][6]) == (2, 1, 1.0)
    assert curve["incidence"][6] == 0.5
    assert [one["name"] for one in times["categories"]] == ["shoes", "(none)", "hats"]


def test_sources_by_hand(by_hand: dict[str, Any]) -> None:
    everywhere, *apart = by_hand["sources"]["where"]
    told = {one["source"]: one for one in everywhere["sources"]}
    assert {name: one["sessions"] for name, one in told.items()} == {"ads": 2, "": 2, "mail": 1}
    assert told["ads"]["events"] == {"view": 4, "like": 0, "share": 0, "cart": 1, "purchase": 1}
    assert told["ads"]["shares"]["view"] == pytest.approx(4 / 6, rel=1e-5)
    assert share(told["ads"]["reached"]["purchase"]) == (1, 2)
    assert {one["category"] for one in apart} == {"shoes", "hats", ""}
    people = by_hand["sources"]["people"]
    assert (people["followed"], people["came_again"], people["sampled"]) == (5, 0, 1.0)


def test_paths_and_steps_by_hand(by_hand: dict[str, Any]) -> None:
    journeys = by_hand["journeys"]
    assert journeys["kinds"] is None  # four sessions have no kinds
    assert {tuple(path["steps"]): share(path["bought"]) for path in journeys["paths"]} == {
        ("item", "item", "cart"): (1, 1),
        ("item", "item"): (0, 1),
        ("item",): (0, 1),
        (): (1, 1),
    }
    edges = {(edge["before"], edge["after"]): (edge["times"], *share(edge["bought"])) for edge in journeys["edges"]}
    assert edges == {
        ("(entry)", "item"): (3, 1, 3),
        ("item", "item"): (2, 1, 2),
        ("item", "cart"): (1, 1, 1),
        ("item", "(left)"): (2, 0, 2),
        ("cart", "(purchase)"): (1, 1, 1),
        ("(entry)", "(purchase)"): (1, 1, 1),
    }


@pytest.mark.parametrize(
    ("offset", "hour", "weekday", "day"),
    [("+02:00", 2, "Monday", "2024-07-01"), ("-00:30", 23, "Sunday", "2024-06-30")],
)
def test_hours_and_days_are_the_shops(tmp_path: Path, offset: str, hour: int, weekday: str, day: str) -> None:
    data = figures(tmp_path, BY_HAND, "--utc-offset", offset)["data"]
    assert data["by_hour"][hour]["sessions"] == 3
    assert next(came["sessions"] for came in data["by_weekday"] if came["name"] == weekday) >= 3
    assert data["by_day"][0]["name"] == day


def test_rules_say_what_the_shops_pages_are(tmp_path: Path) -> None:
    events = [event("a", None, "page", minute, page_url=url) for minute, url in enumerate(("/s-1", "/thanks"))]
    rules = tmp_path / "rules.txt"
    rules.write_text("# ours\n\nitem  /s-\\d\npurchase /thanks\n")
    told = figures(tmp_path, [*events, event("b", None, "page", 99)], "--page-rules", str(rules))
    assert [(path["steps"], share(path["bought"])) for path in told["journeys"]["paths"]] == [(["item"], (1, 1))]
    assert told["setting"]["page_rules"] == 2


def test_files_in_the_wrong_order_are_said_to_be_late_and_give_the_same_figures(tmp_path: Path) -> None:
    events = synthetic_events(4_000)
    early, later = (written(tmp_path / f"{n}.jsonl", events[2_000 * n : 2_000 * n + 2_000]) for n in range(2))
    told = []
    for paths in ((early, later), (later, early)):
        result = run(paths[0], str(paths[1]), "--json", "-", "--evaluate-events", "0")
        assert result.exit_code == 0, result.output
        told.append(json.loads(result.stdout))
    late = [(one["data"]["events"].pop("late"), one["data"]["events"].pop("sorted_first")) for one in told]
    assert late == [(0, False), (2_000, True)]
    for one in told:
        del one["setting"]["files"]
        # Learned batch by batch: where the batches are cut differs, and with it what is nearest by a hair.
        del one["journeys"]["kinds"]
    assert told[0] == told[1]


def test_each_file_tells_its_format_by_itself(tmp_path: Path, by_hand: dict[str, Any]) -> None:
    # a's visit as it was, that of c by another tracker, and the rest in a directory.
    parts = tmp_path / "shop"
    (parts / "rest").mkdir(parents=True)
    first = written(parts / "first.jsonl", BY_HAND[:4])
    written(parts / "rest" / "later.jsonl", [*BY_HAND[4:7], *BY_HAND[8:]], rubbish=True)
    (parts / "rest" / "c.csv").write_text(
        f"{','.join(FORMATS['retailrocket'].columns)}\n{BY_HAND[7].event_time},c,view,y,\n"
    )
    asked = ["--out", str(tmp_path / "report.html"), "--json", "-", "--evaluate-events", "0"]
    result = CliRunner().invoke(main, ["report", str(first), str(parts / "rest"), *asked])
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        "first.jsonl and 1 more are canonical: 4 of 4 records have event_id, event_type, event_time, visitor_id",
        "c.csv is retailrocket: the header has timestamp, visitorid, event, itemid, transactionid",
    ]
    told = json.loads(result.stdout)
    assert told["setting"]["files"] == ["first.jsonl", "c.csv", "later.jsonl"]
    assert told["setting"]["format"] == "canonical, retailrocket"
    # Of c neither source nor category are known now, and all else is as in one file.
    for name in ("taken_in", "twice", "rejected", "types", "first", "last"):
        assert told["data"]["events"][name] == by_hand["data"]["events"][name], name
    assert told["purchase_time"]["overall"] == by_hand["purchase_time"]["overall"]
    assert told["journeys"] == by_hand["journeys"]


def test_a_mapping_speaks_for_all_files_whatever_they_are_packed_as(tmp_path: Path) -> None:
    events = synthetic_events(1_600)
    written(tmp_path / "1.jsonl", events[:700])
    columns = [name for name in Event.__struct_fields__ if any(getattr(one, name) is not None for one in events)]
    with (tmp_path / "2.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([f"my_{name}" for name in columns])
        rows.writerows([getattr(one, name) for name in columns] for one in events[700:])
    mapping = tmp_path / "my.toml"
    places = "".join(f'{name} = ["my_{name}", "{name}"]\n' for name in columns)
    mapping.write_text(f'{places}time = {{ unit = "milliseconds" }}\n')
    asked = ["--json", "-", "--evaluate-events", "400", "--models", "newton", "--out", str(tmp_path / "report.html")]
    found = []
    for paths in ([written(tmp_path / "whole.jsonl", events)], [tmp_path / "1.jsonl", tmp_path / "2.csv"]):
        result = CliRunner().invoke(main, ["report", *map(str, paths), "--mapping", str(mapping), *asked])
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert (told["setting"]["format"], told["data"]["events"]["rejected"]) == ("my.toml", {})
        found.append(told["quality"]["report"]["models"])
    assert found[0] == found[1]


def test_the_figures_have_the_documented_shape(tmp_path: Path, by_hand: dict[str, Any]) -> None:
    assert (DOCS / "analytics.schema.json").read_text() == schema_text(), (
        "python -m stream_app.report.schema > docs/analytics.schema.json"
    )
    check = jsonschema.Draft202012Validator(figures_schema())
    check.validate(by_hand)
    check.validate(figures(tmp_path, synthetic_events(3_000), "--evaluate-events", "2500", "--models", "newton"))
    # The check is one that can fail.
    assert list(check.iter_errors({**by_hand, "version": "1"}))


def test_models_are_measured_on_the_first_events_alone_and_no_session_is_told(tmp_path: Path) -> None:
    quality = figures(tmp_path, synthetic_events(3_000), "--evaluate-events", "2500", "--models", "newton")["quality"]
    assert (quality["events"], quality["whole"], quality["refused"]) == (2_500, False, None)
    assert quality["report"]["history"]["events"] == 2_500
    assert list(quality["report"]["models"]) == ["newton"]
    assert "sessions" not in quality["report"]["mistakes"]


def test_a_history_too_short_to_measure_models_on_is_reported_all_the_same(tmp_path: Path) -> None:
    # Two and a half minutes: no session's outcome is known within them.
    quality = figures(tmp_path, BY_HAND[:7], "--evaluate-events", "100", "--models", "newton")["quality"]
    assert (quality["events"], quality["whole"], quality["report"]) == (7, True, None)
    assert "nothing to train on or nothing to test" in quality["refused"]


def test_of_less_than_a_day_nothing_is_said_of_who_comes_back_or_is_worth_what(tmp_path: Path) -> None:
    # 30 visitors who come twice within three hours, and buy for money.
    events = [
        event(f"v{n}", "x", what, minute + n, price=9.0)
        for n in range(30)
        for what, minute in (("view", 0), ("view", 100), ("buy", 101))
    ]
    history = written(tmp_path / "events.jsonl", sorted(events, key=lambda one: int(str(one.event_time))))
    assert run(history, "--evaluate-events", "0").exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert "How many have not come back is not told: fewer than 20 were seen for two days since the visit." in page
    assert "How long visitors stay visitors is not told: fewer than 20 were seen for two days since the first" in page
    assert "no source has 20 visitors that were observed for a whole week" in page.replace("&#x27;", "'")
    assert "No purchase says what it cost" not in page


def test_names_are_shown_as_they_are_and_nothing_is_asked_of_a_network(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>"
    events = [
        event(f"v{n}", hostile, what, minute, category=hostile, brand=f"<b>{hostile}", source=f'"><img src=x>{hostile}')
        for n in range(25)
        for what, minute in (("view", n), ("buy" if n % 3 else "view", n + 0.5))
    ]
    history = written(tmp_path / "events.jsonl", sorted(events, key=lambda one: int(str(one.event_time))))
    assert run(history, "--evaluate-events", "0").exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("{\n", (), "got no event from the files (rejected: not_json ×1)"),
        ("", ("--utc-offset", "2"), "expected an offset such as +02:00"),
        ("", ("--models", "oracle"), "got model 'oracle', expected one of"),
        ("", ("--page-rules", "{rules}"), "line 2: page rule '(': got no regular expression"),
        ("", ("--page-rules", "/no/such"), "/no/such: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing(
    tmp_path: Path, content: str, more: tuple[str, ...], said: str
) -> None:
    (tmp_path / "rules.txt").write_text("item /s\nitem (\n")
    history = tmp_path / "events.jsonl"
    history.write_text(content)
    result = run(history, *(part.format(rules=tmp_path / "rules.txt") for part in more))
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "rules.txt"]
