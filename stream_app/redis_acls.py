"""What each role must be allowed in Redis, and no more: lines for its access list (`stream-app acls redis`).

Nobody may send scripts: what they would do, functions do that an administrator has loaded (`backends/redis_script.py`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stream_app.backends.redis import WRITE_VIEW
from stream_app.backends.redis_script import RedisScript
from stream_app.discounts.budget import SCRIPTS
from stream_app.settings import Settings


class Role(NamedTuple):
    """A program: patterns of the keys it may write and of those it may read only, and its commands."""

    about: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    commands: tuple[str, ...]


#: `{group:3}:position`: a partition's keys; those of the discounts have no number there.
_VIEW: Final = "{%s:[0-9]*}:*"
_BUDGET: Final = "{%s:discounts}:*"
#: By these the client finds out which node has which keys.
_CLUSTER: Final = ("cluster|slots", "command", "asking")
_READS: Final = ("get", "mget", "zscan")

ROLES: Final[dict[str, Role]] = {
    # `scan` and `unlink` clear a view that cannot be trusted; `info` says whether the server drops keys.
    "worker": Role(
        "`worker`, `run`",
        (_VIEW,),
        (),
        (*_READS, "scan", "unlink", "info", "fcall", "set", "del", "zadd", "zrem", "pexpire"),
    ),
    # A budget's functions ask `info` whether this is still the run of the server that the account was opened on.
    "discounts": Role(
        "`discounts run`",
        (_BUDGET,),
        (_VIEW,),
        (*_READS, "info", "fcall", "set", "del", "hget", "hmget", "hset", "hincrby", "incrby", "pexpire"),
    ),
    "trainer": Role("the page of `trainer`", (), (_VIEW,), ("mget",)),
    "forget": Role("`forget`", (), (_VIEW,), ("exists",)),
    "look": Role("`doctor`, `audit`, `session`, `explain`", (), (_VIEW,), (*_READS, "scan", "info", "time")),
}


def line(user: str, role: str, settings: Settings) -> str:
    """The words after `ACL SETUSER`; the password is to be added. Raises KeyError for a role that there is not."""
    found = ROLES[role]
    keys = [f"~{pattern % settings.namespace}" for pattern in found.writes]
    keys += [f"%R~{pattern % settings.namespace}" for pattern in found.reads]
    commands = (*found.commands, *(_CLUSTER if settings.redis_cluster else ()))
    # `reset` first: what an earlier line allowed would stay.
    return " ".join((user, "reset", "on", *keys, "-@all", *(f"+{command}" for command in commands)))


def functions() -> list[RedisScript]:
    """What an administrator has to load."""
    return [
        RedisScript("stream_app.backends", WRITE_VIEW),
        *(RedisScript("stream_app.discounts", name) for name in SCRIPTS),
    ]
