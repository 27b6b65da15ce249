"""The broker's group coordinator: members, generations, session time-outs, committed offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

Offsets = dict[TopicPartition, OffsetAndMetadata]


class Commit(NamedTuple):
    """Offsets that took effect; `overtaken` if the member had made a later commit that took effect before."""

    offsets: Offsets
    overtaken: bool = False


class Joined(NamedTuple):
    """What a member is told when a rebalance is over."""

    member_id: str
    generation: int
    assignment: tuple[TopicPartition, ...]


class Member:
    """One member; `joining` while it waits for the rebalance to end."""

    def __init__(self, member_id: str, instance: str | None, session_s: float, topics: list[str]) -> None:
        self.member_id, self.instance, self.session_s, self.topics = member_id, instance, session_s, topics
        self.joining: asyncio.Future[Joined] | None = None
        self.deadline = 0.0
        self.assignment: tuple[TopicPartition, ...] = ()
        #: of each partition the number of its latest commit that took effect
        self.committed: dict[TopicPartition, int] = {}


class Group:
    """One group. `partitions` tells a topic's partition count, `later` waits in world time."""

    def __init__(
        self,
        group_id: str,
        *,
        partitions: Callable[[str], int],
        later: Callable[[float, Callable[[], None]], None],
        now: Callable[[], float],
        member_id: Callable[[], str],
        note: Callable[[str], None],
    ) -> None:
        self.group_id = group_id
        self._partitions, self._later, self._now, self._new_member_id = partitions, later, now, member_id
        self._note = note
        self.members: dict[str, Member] = {}
        self.overtaking = False
        self.generation = 0
        self.rebalancing = False
        self._round = 0
        self.offsets: Offsets = {}
        #: in the order in which they took effect
        self.history: list[Commit] = []

    # ---- membership -------------------------------------------------------------------------------------------------

    def join(self, member_id: str, instance: str | None, session_s: float, topics: list[str]) -> asyncio.Future[Joined]:
        """JoinGroup and SyncGroup in one: answered when the rebalance is over."""
        answer: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
        if member_id and member_id not in self.members:
            raise UnknownMemberIdError
        static = next((m for m in self.members.values() if instance and m.instance == instance), None)
        if not member_id and static is not None:
            # A static member that was started again: the same partitions under a new member id.
            del self.members[static.member_id]
            static.member_id, static.committed = self._new_member_id(), {}
            self.members[static.member_id] = static
            if not self.rebalancing:
                self._watch(static)
                answer.set_result(Joined(static.member_id, self.generation, static.assignment))
                return answer
            member = static
        elif not member_id:
            member = Member(self._new_member_id(), instance, session_s, topics)
            self.members[member.member_id] = member
        else:
            member = self.members[member_id]
        if member.joining is not None and not member.joining.done():
            member.joining.cancel()
        member.joining = answer
        self._rebalance()
        return answer

    def heartbeat(self, member_id: str, generation: int) -> None:
        """Keeps the member alive; tells it of a rebalance."""
        self._watch(self._check(member_id, generation))
        if self.rebalancing:
            raise RebalanceInProgressError

    def leave(self, member_id: str) -> None:
        """Gone at once."""
        if self.members.pop(member_id, None) is not None:
            self._note(f"{member_id} leaves {self.group_id}")
            self._rebalance()

    def _check(self, member_id: str, generation: int) -> Member:
        member = self.members.get(member_id)
        if member is None:
            raise UnknownMemberIdError
        if generation != self.generation:
            raise IllegalGenerationError
        return member

    def _watch(self, member: Member) -> None:
        member.deadline = self._now() + member.session_s
        self._later(member.session_s, lambda: self._expire(member))

    def _expire(self, member: Member) -> None:
        if self.members.get(member.member_id) is not member or member.joining is not None:
            return
        if self._now() >= member.deadline - 1e-9:
            self._note(f"session of {member.member_id} in {self.group_id} has expired")
            self.leave(member.member_id)

    def _rebalance(self) -> None:
        if not self.rebalancing:
            self.rebalancing = True
            self._round += 1
            number = self._round
            limit = max((member.session_s for member in self.members.values()), default=0.0)
            self._later(limit, lambda: self._give_up(number))
        self._maybe_complete()

    def _give_up(self, number: int) -> None:
        """Whoever has not joined again by now is out."""
        if self.rebalancing and self._round == number:
            self.members = {name: member for name, member in self.members.items() if member.joining is not None}
            self._maybe_complete()

    def _maybe_complete(self) -> None:
        if any(member.joining is None for member in self.members.values()):
            return
        self.rebalancing = False
        self.generation += 1
        for member in self.members.values():
            member.assignment = ()
        for topic in sorted({topic for member in self.members.values() for topic in member.topics}):
            self._assign_range(topic)
        for member in self.members.values():
            answer, member.joining = member.joining, None
            assert answer is not None
            self._watch(member)
            if not answer.done():
                answer.set_result(Joined(member.member_id, self.generation, member.assignment))
        told = {name: [tuple(place) for place in member.assignment] for name, member in self.members.items()}
        self._note(f"group {self.group_id} generation {self.generation}: {told}")

    def _assign_range(self, topic: str) -> None:
        """As aiokafka's range assignor does."""
        members = sorted((m for m in self.members.values() if topic in m.topics), key=lambda m: m.member_id)
        each, extra = divmod(self._partitions(topic), len(members))
        start = 0
        for index, member in enumerate(members):
            count = each + (index < extra)
            member.assignment += tuple(TopicPartition(topic, p) for p in range(start, start + count))
            start += count

    # ---- offsets ----------------------------------------------------------------------------------------------------

    def commit(self, member_id: str, generation: int, offsets: Offsets, number: int) -> None:
        """OffsetCommit of a member: also while a rebalance is being prepared, not once it is over.

        `number` counts the member's commits. A broker knows none: with `overtaking` a request that was under way for
        long takes effect when it comes, whatever the member has committed meanwhile; without, it died with its
        connection.
        """
        member = self._check(member_id, generation)
        self._watch(member)
        overtaken = any(number < member.committed.get(place, 0) for place in offsets)
        if overtaken and not self.overtaking:
            return
        if overtaken:
            self._note(f"a late commit of {member_id} to {self.group_id} takes effect")
        member.committed.update({place: max(number, member.committed.get(place, 0)) for place in offsets})
        self.take(offsets, overtaken=overtaken)

    def take(self, offsets: Offsets, *, overtaken: bool = False) -> None:
        """Offsets take effect."""
        self.offsets.update(offsets)
        self.history.append(Commit(offsets, overtaken))

    def fetch(self, places: list[TopicPartition]) -> Offsets:
        """OffsetFetch, version 3: what has taken effect, whatever is pending."""
        return {place: self.offsets.get(place, OffsetAndMetadata(-1, "")) for place in places}
