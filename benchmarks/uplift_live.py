"""The reported uplift beside the true one, end to end: an open synthetic shop, real Kafka and Redis, all processes.

    python -m benchmarks.uplift_live [--experiments N] [--seed S] [--visits N] [--warm-up N] [--speed X]
        [--per-hour N] [--json]

`stream-app run` scores the shop's events as they happen and learns from its checkouts, `stream-app discounts` decides,
and the shop's visitors are offered what `discount.offers.v1` says, when it comes. Experiments follow each other as in a
shop's life: a policy file with another id and another salt, picked up while everything runs. Before the first one
`--warm-up` visits come, so that the model has something to go by. For everybody who was exposed, held out or not, the
shop tells at the moment at which it hears of it what the offer changes: the truth. In the end the policy is switched
off by its file, whoever is there leaves, and what `stream-app discounts report` prints is compared.

The policy is the default one, but half are held out and there is no budget. The shop's time runs `--speed` times as
fast as the wall's, so an offer that needs 200 ms comes 6 s late at 30.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from aiohttp import ClientError, ClientSession
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.rig.processes import REPOSITORY, Command, Group
from benchmarks.rig.servers import Servers
from producers.sink import KafkaSink
from producers.synthetic.offers import MARGIN
from producers.synthetic.reporting import Happening
from producers.synthetic.shop import Shop
from stream_app import topics
from stream_app.backends.child_process import free_port
from stream_app.core.events import CheckoutLabel, Event
from stream_app.discounts.core.figures import EXPERIMENTS_MAX
from stream_app.discounts.core.records import Exposure, Offer, decode
from stream_app.discounts.core.settling import AFTER_MS as _LET_GO_MS
from stream_app.discounts.core.settling import EXPERIMENTS_MAX as AT_ONCE_MAX
from stream_app.discounts.core.uplift import MEASURES
from stream_app.settings import Settings

_HOUR_MS: Final = 3_600_000

#: An exposed visitor's orders count for so long; a visit hardly lasts longer, and nobody returns sooner than in 45 min.
_WINDOW_MS: Final = _HOUR_MS // 2
#: Four minutes of the wall's time at the usual speed. Time is that of the events here, so whoever decides may be so far
#: behind them and decide all the same; what it writes later still is counted in nobody's favour.
_DELAY_MS: Final = 2 * _HOUR_MS

#: For the processes to be ready, and for the last outcome, in seconds.
_READY_S, _SETTLED_S = 60.0, 300.0

#: Things that happen between two looks at what was offered, at most.
_TOLD_MAX: Final = 200

#: What the default policy says, and what is said instead.
_CHANGES: Final = (
    ("holdout = 0.2", "holdout = 0.5"),
    ("per_hour = 100.0", "per_hour = 1e6"),
    ("per_day = 1000.0", "per_day = 1e6"),
)

#: Differences by measure, of one visitor.
Changes = tuple[float, float, float]


class Asked(NamedTuple):
    """What is to be run."""

    experiments: int
    seed: int
    visits: int
    warm_up: int
    speed: float
    per_hour: float

    @property
    def lasts_ms(self) -> int:
        """Of the shop's time, from its opening until all is over."""
        visits = self.warm_up + self.experiments * self.visits
        return round(_HOUR_MS * visits / self.per_hour) + 2 * _WINDOW_MS + _DELAY_MS


