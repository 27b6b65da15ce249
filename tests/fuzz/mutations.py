"""Bytes that look right for the most part: a seed of the corpus, cut, repeated, spliced and spoilt."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hypothesis import strategies as st

CORPUS: Final = Path(__file__).parent / "corpus"

#: What has broken parsers before: numbers past every type, non-numbers, surrogates, NULs, depth, duplicates.
TOKENS: Final = (
    b"NaN", b"-Infinity", b"1e999", b"-1e999", b"1e-400", b"-0.0", b"9" * 400, b"-" + b"9" * 5_000, b"1e", b"0x10",
    b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616", b"253402300800000", b"-1", b"0",
    b"null", b"true", b"{}", b"[]", b'""', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b"\x00", b"\xff\xfe",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"[" * 2_000, b'{"a":' * 2_000, b'"' + b"x" * 5_000 + b'"',
    b"\\u0001" * 300, b'"2023-11-14T22:13:60Z"', b'"0000-00-00T00:00:00Z"', b'"+275760-09-13T00:00:00Z"', b"\r\n",
    b"\n~\n", b"\n!\n", b"\t", b'"', b"\\", b",", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01",
)  # fmt: skip


def seeds(target: str) -> list[Path]:
    """The kept inputs of a target, in the order of their names."""
    return sorted((CORPUS / target).iterdir())


@st.composite
def mutated(draw: st.DrawFn, target: str) -> bytes:
    """A seed after a few changes."""
    known = [path.read_bytes() for path in seeds(target)]
    data = bytearray(draw(st.sampled_from(known)))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 0, 1, 2, 4, 8, 30))))
        match draw(st.integers(0, 4)):
            case 0:
                data[start:end] = draw(st.sampled_from(TOKENS))
            case 1:
                data[start:end] = draw(st.binary(max_size=8))
            case 2:
                data[start:end] = data[start:end] * 3
            case 3:
                other = draw(st.sampled_from(known))
                cut = draw(st.integers(0, len(other)))
                data[start:end] = other[cut : cut + draw(st.integers(0, 80))]
            case _:
                _replace_number(data, start, draw(st.sampled_from(TOKENS)))
    return bytes(data)


def _replace_number(data: bytearray, start: int, token: bytes) -> None:
    """Put the token in the place of the next run of digits."""
    while start < len(data) and not 48 <= data[start] <= 57:
        start += 1
    end = start
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    data[start:end] = token
