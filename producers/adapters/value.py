"""Single values of other people's records → text, numbers and times; what does not fit is a `Rejected`.

JSON of the wild writes numbers as text and ids as numbers. Both are taken, for nothing is lost by it; what is lost by
guessing (`1,5`, `yes`, a list where a name should be) is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from math import floor, isfinite
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from producers.adapters.row import shown
from stream_app.core.codec import Rejected

#: Longer numbers are no ids; it also keeps the conversion of huge ones, which takes quadratic time, away.
_ID_MAX: Final = 10**40

#: 18 digits before the point hold every price and quantity that `events.AMOUNT_MAX` allows, and then some.
_NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,18})?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"\d{1,18}", re.ASCII)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?) ?(Z|UTC|[+-]\d\d:?\d\d)?", re.ASCII)

_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}

#: Unit of a numeric time → how many of it are a second.
UNITS: Final = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class TimeForm(NamedTuple):
    """How times are written: a number of a `UNITS` unit, ISO 8601 text (`iso`), or text in a `strptime` format.

    `zone` is that of text that names none; None: it has to.
    """

    unit: str
    zone: tzinfo | None = UTC
    format: str | None = None

    def __str__(self) -> str:
        """As the documentation says it."""
        if self.format is not None:
            return f"text in the format {self.format} ({_name(self.zone)})"
        return "ISO 8601" if self.unit == "iso" else f"{self.unit} since 1970"


def text(name: str, value: object) -> str | Rejected | None:
    """Read a name or an id: text, or a number, which is written out; nothing, null and empty text are None."""
    if type(value) is str:
        return value or None
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and -_ID_MAX < value < _ID_MAX:
        return str(value)
    if isinstance(value, float | Decimal) and isfinite(value):
        # 17.0 is what a spreadsheet or a nullable column makes of the id 17.
        whole = abs(float(value)) < 2**53 and value == floor(value)
        return str(int(value)) if whole else str(value)
    return Rejected("wrong_type", f"got {name} {shown(value)}, expected text or a number")


def number(name: str, value: object) -> float | Rejected | None:
    """Read an amount, as a number or as text such as `12.50`; nothing, null and empty text are None."""
    if value is None or value == "":
        return None
    if isinstance(value, float | Decimal | int) and not isinstance(value, bool):
        # Beyond 1e18 an integer need not fit a float; it is beyond every bound anyway.
        if -(10**18) < value < 10**18:
            return float(value)
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return Rejected("invalid_value", f"got {name} {shown(value)}, expected a number such as 12.50, or nothing")


def flag(name: str, value: object) -> bool | Rejected | None:
    """Read a yes or no, also as 1 and 0 or as text; nothing, null and empty text are None."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value in (0.0, 1.0):
        return value == 1.0  # a column of doubles
    if isinstance(value, int | str) and (found := _FLAGS.get(str(value).strip().lower())) is not None:
        return found
    return Rejected("invalid_value", f"got {name} {shown(value)}, expected true or false, or nothing")


def time_ms(name: str, value: object, form: TimeForm) -> int | Rejected:
    """Read a time as milliseconds since the epoch, UTC; fractions of one are cut off."""
    moment = value if isinstance(value, datetime) else None
    try:
        if moment is None and form.unit in UNITS:
            found = _from_number(value, UNITS[form.unit])
            if found is not None:
                return found
        elif isinstance(value, str):
            moment = datetime.strptime(value, form.format) if form.format is not None else _from_iso(value)
        if moment is not None and moment.tzinfo is None:
            # Databases and Parquet files give moments themselves, in UTC, whatever the form says of text.
            zone = UTC if moment is value else form.zone
            moment = moment.replace(tzinfo=zone) if zone is not None else None
        if moment is not None:
            return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        pass  # no such date, or beyond the years that Python knows
    return Rejected("invalid_value", f"got {name} {shown(value)}, expected {example(form)}")


def example(form: TimeForm) -> str:
    """A time in this form, for messages."""
    moment = datetime(2026, 1, 31, 18, 30, 5, 250_000, tzinfo=form.zone)
    if form.format is not None:
        return f"a time like {moment.strftime(form.format)}"
    if form.unit == "iso":
        return "a time like 2026-01-31T18:30:05.250Z"
    return f"{form.unit} since 1970 like {int(moment.timestamp() * UNITS[form.unit])}"


def _from_number(value: object, per_second: int) -> int | None:
    if type(value) is str and _INTEGER.fullmatch(value):
        value = int(value)
    elif type(value) is str and _NUMBER.fullmatch(value):
        value = float(value)
    if type(value) is int:
        # Whole numbers stay whole: 16 digits of microseconds are more than a float can hold exactly.
        return value * 1_000 // per_second
    if isinstance(value, float | Decimal) and isfinite(value):
        return floor(value * 1_000 / per_second)
    return None


def _from_iso(value: str) -> datetime | None:
    match = _ISO.fullmatch(value)
    if match is None:
        return None
    zone = "+00:00" if match[2] in ("Z", "UTC") else match[2] or ""
    return datetime.fromisoformat(match[1].replace(",", ".") + zone)


def _name(zone: tzinfo | None) -> str:
    return zone.key if isinstance(zone, ZoneInfo) else str(zone)
