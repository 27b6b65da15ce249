"""What offers may still cost in this hour and on this day: held in Redis, taken atomically, never taken twice.

    {<prefix><group>:discounts}:account             budget (its name: when it was opened), run (the server's), bookings
    {<prefix><group>:discounts}:<budget>:h:<hour>   spent in that hour (since 1970), in ten-thousandths
    {<prefix><group>:discounts}:<budget>:d:<day>    spent on that day
    {<prefix><group>:discounts}:x:<exposure id>     what was decided when its cost was taken
    {<prefix><group>:discounts}:lock                who is opening a new account

One hash tag, so one slot: a script sees all of it. Redis need remember nothing: what was spent is in the exposures, and
an account that cannot be trusted is closed and another opened from there (`reopening.py`). It cannot be trusted if

* there is none: Redis was wiped, or never used;
* it was opened on another run of the server: a server that was started again, or another one that took its place, may
  have come back with an older copy. Scripts ask the server for its run with every booking, so no copy is ever used;
* it has fewer bookings than somebody has seen: a copy was put into the running server by hand.

Money is whole ten-thousandths here: sums of them are exact.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from stream_app.backends.ports import UnusableError, ViewError
from stream_app.backends.redis import FAILURES
from stream_app.backends.redis_script import RedisScript
from stream_app.settings import Settings

#: Of the smallest amount that decisions are told in.
UNITS: Final = 10_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

#: Life of every key, in ms: a day's sum and what was decided on it, and a day more for clocks that differ.
TTL_MS: Final = 2 * DAY_MS

#: What this file asks Redis to do at once: `lua/<name>.lua`.
SCRIPTS: Final = ("book", "look", "close", "open")


class AccountLostError(Exception):
    """There is no account that can be trusted: one has to be opened before anything is decided."""


class OtherAccountError(Exception):
    """Another account was opened since the partition was taken over: take it over again."""


class Limits(NamedTuple):
    """What may be spent in the hour and on the day of `now_ms`, in money."""

    now_ms: int
    per_hour: float
    per_day: float


class Spent(NamedTuple):
    """What was spent in an hour and on its day, in money."""

    hour: float
    day: float


class Booked(NamedTuple):
    """A decision that was kept, by this call or by an earlier one, and its number in the account; None: refused."""

    decision: bytes | None
    booking: int
    spent: Spent


def units(amount: float) -> int:
    """An amount in ten-thousandths."""
    return round(amount * UNITS)


class Budget:
    """The account in Redis. Any call raises ViewError when Redis does not answer: try again, later."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._redis = client
        self._tag = f"{{{settings.namespace}:discounts}}"
        self._scripts = {name: RedisScript("stream_app.discounts", name) for name in SCRIPTS}
        #: by account, the highest booking that was seen here or in the topic
        self._seen: dict[int, int] = {}

    def saw(self, budget: int, booking: int) -> None:
        """An exposure says that an account has come this far: a lower count in Redis is an older copy."""
        if booking > self._seen.get(budget, -1):
            self._seen[budget] = booking
            for old in sorted(self._seen)[:-4]:
                del self._seen[old]

    @property
    def newest_seen(self) -> int:
        """The newest account that was seen in Redis or in the topic, 0 without one."""
        return max(self._seen, default=0)

    async def account(self) -> int:
        """The account that is open.

        Raises
        ------
        AccountLostError
            There is none that can be trusted.
        UnusableError
            The server drops keys to make room: what was spent could be forgotten.
        ViewError
            Redis did not answer.
        """
        evicts, *account = await self._run("look", [self._key("account")], [])
        if evicts != b"noeviction":
            raise UnusableError(
                f"got a Redis with maxmemory-policy {evicts.decode()}, expected noeviction: it would forget what was "
                "spent; run `redis-cli config set maxmemory-policy noeviction`"
            )
        if not account:
            raise AccountLostError("no account is open on this run of the server")
        budget, bookings = int(account[0]), int(account[1])
        if budget < self.newest_seen or bookings < self._seen.get(budget, 0):
            raise AccountLostError(f"account {budget} with {bookings} bookings is older than what was seen")
        self.saw(budget, bookings)
        return budget

    async def spent(self, budget: int, now_ms: int) -> Spent:
        """What was spent of an account in the hour and on the day of a time: to choose by, not to rely on."""
        try:
            hour, day = await self._redis.mget(self._buckets(budget, now_ms))
        except FAILURES as error:
            raise ViewError(f"reading the budget: {_said(error)}") from error
        return Spent(int(hour or 0) / UNITS, int(day or 0) / UNITS)

    async def book(
        self, budget: int, exposure_id: str, decision: bytes, *, needs: float, cost: float, limits: Limits
    ) -> Booked:
        """Take `cost` if `needs` is there, and keep the decision; or find the one that was kept for the exposure.

        Raises
        ------
        AccountLostError
            The account cannot be trusted.
        OtherAccountError
            Another one is open.
        ViewError
            Redis did not answer; whether it was booked is not known, and booking it again changes nothing.
        """
        keys = [self._key("account"), *self._buckets(budget, limits.now_ms), self._key(f"x:{exposure_id}")]
        numbers = (units(needs), units(cost), units(limits.per_hour), units(limits.per_day))
        answer = await self._run("book", keys, [budget, self._seen.get(budget, 0), *numbers, TTL_MS, decision])
        what = answer[0].decode()
        if what == "lost":
            raise AccountLostError(f"account {budget} is not on this run of the server, or went back")
        if what == "other":
            raise OtherAccountError(f"account {budget} was followed by {int(answer[1])}")
        if what == "refused":
            return Booked(None, 0, Spent(answer[1] / UNITS, answer[2] / UNITS))
        _, number, kept = answer[1].split(b" ", 2)
        self.saw(budget, int(number))
        return Booked(kept, int(number), Spent(answer[2] / UNITS, answer[3] / UNITS))

    async def close(self, token: str, *, lock_ms: int) -> str:
        """Close an account that cannot be trusted and keep others from opening one; "open", "busy" or "mine"."""
        budget = self.newest_seen
        seen = self._seen.get(budget, 0)
        keys = [self._key("account"), self._key("lock")]
        return str((await self._run("close", keys, [token, budget, seen, lock_ms])).decode())

    async def open(self, token: str, budget: int, spent: dict[str, int]) -> bool:
        """Open an account with what was spent by bucket; False if this attempt no longer may."""
        keys = [self._key("account"), self._key("lock"), *(self._key(f"{budget}:{bucket}") for bucket in spent)]
        return bool(await self._run("open", keys, [token, budget, TTL_MS, *spent.values()]))

    def _buckets(self, budget: int, now_ms: int) -> list[str]:
        return [self._key(f"{budget}:{bucket}") for bucket in buckets(now_ms)]

    def _key(self, name: str) -> str:
        return f"{self._tag}:{name}"

    async def _run(self, name: str, keys: list[str], arguments: list[str | int | bytes]) -> Any:
        try:
            return await self._scripts[name].run(self._redis, keys, arguments)
        except FAILURES as error:
            raise ViewError(f"the budget's {name}: {_said(error)}") from error


def buckets(now_ms: int) -> tuple[str, str]:
    """Names of the hour and of the day (UTC) of a time."""
    return f"h:{now_ms // HOUR_MS}", f"d:{now_ms // DAY_MS}"


def _said(error: Exception) -> str:
    """The error's kind and words: redis-py's own `repr` leaves the server's words out."""
    return f"{type(error).__name__} {error}"
