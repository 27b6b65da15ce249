"""Which format a file has: what is said when it is certain, when several fit, and when none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.detection import Detection, detect, detect_columns, detect_file
from producers.formats import FORMATS
from producers.source import SourceError

CANONICAL = b'{"event_id":"e","event_type":"view_item","event_time":1769884205250,"visitor_id":"v"}'


def test_it_is_said_how_many_records_have_what() -> None:
    found = detect([CANONICAL, b"{", CANONICAL, b'{"a":1}'])
    assert found == Detection(
        FORMATS["canonical"],
        ("canonical",),
        "2 of 4 records have event_id, event_type, event_time, visitor_id",
    )


def test_a_record_here_and_there_does_not_decide() -> None:
    found = detect([CANONICAL, b'{"a":1}', b'{"a":1}'])
    assert found.format is None
    assert "got a" in found.why


def test_several_that_fit_are_said_and_none_is_taken() -> None:
    both = CANONICAL[:-1] + b',"type":"track","anonymousId":"a","event":"Product Viewed"}'
    found = detect([both])
    assert found.format is None
    assert set(found.candidates) == {"canonical", "segment"}
    assert found.why == "the only record may be canonical or segment"


def test_of_none_that_fits_the_closest_is_said_with_what_is_missing() -> None:
    found = detect([b'{"event_id":"e","event_type":"view_item","visitor_id":"v"}'])
    assert found.format is None
    assert found.why.endswith("got event_id, event_type, visitor_id; closest is canonical, but there is no event_time")


def test_columns_are_told_apart() -> None:
    assert detect_columns(FORMATS["rees46"].columns, "the header").format is FORMATS["rees46"]
    found = detect_columns(["timestamp", "visitorid", "event", "itemid"], "the header")
    assert found.format is None
    assert "closest is retailrocket, but there is no transactionid" in found.why


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"[]", "none of 0 records is a JSON object"),
        (b"{\n{\n", "none of 2 records is a JSON object"),
        (b"\x00\x01\x02", "the header has none of the known formats: got no names"),
    ],
)
def test_a_file_of_nothing_known_is_said_to_be_that(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "garbage.bin"
    path.write_bytes(content)
    found = detect_file(path)
    assert found.format is None
    assert words in found.why


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "garbage.bin"
    path.write_bytes(b"PAR1garbage")
    with pytest.raises(SourceError, match=r"garbage\.bin: "):
        detect_file(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        detect_file(tmp_path / "none")
    with pytest.raises(SourceError, match="directory"):
        detect_file(tmp_path)
