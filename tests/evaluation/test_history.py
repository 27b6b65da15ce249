"""The history as a stream: in order whatever the files' order, cut into ticks, with another target's outcome."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.formats import FORMATS
from producers.history_files import HistoryFile
from producers.source import Source
from stream_app.evaluation.errors import EvaluationError
from stream_app.evaluation.history import History, Survey, ticks
from stream_app.evaluation.sorting import sorted_events
from stream_app.evaluation.target import as_target
from tests.core.streams import MINUTE, T0
from tests.evaluation.histories import NOW, event, history_of, shop, written


def test_a_file_out_of_order_is_read_in_the_order_of_time_and_of_its_rows(tmp_path: Path) -> None:
    # Times repeat, so that the order of rows within one time shows.
    events = [event(n, 0, "view_item", n % 7, n % 3) for n in range(100)]
    path = written(events, tmp_path / "mixed.jsonl")
    expected = sorted(events, key=lambda e: e.event_time)  # type: ignore[arg-type, return-value]
    for run_rows in (7, 100, 1_000):
        with Source(path, FORMATS["canonical"], now_ms=NOW) as source:
            assert list(sorted_events(source, tmp_path, run_rows=run_rows)) == expected
    history = history_of([path], tmp_path)
    assert list(history.events()) == expected
    assert history.survey.unordered == {path}
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_one_name_from_two_directories_are_sorted_apart(tmp_path: Path) -> None:
    events = shop(60)
    paths = [tmp_path / name / "part-0.jsonl" for name in ("monday", "tuesday")]
    for path, part in zip(paths, (events[:50], events[50:]), strict=True):
        path.parent.mkdir()
        written(part[::-1], path)
    history = history_of(paths, tmp_path)
    assert history.survey.unordered == set(paths)
    assert {e.event_id for e in history.events()} == {e.event_id for e in events}
    assert [e.event_time for e in history.events()] == [e.event_time for e in events]


def test_files_of_two_formats_are_one_history(tmp_path: Path) -> None:
    events = [event(n, 0, "view_item", n, n % 3) for n in range(20)]
    ours = written(events[1::2], tmp_path / "ours.jsonl")
    theirs = tmp_path / "theirs.csv"
    rows = [f"{e.event_time},{e.visitor_id},view,{e.item_id}," for e in events[::2]]
    theirs.write_text("\n".join([",".join(FORMATS["retailrocket"].columns), *rows]))
    files = [HistoryFile(ours, ours.name, FORMATS["canonical"]), HistoryFile(theirs, "", FORMATS["retailrocket"])]
    history = History(files, now_ms=NOW, directory=tmp_path, progress=lambda *_: None)
    assert [(e.event_time, e.visitor_id, e.item_id) for e in history.events()] == [
        (e.event_time, e.visitor_id, e.item_id) for e in events
    ]


def test_several_files_are_one_history(tmp_path: Path) -> None:
    events = shop(60)
    later = written(events[100:], tmp_path / "b.jsonl")
    mixed = written([*events[50:100], *events[:50]], tmp_path / "a.jsonl")
    history = history_of([later, mixed], tmp_path)
    assert [e.event_time for e in history.events()] == [e.event_time for e in events]
    assert {e.event_id for e in history.events()} == {e.event_id for e in events}
    assert (history.survey.events, history.survey.unordered) == (len(events), {mixed})
    assert (history.survey.first_ms, history.survey.last_ms) == (events[0].event_time, events[-1].event_time)


def test_a_file_without_any_event_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text('{"event_id": "1"}\nnot json\n')
    with pytest.raises(
        EvaluationError, match=r"got no event from .*wrong\.jsonl \(rejected: missing_field ×1, not_json"
    ):
        history_of([path], tmp_path)


def test_a_survey_knows_when_a_share_of_the_events_has_passed_from_a_bounded_number_of_times() -> None:
    survey = Survey()
    for n in range(100_000):
        survey.observe(n)
    assert (survey.events, survey.first_ms, survey.last_ms) == (100_000, 0, 99_999)
    for share in (0.0, 0.2, 0.5, 0.999):
        assert survey.time_at(share) == pytest.approx(share * 100_000, abs=20)
        assert survey.share_at(survey.time_at(share)) == pytest.approx(share, abs=0.001)
    assert len(survey._times) < 20_000


def test_a_tick_is_shorter_than_the_freshness_and_does_not_reach_across_a_cut() -> None:
    #          0    4    9 | 10   12 ║ 13   18   19 | 23   (║ the cut at 13; a tick lasts less than 10)
    minutes = [0, 4, 9, 10, 12, 13, 18, 19, 23]
    events = [event(n, 0, "view_item", minute, 1) for n, minute in enumerate(minutes)]
    found = ticks(events, freshness_ms=10 * MINUTE, cuts=[T0 - 1, T0 + 13 * MINUTE], events_max=100)
    assert [[minutes[int(e.visitor_id[1:])] for e in tick] for tick in found] == [
        [0, 4, 9],
        [10, 12],
        [13, 18, 19],
        [23],
    ]
    found = ticks(events, freshness_ms=100 * MINUTE, cuts=[], events_max=4)
    assert [len(tick) for tick in found] == [4, 4, 1]


def test_for_the_other_target_the_cart_is_the_checkout() -> None:
    cart = event(1, 1, "add_to_cart", 3, 4, price=2.0)
    assert as_target(cart, "purchase") is cart
    told = as_target(cart, "cart-or-purchase")
    assert (told.event_type, told.event_id, told.price) == ("purchase", cart.event_id, 2.0)
    for kind in ("view_item", "purchase", "remove_from_cart"):
        other = event(1, 2, kind, 3, 4)
        assert as_target(other, "cart-or-purchase") is other
