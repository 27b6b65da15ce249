"""`server.properties` of a test's broker: small, quick to start, quick to notice that another one is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Node(NamedTuple):
    """Where one broker (and controller) listens; a `through` port of 0 means that clients come directly only."""

    id: int
    port: int
    controller_port: int
    #: a second listener, and the port of the proxy that leads to it: what its clients are told to connect to
    proxied_port: int = 0
    through: int = 0


def server_properties(
    node: Node, voters: Sequence[Node], log: Path, *, inter_broker_proxied: bool = False, more: Mapping[str, str] = {}
) -> str:
    """The file's text. Brokers of a cluster keep three copies where there are three of them; `more` has the last word.

    `inter_broker_proxied` sends what brokers tell each other and themselves, such as transaction markers, through the
    proxy.
    """
    listeners = {"PLAINTEXT": (node.port, node.port), "CONTROLLER": (node.controller_port, node.controller_port)}
    if node.through:
        listeners["PROXIED"] = (node.proxied_port, node.through)
    copies = str(len(voters))
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(f"{voter.id}@127.0.0.1:{voter.controller_port}" for voter in voters),
        "listeners": _addresses({name: port for name, (port, _) in listeners.items()}),
        "advertised.listeners": _addresses({name: told for name, (_, told) in listeners.items()}, but="CONTROLLER"),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
        "inter.broker.listener.name": "PROXIED" if inter_broker_proxied else "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(log),
        "auto.create.topics.enable": "false",
        # One broker can hold one copy; the defaults of three would leave groups and transactions waiting for ever.
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": str(len(voters) // 2 + 1),
        "min.insync.replicas": str(len(voters) // 2 + 1),
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": "1",
        # Fifty partitions each would cost seconds at the first group and the first transaction.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        # The cleaner's default buffer of 128 MB does not fit the small heap.
        "log.cleaner.dedupe.buffer.size": "16777216",
        # A killed broker is let back in only when its old session has run out: 3 s instead of 9.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Tests use short session time-outs to see a takeover soon; the broker's own floor is 6 s.
        "group.min.session.timeout.ms": "500",
        # Tests write records with times long past, and expect to read them.
        "log.retention.check.interval.ms": "86400000",
        **more,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _addresses(ports: Mapping[str, int], *, but: str = "") -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items() if name != but)
