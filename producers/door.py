"""What is personal in an event, taken off or made unrecognisable before it enters: event → event. Pure.

By default:

* `page_url` and `referrer` lose their fragment, the user's name before the host, and of their query all but what is
  known to say whence somebody came (`utm_*`). The path stays; an e-mail address in it, or in what is left of the query,
  is masked. What a page is for is read from the path alone, so scores do not change;
* `search_term`: e-mail addresses and long numbers (telephone, card, customer) are masked;
* a `visitor_id` that is an e-mail address is refused, unless there is a key to make a pseudonym of it: a hash without a
  key could be undone by trying addresses.

With a key, `visitor_id` and `session_id` become pseudonyms (`pseudonym_keys.py`). Events and labels of one visitor must
pass doors with the same keys, or none, and one door only: a pseudonym of a pseudonym is another visitor.

A refused record goes to the dead letters as it came, with its reason: `dead.letters.v1` needs the protection of raw
data (docs/formats.md).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote_plus

import msgspec

from producers.pseudonym_keys import PseudonymKeys
from stream_app.core.codec import Rejected
from stream_app.core.events import TEXT_LENGTH_MAX, CheckoutLabel, Event

#: Parameters of an address that stay: those of a campaign, which a shop has written itself. A `*` stands at the end.
KEPT_PARAMETERS: Final = ("utm_*",)

#: Digits of a number that is masked in a search term. Telephone numbers have 9 or more with their area code, cards 12
#: to 19; articles and sizes have fewer, as a rule. (A bar code, 13, is masked as well.)
DIGITS_MIN: Final = 9

_MASKED_EMAIL: Final = "[e-mail]"
_MASKED_NUMBER: Final = "[number]"

# Not RFC 5322, which allows nearly everything: what people write and systems accept.
_EMAIL: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
#: … also as it stands in an address.
_EMAIL_IN_URL: Final = re.compile(r"[\w.!#$'*+~%-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63})+", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\+?\d(?:[ ()./-]{0,3}\d){" + str(DIGITS_MIN - 1) + r",}")
_USER_BEFORE_HOST: Final = re.compile(r"^([a-z][a-z0-9+.-]*:)?//[^/?#]*@", re.IGNORECASE)

_Record = TypeVar("_Record", Event, CheckoutLabel)


class DoorSettings(NamedTuple):
    """How a door is set.

    Attributes
    ----------
    keys
        For pseudonyms of visitors; None leaves their ids as they are.
    kept_parameters
        Names of an address's parameters that stay, case ignored; a `*` at the end stands for anything.
    masks
        Whether addresses and search terms are looked at, and e-mail addresses as visitor ids refused, at all.
    """

    keys: PseudonymKeys | None = None
    kept_parameters: tuple[str, ...] = KEPT_PARAMETERS
    masks: bool = True


class Door:
    """Lets events and labels in. The same record comes to the same, here and at any door of the same settings."""

    def __init__(self, settings: DoorSettings | None = None) -> None:
        self._settings = settings or DoorSettings()
        names = [name.lower() for name in self._settings.kept_parameters]
        self._exact = frozenset(name for name in names if not name.endswith("*"))
        self._beginnings = tuple(name[:-1] for name in names if name.endswith("*"))

    @property
    def check(self) -> str:
        """Tells this door from one that lets the same record in as another; says nothing of a secret."""
        keys = self._settings.keys
        parameters = ",".join(sorted(self._settings.kept_parameters)) if self._settings.masks else "everything"
        return f"{keys.check if keys is not None else 'no key'}; {parameters}"

    def admit(self, event: Event) -> Event | Rejected:
        """What of an event may come in; the very event where there is nothing to take off."""
        assert isinstance(event.event_time, int)  # adapters have made it so
        named = self._named(event, event.event_time)
        if isinstance(named, Rejected) or not self._settings.masks:
            return named
        page_url = self._address(event.page_url) if event.page_url else event.page_url
        referrer = self._address(event.referrer) if event.referrer else event.referrer
        search_term = masked_text(event.search_term) if event.search_term else event.search_term
        if (page_url, referrer, search_term) == (event.page_url, event.referrer, event.search_term):
            return named
        return msgspec.structs.replace(named, page_url=page_url, referrer=referrer, search_term=search_term)

    def admit_label(self, label: CheckoutLabel) -> CheckoutLabel | Rejected:
        """What of a label may come in: as with events, so that it finds its visitor."""
        assert isinstance(label.checkout_time, int)
        return self._named(label, label.checkout_time)

    def _named(self, record: _Record, time_ms: int) -> _Record | Rejected:
        """The record under its visitor's pseudonym."""
        keys = self._settings.keys
        if keys is not None:
            key = keys.at(time_ms)
            session_id = key.session(record.session_id) if record.session_id is not None else None
            return msgspec.structs.replace(record, visitor_id=key.visitor(record.visitor_id), session_id=session_id)
        if self._settings.masks and "@" in record.visitor_id and _EMAIL.search(record.visitor_id):
            return Rejected(
                "invalid_value",
                "got an e-mail address as visitor_id (not repeated here), expected an id that is not personal: send "
                "another one, or give the door a key for pseudonyms (docs/formats.md, Privacy)",
            )
        return record

    def _address(self, url: str) -> str:
        """An address without what may be personal in it."""
        whole, _, _ = url.partition("#")
        page, _, query = whole.partition("?")
        if "@" in page:
            page = _USER_BEFORE_HOST.sub(lambda found: f"{found[1] or ''}//", page)
        kept = "&".join(part for part in query.split("&") if self._is_kept(part)) if query else ""
        found = f"{page}?{kept}" if kept else page
        if "@" in found or "%40" in found:
            return _EMAIL_IN_URL.sub(_MASKED_EMAIL, found)[:TEXT_LENGTH_MAX]
        return found

    def _is_kept(self, parameter: str) -> bool:
        name = unquote_plus(parameter.partition("=")[0]).lower()
        return name in self._exact or (bool(self._beginnings) and name.startswith(self._beginnings))


def masked_text(text: str) -> str:
    """A text in which e-mail addresses and long numbers are masked."""
    if "@" in text:
        text = _EMAIL.sub(_MASKED_EMAIL, text)
    # A mask may be longer than what it stands for.
    return _NUMBER.sub(_MASKED_NUMBER, text)[:TEXT_LENGTH_MAX]