class OpenShop:
    """The shop while it is open: sends what happens, makes the offers that it is told of, and notes the truth."""

    def __init__(self, asked: Asked, settings: Settings, sink: KafkaSink) -> None:
        self._settings, self._sink, self.speed = settings, sink, asked.speed
        # Its events are never ahead of the broker's clock.
        self.start_ms = int(time.time() * 1000) - asked.lasts_ms - 4 * _HOUR_MS
        self._shop = Shop(seed=asked.seed, start_ms=self.start_ms, sessions_per_hour=asked.per_hour)
        self._happenings = self._shop.happenings()
        self._begun = time.monotonic()
        #: experiment → visitor → what its offer changes; of those who were exposed
        self.truths: dict[str, dict[str, Changes]] = defaultdict(dict)
        #: experiment → its exposures
        self.exposed: dict[str, list[Exposure]] = defaultdict(list)
        #: experiment → offers that found nobody there any more
        self.missed: dict[str, int] = defaultdict(int)
        #: experiment → by exposure, how long after the visitor's newest event it is heard of, in s of the shop's time
        self.heard_s: dict[str, list[float]] = defaultdict(list)
        self.offers = self.events = 0
        self._visits: set[int] = set()

    @property
    def visits(self) -> int:
        """Visits that have begun."""
        return len(self._visits)

    def now_ms(self) -> int:
        """The shop's time."""
        return self.start_ms + round(1000.0 * self.speed * (time.monotonic() - self._begun))

    async def open_for(self, ms: float, consumer: AIOKafkaConsumer) -> None:
        """Be open for so long."""
        until_ms = self.now_ms() + round(ms)
        while (now := self.now_ms()) < until_ms:
            told = 0
            while told < _TOLD_MAX and self._shop.next_ms() <= now:
                await self._tell(next(self._happenings))
                told += 1
            found = await consumer.getmany(timeout_ms=0 if told == _TOLD_MAX else 5)
            for place, records in found.items():
                for record in records:
                    self._read(place.topic, record.value)

    async def close(self) -> None:
        """Somebody looks in hours later, on every partition, so that every window is seen to be over."""
        later = self.now_ms() + 3 * _HOUR_MS
        for number in range(200):
            name = f"later-{number}"
            await self._sink.send_event(Event(name, "page_view", later, name))
        await self._sink.flush()

    async def _tell(self, happening: Happening) -> None:
        event = happening.event
        self.events += 1
        self._visits.add(hash(event.session_id))
        await self._sink.send_event(event)
        if happening.percent and event.order_id is not None:
            assert isinstance(event.event_time, int)
            label = CheckoutLabel(event.visitor_id, event.order_id, event.event_time, value=event.price)
            label.discount_percent = happening.percent
            await self._sink.send_label(label)

    def _read(self, topic: str, value: bytes | None) -> None:
        if topic == self._settings.topic(topics.OFFERS):
            self.offers += isinstance(decode(Offer, value), Offer)
            return
        exposure = decode(Exposure, value)
        assert isinstance(exposure, Exposure)
        self.exposed[exposure.experiment].append(exposure)
        ((percent, _),) = exposure.levels
        # Nothing of the shop that is told yet lies behind this.
        now = min(max(self.now_ms(), self._shop.now_ms), self._shop.next_ms() - 1)
        self.heard_s[exposure.experiment].append((now - exposure.event_time) / 1000.0)
        self.truths[exposure.experiment].setdefault(
            exposure.visitor_id, self._changes(exposure.visitor_id, percent, now)
        )
        if exposure.percent > 0.0:
            nobody = self._shop.offer(exposure.visitor_id, exposure.percent, now) is None
            self.missed[exposure.experiment] += nobody

    def _changes(self, visitor: str, percent: float, now: int) -> Changes:
        standing = self._shop.standing(visitor, now)
        if standing is None or not standing.here:
            return 0.0, 0.0, 0.0
        effect, off = standing.effect(percent), percent / 100.0
        before, after = effect.without, effect.with_offer
        price = self._shop.price_if_bought(visitor) if before > 0.0 else 0.0
        return (
            after - before,
            price * (after * (1.0 - off) - before),
            price * (after * (MARGIN - off) - before * MARGIN),
        )


async def run(servers: Servers, asked: Asked) -> list[dict[str, Any]]:
    """All experiments; a row for each, and one for all together."""
    prefix = f"uplift-{asked.seed}."
    await servers.create(prefix)
    policy = servers.directory / "policy.toml"
    put(policy, "warm-up", enabled=False)
    settings = servers.settings(
        prefix,
        group_id=f"uplift-{asked.seed}",
        discount_policy=str(policy),
        discount_clock="events",
        discount_window_ms=_WINDOW_MS,
        discount_delay_ms=_DELAY_MS,
        quiet_ms=20_000,
        grace_ms=1_000,
    )
    ports = [free_port(), free_port()]
    group = Group(commands(settings, ports), servers.log)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed",
        enable_auto_commit=False, fetch_max_wait_ms=20,
    )  # fmt: skip
    try:
        async with consumer, KafkaSink(servers.bootstrap, topic_prefix=prefix) as sink:
            wanted = [settings.topic(name) for name in (topics.EXPOSURES, topics.OFFERS)]
            consumer.assign([TopicPartition(name, n) for name in wanted for n in range(settings.topic_partitions)])
            await ready(group, ports)
            shop = OpenShop(asked, settings, sink)
            began = time.monotonic()
            told = await experiments(shop, asked, consumer, policy, group)
            told["events_per_s"] = shop.events / (time.monotonic() - began)
            await shop.close()
            reports = await settled(settings, shop, group, ports[1])
            group.check()
        return [row(name, shop, reports[name]) for name in shop.exposed] + [told | totals(shop, told["visits"])]
    finally:
        group.stop()
        servers.forget(prefix)


