"""The report's main figures of the public files, beside those of pandas and plain loops over their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from producers.adapters import rees46, retailrocket
from stream_app.cli import main
from tests.producers.test_real_files import FILES, found

GAP_MS = 30 * 60_000


def rows_of(path: Path, format: str) -> pd.DataFrame:
    """Each distinct row in the order of time: kind, visitor, session, item, category, brand, price, ms."""
    raw = pd.read_csv(path, dtype=str, keep_default_na=False).drop_duplicates()
    if format == "retailrocket":
        frame = pd.DataFrame({"kind": raw["event"].map(retailrocket.EVENT_TYPES), "visitor": raw["visitorid"]})
        frame["ms"] = raw["timestamp"].astype("int64")
        return frame.assign(session="", item=raw["itemid"], category="", brand="").sort_values("ms", kind="stable")
    frame = pd.DataFrame({"kind": raw["event_type"].map(rees46.EVENT_TYPES), "session": raw["user_session"]})
    frame["ms"] = pd.to_datetime(raw["event_time"], utc=True).dt.as_unit("ms").astype("int64")
    frame["visitor"] = raw["user_id"].where(raw["user_id"] != "", raw["user_session"])
    frame["category"] = raw["category_code"].where(raw["category_code"] != "", raw["category_id"])
    frame = frame.assign(item=raw["product_id"], brand=raw["brand"])
    return frame[frame["visitor"] != ""].sort_values("ms", kind="stable")


def sessions_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Sessions whose end is known: beginning, steps before the first purchase, whether bought, whether carted first."""
    rows = rows.sort_values(["visitor", "session", "ms"], kind="stable")
    key = rows["visitor"] + "\x1f" + rows["session"]
    number = ((key != key.shift()) | (rows["ms"].diff() > GAP_MS)).cumsum()
    buys = rows["kind"] == "purchase"
    before = buys.groupby(number).cumsum() == 0
    rows = rows.assign(buys=buys, before=before, carts=before & (rows["kind"] == "add_to_cart"))
    told = rows.groupby(number).agg(
        first=("ms", "min"),
        last=("ms", "max"),
        steps=("before", "sum"),
        bought=("buys", "any"),
        carted=("carts", "any"),
    )
    return told[told["last"] + GAP_MS < rows["ms"].max() + 1]


def episodes_of(rows: pd.DataFrame) -> list[tuple[bool, bool, bool, int]]:
    """By a plain loop: seen, carted, bought, and ms from the first view to the end (−1 without a view)."""
    told: list[tuple[bool, bool, bool, int]] = []
    open_: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows.itertuples():
        own = open_.setdefault((row.visitor, row.item), [])
        last = own[-1] if own else None
        buys = row.kind == "purchase"
        goes_on = last is not None and row.ms - last["active"] <= GAP_MS and (not last["bought"] or buys)
        if not goes_on:
            last = {"seen": None, "carted": False, "bought": None, "active": row.ms}
            own.append(last)
        assert last is not None
        last["active"] = row.ms
        last["carted"] |= row.kind == "add_to_cart"
        if row.kind == "view_item" and last["seen"] is None:
            last["seen"] = row.ms
        if buys and last["bought"] is None:
            last["bought"] = row.ms
    for episode in (episode for own in open_.values() for episode in own):
        end = episode["active"] if episode["bought"] is None else episode["bought"]
        seen = episode["seen"] is not None
        told.append((seen, episode["carted"], episode["bought"] is not None, end - episode["seen"] if seen else -1))
    return told


@pytest.fixture(scope="module", params=FILES, ids=[name.split(".")[0] for name, _ in FILES])
def reported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any]:
    name, format = request.param
    path = found(name)
    out = tmp_path_factory.mktemp("real") / "report.html"
    asked = ["--format", format, "--out", str(out), "--json", "-", "--evaluate-events", "0"]
    result = CliRunner().invoke(main, ["report", str(path), *asked])
    assert result.exit_code == 0, result.output
    # Aggregates only: what a report shows of visitors is how many there are.
    page, rows = out.read_text(), rows_of(path, format)
    assert not any(f">{visitor}<" in page for visitor in rows["visitor"].unique()[:500])
    return json.loads(result.stdout), rows


def test_events_and_sessions_are_those_of_pandas(reported: tuple[dict[str, Any], Any]) -> None:
    told, rows = reported
    data = told["data"]
    assert data["events"]["types"] == rows["kind"].value_counts().to_dict()
    assert (
        data["events"]["missing"]["brand"]["view_item"] == ((rows["brand"] == "") & (rows["kind"] == "view_item")).sum()
    )
    sessions = sessions_of(rows)
    assert data["sessions"]["sessions"] == len(sessions) > 500
    assert data["sessions"]["purchase"]["hits"] == sessions["bought"].sum()
    assert data["sessions"]["cart"]["hits"] == sessions["carted"].sum()
    begins = pd.to_datetime(sessions["first"], unit="ms", utc=True)
    for hour, group in sessions.groupby(begins.dt.hour):
        came = data["by_hour"][int(str(hour))]
        assert (came["sessions"], came["purchase"]["hits"]) == (len(group), group["bought"].sum())
    days = sessions.groupby(begins.dt.strftime("%Y-%m-%d")).size().to_dict()
    assert {came["name"]: came["sessions"] for came in data["by_day"]} == days
    steps = sessions["steps"].clip(upper=64).value_counts().to_dict()
    assert {n: came["sessions"] for n, came in enumerate(data["by_events"]) if came["sessions"]} == steps


def test_the_funnel_and_the_purchase_times_are_those_of_a_plain_loop(reported: tuple[dict[str, Any], Any]) -> None:
    told, rows = reported
    episodes = episodes_of(rows)
    funnels = told["funnels"]
    assert funnels["episodes"] == len(episodes)
    assert funnels["seen"] == sum(seen for seen, *_ in episodes)
    assert funnels["carted"] == sum(carted for _, carted, *_ in episodes)
    assert funnels["bought"] == sum(bought for _, _, bought, _ in episodes)
    curve = told["purchase_time"]["overall"]
    frame = pd.DataFrame([(max(0, ms), bought) for seen, _, bought, ms in episodes if seen], columns=["ms", "bought"])
    timed = frame[frame["ms"] > 0]
    buckets = timed.groupby((timed["ms"] // 10_000).clip(upper=720))["bought"].agg(["size", "sum"])
    assert {n: count for n, count in enumerate(curve["episodes"]) if count} == buckets["size"].to_dict()
    assert {n: count for n, count in enumerate(curve["bought"]) if count} == {
        n: count for n, count in buckets["sum"].to_dict().items() if count
    }
    assert (curve["bounces"]["cases"], curve["bounces"]["hits"]) == (
        len(frame) - len(timed), frame[frame["ms"] == 0]["bought"].sum(),
    )  # fmt: skip


def test_correlations_are_those_of_pandas(reported: tuple[dict[str, Any], Any]) -> None:
    told, rows = reported
    found = told["correlations"]
    sessions = sessions_of(rows)
    sessions = sessions[sessions["steps"] > 0]
    assert found["sessions"] == len(sessions)
    at = found["columns"].index
    expected = np.corrcoef(np.log1p(sessions["steps"]), sessions["bought"])[0, 1]
    assert found["matrix"][at("l1_steps")][at("purchase")] == pytest.approx(expected, rel=1e-5)
