"""The discount application beside the demo: the very program, in a process of its own, and what its offers came to."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from pydantic import SecretStr

from stream_app.backends.child_process import ChildProcess
from stream_app.backends.ports import LogError
from stream_app.cli_refusal import refusing
from stream_app.discounts.core.policy_file import PolicyError, read_policy
from stream_app.discounts.core.reporting import report
from stream_app.discounts.outcome_reading import read_figures
from stream_app.discounts.policy_text import policy_text
from stream_app.settings import DEVELOPMENT_KEY, Settings

#: Times of the demo, whose shop lives a hundred times as fast as who watches, so that sessions, moments and outcomes
#: come within seconds: ten minutes end a session (hardly a pause is longer), an order counts for a quarter of
#: an hour after an exposure, and is waited for a little longer than the order system takes at the most.
SETTINGS: Final[dict[str, Any]] = {
    "session_gap_ms": 600_000,
    "grace_ms": 5_000,
    "quiet_ms": 20_000,
    "discount_policy": str(Path(__file__).with_name("policy.toml")),
    "discount_clock": "events",
    "discount_window_ms": 900_000,
    "discount_delay_ms": 720_000,
}
#: It has a web port of its own and says where to nobody.
_OWN: Final[dict[str, Any]] = {"web_port": 0, "web_targets": ""}

#: What reading the topics of a run may take at its end, in seconds: a few fetches, seconds on a busy machine. Who has
#: pressed Ctrl-C waits for it, and supervisors kill after ten.
READ_S_MAX: Final = 4.0


class DiscountProcess:
    """`stream-app discounts` as a child that ends with this process. Use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        # Killed, not asked: all that it could still put in order is in servers that end with it.
        self._child = ChildProcess("the discount application", _command(settings), stop_signal=signal.SIGKILL)

    def __enter__(self) -> Self:
        # Not waited for: it joins while the worker does, and there is nobody to be offered anything before.
        self._child.start(lambda: True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.stop()

    @property
    def problem(self) -> str:
        """Why there are no offers any more, one line; empty while it runs."""
        if self._child.running:
            return ""
        return f"the discount application ended: {self._child.last_words().splitlines()[-1:]}"


def _command(settings: Settings) -> tuple[str, ...]:
    """With every setting as a flag: neither environment nor file of the user's say anything else to it."""
    flags = []
    for name in Settings.model_fields:
        value = _OWN.get(name, getattr(settings, name))
        if name == "redis_url":  # the embedded server's, which has no password
            value = value.get_secret_value()
        elif isinstance(value, SecretStr):
            # Flags show in the process list, and this program needs none of them.
            value = "" if name != "snapshot_key" else DEVELOPMENT_KEY
        flags.append(f"--{name.replace('_', '-')}={value}")
    return (sys.executable, "-m", "stream_app", "discounts", "run", *flags)


def require_policy(settings: Settings) -> None:
    """Go on only if the policy can be used; else AskedWronglyError."""
    path = Path(settings.discount_policy)
    with refusing(PolicyError):
        read_policy(policy_text(path), where=str(path))


async def experiment(settings: Settings) -> dict[str, Any]:
    """What `stream-app discounts report --json` says of the newest experiment; else `problem`, why there is nothing."""
    try:
        async with asyncio.timeout(READ_S_MAX), aclosing(read_figures(settings)) as reading:
            async for figures in reading:
                for found in figures.current(within_ms=0):
                    told: dict[str, Any] = msgspec.to_builtins(report(found))
                    return told
    except (LogError, TimeoutError) as error:
        return {"problem": f"could not be read within {READ_S_MAX:g} s ({error or 'too much else to do'})"}
    return {"problem": "nobody was eligible: there are no offers while the model is cold"}
