"""The policy in force: read at the start, looked at every second, replaced by a good one, kept against a bad one."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final, NamedTuple

from stream_app.discounts.core.assignment import Assignment
from stream_app.discounts.core.policy import Policy
from stream_app.discounts.core.policy_file import PolicyError, read_policy
from stream_app.discounts.observe import DiscountObserver
from stream_app.discounts.policy_text import policy_text

#: Between two looks, in seconds: a kill switch is heeded after so long at most.
LOOK_S: Final = 1.0


class InForce(NamedTuple):
    """A policy, its version, and the arms that follow from it."""

    policy: Policy
    version: str
    assignment: Assignment


class PolicyWatch:
    """Holds the policy of a file, or the default one where there is no file.

    Raises PolicyError if the first one cannot be used.
    """

    def __init__(self, path: str, observer: DiscountObserver) -> None:
        self._path = Path(path) if path else None
        self._observer = observer
        # By content: a file that is copied anew is no new policy, and one saved twice within a second is.
        self._text = policy_text(self._path)
        self.current = self._in_force(self._text)
        #: why the newest file is not used; empty while it is
        self.problem = ""
        self._stopping = asyncio.Event()
        self._told(replaced=None)

    async def run(self) -> None:
        """Look until stopped."""
        while not self._stopping.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_S)

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    async def look(self) -> None:
        """Take the file over if it has changed and is good; say it once if it is not."""
        try:
            # In a thread: a file on a network drive that has died must not stop everything.
            text = await asyncio.to_thread(policy_text, self._path)
            if text == self._text:
                # Also when a bad one was taken back.
                self.problem = ""
                return
            before, self.current = self.current.version, self._in_force(text)
        except PolicyError as error:
            if str(error) != self.problem:
                self.problem = str(error)
                self._observer.policy_refused(self.problem, kept=self.current.version)
            return
        self._text, self.problem = text, ""
        self._told(replaced=before)

    def _told(self, *, replaced: str | None) -> None:
        version, enabled = self.current.version, self.current.policy.enabled
        self._observer.policy(version, enabled=enabled, replaced=replaced)

    def _in_force(self, text: str) -> InForce:
        policy = read_policy(text, where=str(self._path or "the default policy"))
        experiment = policy.experiment
        assignment = Assignment(experiment.id, experiment.salt, experiment.holdout)
        return InForce(policy, policy.version, assignment)
