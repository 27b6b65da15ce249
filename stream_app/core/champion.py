"""Which model serves, since when, and why: the record of every change."""

from __future__ import annotations

from typing import Any, Final

import msgspec

#: Changes remembered: the head of every snapshot carries them.
CHANGES_MAX: Final = 20

#: Commands remembered as obeyed, by their ids.
_COMMANDS_MAX: Final = 20


class Change(msgspec.Struct, array_like=True):
    """One change: from one model to another, the same for a note on one. `time` is event time (ms), −1 unknown."""

    time: int
    updates: int
    former: str
    name: str
    pinned: bool
    reason: str


class Champion:
    """The champion's name. While `pinned`, by a person, it stays whatever the others do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pinned = False
        #: the newest `CHANGES_MAX`, oldest first, and how many there were
        self.changes: list[Change] = []
        self.changed = 0
        #: command → why it was refused, "" if it was obeyed
        self.commands: dict[str, str] = {}

    @property
    def former(self) -> str | None:
        """Whoever served before; None if nobody did."""
        return next((change.former for change in reversed(self.changes) if change.former != change.name), None)

    def change(self, name: str, reason: str, *, time: int, updates: int) -> None:
        """Crown a model, or the same once more."""
        self._record(Change(time, updates, self.name, name, self.pinned, reason))
        self.name = name

    def note(self, name: str, text: str, *, time: int, updates: int) -> None:
        """Record what happened to a model that does not serve."""
        self._record(Change(time, updates, name, name, self.pinned, text))

    def obey(self, command: str, refused: str | None) -> None:
        """Remember what became of a command."""
        if command:
            self.commands[command] = refused or ""
            for old in list(self.commands)[:-_COMMANDS_MAX]:
                del self.commands[old]

    def export(self) -> dict[str, Any]:
        """Plain values to continue from."""
        return {
            "pinned": self.pinned,
            "changed": self.changed,
            "changes": [msgspec.to_builtins(change) for change in self.changes],
            "commands": dict(self.commands),
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from an `export`; raises ValueError, KeyError or TypeError if it is none."""
        changes = [msgspec.convert(change, Change) for change in values["changes"]]
        commands = msgspec.convert(values["commands"], dict[str, str])
        self.pinned, self.changed = bool(values["pinned"]), int(values["changed"])
        self.changes, self.commands = changes, commands

    def _record(self, change: Change) -> None:
        self.changes = [*self.changes, change][-CHANGES_MAX:]
        self.changed += 1
