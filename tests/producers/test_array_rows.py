"""One JSON array, cut into its elements while it is read, wherever the cuts of the reading fall."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.array_rows import ArrayRows
from producers.source_error import SourceError
from stream_app.core.codec import RECORD_BYTES_MAX

values = st.recursive(
    st.none() | st.integers(0, 99) | st.text(st.sampled_from('a\\"[]{},: é'), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(st.sampled_from('k"\\'), max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


def rows_of(content: bytes, chunk_bytes: int = 7) -> list[tuple[int, bytes]]:
    stream = io.BufferedReader(io.BytesIO(content))  # type: ignore[arg-type]  # raw or not, it reads
    return list(ArrayRows(stream, stream, Path("a.json"), chunk_bytes=chunk_bytes))


@settings(max_examples=80, deadline=None)
@given(elements=st.lists(values, max_size=4), indent=st.sampled_from([None, 1]), chunk_bytes=st.integers(1, 20))
def test_elements_are_those_of_the_array(elements: list[object], indent: int | None, chunk_bytes: int) -> None:
    content = json.dumps(elements, indent=indent, ensure_ascii=False).encode()
    rows = rows_of(content, chunk_bytes)
    assert [json.loads(raw) for _, raw in rows] == elements
    assert [number for number, _ in rows] == list(range(1, len(elements) + 1))


def test_a_byte_order_mark_and_blank_lines_may_stand_before_it() -> None:
    assert rows_of(b"\xef\xbb\xbf \n\n\n\n\n\n\n\n\n [ 1 , 2 ]\n", 4) == [(1, b"1"), (2, b"2")]


def test_a_missing_element_is_a_row_that_is_empty() -> None:
    assert rows_of(b"[1,,2]") == [(1, b"1"), (2, b""), (3, b"2")]


def test_an_element_beyond_the_limit_is_cut_and_the_next_one_lives() -> None:
    long = b'{"a":"' + b"x" * (2 * RECORD_BYTES_MAX) + b'"}'
    (_, first), (_, second) = rows_of(b"[" + long + b",{}]", 1000)
    assert first == long[: RECORD_BYTES_MAX + 1]
    assert second == b"{}"


@pytest.mark.parametrize("chunk_bytes", [1, 3, 1000])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"a":1},{"a":', "not closed after element 1"),
        (b'[{"a":"', "not closed after element 0"),
        (b"[1,2] {}", "more after the array's end, behind element 2"),
    ],
)
def test_a_cut_or_continued_array_gives_its_whole_elements_and_an_error(
    content: bytes, words: str, chunk_bytes: int
) -> None:
    with pytest.raises(SourceError, match=words):
        rows_of(content, chunk_bytes)