async def experiments(
    shop: OpenShop, asked: Asked, consumer: AIOKafkaConsumer, policy: Path, group: Group
) -> dict[str, Any]:
    """Let them follow each other, and everybody leave; how many visits began while they lasted."""
    await shop.open_for(_HOUR_MS * asked.warm_up / asked.per_hour, consumer)
    before = shop.visits
    for number in range(asked.experiments):
        put(policy, f"live-{asked.seed + number}", enabled=True)
        await shop.open_for(_HOUR_MS * asked.visits / asked.per_hour, consumer)
        group.check()
        said = f"{number + 1} of {asked.experiments} experiments, {shop.events:,} events, {shop.offers:,} offers"
        print(said, file=sys.stderr, flush=True)
    visits = shop.visits - before
    put(policy, "over", enabled=False)
    await shop.open_for(_WINDOW_MS, consumer)
    return {"visits": visits}


async def ready(group: Group, ports: Sequence[int]) -> None:
    """Wait until both processes say that they are."""
    begun = time.monotonic()
    async with ClientSession() as web:
        for port in ports:
            while time.monotonic() - begun < _READY_S:
                group.check()
                with contextlib.suppress(ClientError, OSError):
                    async with web.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.2)
            else:
                raise SystemExit(f"not ready after {_READY_S:.0f} s\n{group.said()}")


async def settled(settings: Settings, shop: OpenShop, group: Group, port: int) -> dict[str, Any]:
    """What `stream-app discounts report` says of each experiment, once every exposed visitor has its outcome."""
    begun = time.monotonic()
    units = {name: len(truths) for name, truths in shop.truths.items()}
    counts: dict[str, int] = {}
    while time.monotonic() - begun < _SETTLED_S:
        group.check()
        reports = await asyncio.to_thread(report, settings)
        counts = {name: sum(arm["settled"] for arm in told["arms"].values()) for name, told in reports.items()}
        if counts == units:
            return reports
        await asyncio.sleep(1.0)
    wrong = {name: (units.get(name), counts.get(name)) for name in units | counts}
    late = await not_used(port, "exposures_late")
    raise SystemExit(
        f"exposed and settled: {[each for each in wrong.items() if len(set(each[1])) > 1]}, of which {late:,.0f} came "
        f"more than {_DELAY_MS / shop.speed / 1000.0:.0f} s late: a lower --per-hour lets this machine keep up\n"
        f"{group.said()}"
    )


async def not_used(port: int, what: str) -> float:
    """How much of it the measuring process says that it could not use."""
    async with ClientSession() as web, web.get(f"http://127.0.0.1:{port}/metrics") as answer:
        (line,) = (
            line
            for line in (await answer.text()).splitlines()
            if line.startswith(f'intent_measuring_not_used{{what="{what}"}}')
        )
    return float(line.rpartition(" ")[2])


def report(settings: Settings) -> dict[str, Any]:
    """By experiment, what the command prints."""
    asked = (sys.executable, "-m", "stream_app", "discounts", "report", "--json")
    done = subprocess.run(asked, env=environment(settings), cwd=REPOSITORY, capture_output=True, check=True)
    return {told["experiment"]: told for told in map(json.loads, done.stdout.splitlines())}


def row(name: str, shop: OpenShop, told: Mapping[str, Any]) -> dict[str, Any]:
    """Truth, estimate and intervals, by measure."""
    exposed, truths, heard = shop.exposed[name], shop.truths[name], shop.heard_s[name]
    if len(exposed) != len({each.exposure_id for each in exposed}):
        raise SystemExit(f"{name}: {len(exposed)} exposures, of which some are of the same session")
    found: dict[str, Any] = {
        "experiment": name,
        "exposed": len(truths),
        "offers": sum(each.percent > 0.0 for each in exposed),
        "missed": shop.missed[name],
        "heard_s": {"p50": float(np.median(heard)), "p99": float(np.quantile(heard, 0.99))},
        "held_out_buyers": told["arms"]["holdout"]["converted"],
        "p_value": told["sample_ratio"] and told["sample_ratio"]["p_value"],
    }
    for place, measure in enumerate(MEASURES):
        of = told["differences"][measure]
        truth = sum(changes[place] for changes in truths.values()) / len(truths)
        found[measure] = {"truth": truth, "estimate": of["value"]} | {
            kind: of[kind] and {"interval": of[kind], "right": of[kind][0] <= truth <= of[kind][1]}
            for kind in ("sequential", "fixed")
        }
    return found


def totals(shop: OpenShop, visits: int) -> dict[str, Any]:
    """What the policy truly changes if it holds out nobody, per 1,000 visits: the mean over both arms."""
    changes = [each for truths in shop.truths.values() for each in truths.values()]
    offered = sum(each.percent > 0.0 for exposed in shop.exposed.values() for each in exposed)
    if shop.offers != offered:
        raise SystemExit(f"{offered} exposures were treated, but there are {shop.offers} offers")
    gains = {measure: 1000.0 * sum(each[place] for each in changes) / visits for place, measure in enumerate(MEASURES)}
    return {"offers": shop.offers, "missed": sum(shop.missed.values()), "exposed": len(changes), "per_1000": gains}


