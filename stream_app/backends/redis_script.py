"""A Lua file as Redis runs it: by its hash, with its text where the server does not have it, or as a function.

Who may send scripts may run any, and Lua is where most of Redis's vulnerabilities were. A user of an access list that
denies EVALSHA and EVAL therefore calls functions (`FCALL`), which an administrator has loaded before, and which stay
loaded over restarts (docs/security.md). Which way is open is found out by trying: what is allowed to be simpler, is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

#: What a server says that does not have it; the second one those before Redis 7, which know of no functions.
_NO_FUNCTION: Final = ("function not found", "unknown command")

#: Of the hash, in the function's name: versions of the program that run beside each other each have their own.
_HASH_DIGITS: Final = 8


class FunctionMissingError(ResponseError):
    """The server would let us call the function and does not have it; the text says how to load it."""


class RedisScript:
    """One script: `name` is its file's without `.lua`, in the folder `lua` of `package`."""

    def __init__(self, package: str, name: str) -> None:
        self.text = resources.files(package).joinpath(f"lua/{name}.lua").read_text()
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        self.function = f"stream_app_{name}_{self._sha[:_HASH_DIGITS]}"
        self._by_script = False

    @property
    def library(self) -> str:
        """The same as a library of one function, for `FUNCTION LOAD REPLACE`."""
        return (
            f"#!lua name={self.function}\n"
            f"redis.register_function('{self.function}', function(KEYS, ARGV)\n{self.text}\nend)\n"
        )

    async def run(self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """Run it.

        Raises
        ------
        FunctionMissingError
            If neither scripts are allowed nor the function is there.
        redis.exceptions.RedisError
            As any call.
        """
        if self._by_script:
            try:
                return await self._script(redis, keys, arguments)
            except NoPermissionError:
                self._by_script = False  # rights may be taken while we run: the next call looks anew
                raise
        # First the function: asking for it is refused by nobody's list, where a script would be noted as an attempt.
        try:
            return await redis.fcall(self.function, len(keys), *keys, *arguments)
        except ResponseError as error:
            missing = any(words in str(error).lower() for words in _NO_FUNCTION)
            if not missing and not isinstance(error, NoPermissionError):
                raise
        try:
            found = await self._script(redis, keys, arguments)
        except NoPermissionError:
            if not missing:
                raise
            raise FunctionMissingError(
                f"this user may not run scripts, and the function {self.function} is not loaded: run "
                "`stream-app acls functions` once as an administrator of Redis"
            ) from None
        self._by_script = True
        return found

    async def _script(self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        try:
            return await redis.evalsha(self._sha, len(keys), *keys, *arguments)
        except NoScriptError:  # first use, restart, SCRIPT FLUSH
            # One command: between SCRIPT LOAD and a second EVALSHA it could be forgotten again.
            return await redis.eval(self.text, len(keys), *keys, *arguments)
