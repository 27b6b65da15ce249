"""Scores and offers, read by Faust agents: only what was committed, each once, none lost."""

import json
import os
import sys
import tempfile

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver

BOOTSTRAP = os.environ.get("STREAM_APP_KAFKA_BOOTSTRAP", "localhost:9092")
PREFIX = os.environ.get("STREAM_APP_TOPIC_PREFIX", "")
OUT = sys.stdout  # the worker turns what is printed into warnings
REMEMBERED = 100_000  # a repetition follows a crash, a batch or two later: older ids may be forgotten


class Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport):
        # Faust's own reads what transactions gave up, too, and deals a visitor's scores and offers out to two members.
        self._assignor = RangePartitionAssignor
        return AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP, group_id=self.app.conf.id, isolation_level="read_committed",
            enable_auto_commit=False, auto_offset_reset="earliest",
            partition_assignment_strategy=[RangePartitionAssignor],
        )  # fmt: skip


class Transport(driver.Transport):
    class Consumer(driver.Consumer):
        def _new_consumer_thread(self):
            return Thread(self, loop=self.loop, beacon=self.beacon)


app = faust.App(
    os.environ.get("GROUP", "example-faust"),
    broker=[f"kafka://{host}" for host in BOOTSTRAP.split(",")],
    topic_allow_declare=False,  # else Faust creates topics that are missing, with a shape of its own
    web_enabled=False,  # else it answers on all interfaces
    datadir=tempfile.gettempdir(),  # no tables here: their recovery has open faults
)
app.transport = Transport(app.conf.broker_consumer, app)


def act(kind, name, record):
    """Yours. Take the fields you know: more will be added (docs/records.md). An exception ends the program."""
    print(json.dumps({"topic": PREFIX + kind, "id": name, "visitor_id": record["visitor_id"]}), file=OUT, flush=True)


def agent_for(kind, id_field):
    async def agent(stream):
        seen = {}  # gone after a restart: what must never happen twice has to be idempotent beyond this
        async for event in stream.noack().events():
            record = json.loads(event.value)
            name = record["visitor_id"], record[id_field]
            if name not in seen:
                try:
                    act(kind, name[1], record)
                except Exception as error:
                    # Left alone, the agent starts again after the record that it failed on, which is lost.
                    app.loop.call_later(10.0, os._exit, 1)  # Faust was seen to wait for its own consumer for ever
                    await app.crash(error)
                    raise
                seen[name] = None
                if len(seen) > REMEMBERED:
                    del seen[next(iter(seen))]
            event.ack()  # after the work: what a crash leaves undone is read again

    # As bytes: a value that a serializer cannot read would be passed over.
    return app.agent(app.topic(PREFIX + kind, key_serializer="raw", value_serializer="raw"), name=kind)(agent)


scores = agent_for("intent.scores.v1", "event_id")
offers = agent_for("discount.offers.v1", "offer_id")


if __name__ == "__main__":
    app.main()