def put(policy: Path, name: str, *, enabled: bool) -> None:
    """Write the policy file of an experiment."""
    text = resources.files("stream_app.discounts").joinpath("default_policy.toml").read_text()
    own = (
        ('id = "first"', f'id = "{name}"'),
        ('salt = "change me"', f'salt = "of {name}"'),
        ("enabled = true ", f"enabled = {str(enabled).lower()} "),
    )
    for old, new in (*_CHANGES, *own):
        if text.count(old) != 1:
            raise SystemExit(f"the default policy has {old!r} {text.count(old)} times")
        text = text.replace(old, new)
    policy.write_text(text)


def environment(settings: Settings) -> dict[str, str]:
    """For our own processes: the settings that differ from the defaults."""
    told = {
        f"STREAM_APP_{name.upper()}": str(getattr(settings, name))
        for name in (
            "kafka_bootstrap", "topic_prefix", "group_id", "topic_partitions", "discount_policy", "discount_clock",
            "discount_window_ms", "discount_delay_ms", "quiet_ms", "grace_ms",
        )
    }  # fmt: skip
    return {**os.environ, **told, "STREAM_APP_REDIS_URL": settings.redis_url.get_secret_value()}


def commands(settings: Settings, ports: Sequence[int]) -> list[Command]:
    """The two processes, each with a web port."""
    return [
        Command(verb, (sys.executable, "-m", "stream_app", verb, "--web-port", str(port)), environment(settings))
        for verb, port in zip(("run", "discounts"), ports, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the shop, and of the first experiment's salt")
    parser.add_argument("--visits", type=int, default=20_000, help="of each experiment, in an average hour of the day")
    parser.add_argument("--warm-up", type=int, default=100_000, help="visits before the first one")
    parser.add_argument("--speed", type=float, default=30.0, help="of the shop's time against the wall's")
    parser.add_argument("--per-hour", type=float, default=100_000.0, help="visits in an hour of the shop's time")
    parser.add_argument("--json", action="store_true", help="one JSON object for each experiment, and one for all")
    asked = vars(parser.parse_args())
    if asked["experiments"] > EXPERIMENTS_MAX:
        parser.error(
            f"got --experiments {asked['experiments']}, expected at most {EXPERIMENTS_MAX}: a report has no more"
        )
    lasts_ms = _HOUR_MS * asked["visits"] / asked["per_hour"]
    at_once = (_WINDOW_MS + _DELAY_MS + _LET_GO_MS) / lasts_ms + 1
    if at_once > AT_ONCE_MAX:
        parser.error(
            f"got experiments of {lasts_ms / 60_000:.0f} minutes of the shop's time, of which {at_once:.0f} are not "
            f"settled at once, expected at most {AT_ONCE_MAX}: more --visits, or fewer --per-hour"
        )
    as_json = asked.pop("json")
    with Servers() as servers:
        rows = asyncio.run(run(servers, Asked(**asked)))
    if as_json:
        print("\n".join(map(json.dumps, rows)))
        return
    for told in rows[:-1]:
        print(_words(told))
    print(_summary(rows))


def _words(told: dict[str, Any]) -> str:
    said = [
        f"{told['experiment']}: {told['exposed']} exposed, {told['offers']} offers ({told['missed']} found nobody), "
        f"{told['held_out_buyers']} held-out buyers"
    ]
    for measure in MEASURES:
        of = told[measure]
        shown = "not enough yet" if not of["sequential"] else "{:+.4f} … {:+.4f}".format(*of["sequential"]["interval"])
        said.append(f"  {measure}: truth {of['truth']:+.4f}, reported {of['estimate']:+.4f}, 95 % {shown}")
    return "\n".join(said)


def _summary(rows: list[dict[str, Any]]) -> str:
    *experiments, told = rows
    said = [
        f"{len(experiments)} experiments, {told['visits']:,} visits at {told['events_per_s']:,.0f} events/s, "
        f"{told['offers']:,} offers ({told['missed']:,} found nobody)"
    ]
    for measure in MEASURES:
        for kind in ("sequential", "fixed"):
            right = [each[measure][kind]["right"] for each in experiments if each[measure][kind]]
            said.append(f"  {measure}, {kind}: {sum(right)} of {len(right)} hold the truth")
        said.append(f"  {measure}: {told['per_1000'][measure]:+.2f} for 1,000 visits, if nobody is held out")
    return "\n".join(said)


if __name__ == "__main__":
    main()
