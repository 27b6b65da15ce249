// Scores and offers, read by kafkajs: only what was committed, each once, none lost.
import { readFileSync } from 'node:fs';
import { decompress as unzstd } from 'fzstd';
import kafkajs from 'kafkajs';
import { decompressFrame as unlz4 } from 'lz4-napi';

const { Kafka, CompressionCodecs, CompressionTypes, logLevel } = kafkajs;

// THE trap: our batches are compressed with zstd or LZ4, and kafkajs brings neither; without these two lines it ends at
// the first record. Not every package will do: lz4js misreads the block checksums that other clients write.
CompressionCodecs[CompressionTypes.ZSTD] = () => ({ decompress: async (batch) => Buffer.from(unzstd(batch)) });
CompressionCodecs[CompressionTypes.LZ4] = () => ({ decompress: unlz4 });

const prefix = process.env.STREAM_APP_TOPIC_PREFIX ?? '';
// The field that names a record; a repetition has the same.
const id = { [`${prefix}intent.scores.v1`]: 'event_id', [`${prefix}discount.offers.v1`]: 'offer_id' };

// The newest ids: a repetition follows a crash, a batch or two later. They are gone after a restart: what must never
// happen twice has to be idempotent beyond this.
const remembered = 100_000;
const seen = new Set();

// Yours. Take the fields you know: more will be added (docs/records.md). What it throws at is tried again.
async function act(topic, record) {
  console.log(JSON.stringify({ topic, id: record[id[topic]], visitor_id: record.visitor_id }));
}

// A secured Kafka (docs/security.md) knows us by name, and we know it by its certificate. In the clear there is no user.
const { STREAM_APP_KAFKA_CA_FILE: ca, STREAM_APP_KAFKA_USERNAME: username, STREAM_APP_KAFKA_PASSWORD: password } = process.env;
const secured = username && { ssl: ca ? { ca: [readFileSync(ca)] } : true, sasl: { mechanism: 'scram-sha-512', username, password } };

const kafka = new Kafka({
  ...secured,
  brokers: (process.env.STREAM_APP_KAFKA_BOOTSTRAP ?? 'localhost:9092').split(','),
  logLevel: logLevel.ERROR,
});
// `readUncommitted` is false unless set: records of transactions that were given up do not come.
const consumer = kafka.consumer({ groupId: process.env.GROUP ?? 'example-nodejs' });
// An error that no new attempt can mend: end, and be started again, instead of living on idle.
consumer.on(consumer.events.CRASH, ({ payload }) => { if (!payload.restart) process.exit(1); });
for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => consumer.disconnect().then(() => process.exit(0)));

await consumer.connect();
await consumer.subscribe({ topics: Object.keys(id), fromBeginning: true });
await consumer.run({
  // What this has returned from is committed, after the batch: what a crash leaves undone is read again.
  eachMessage: async ({ topic, message }) => {
    const record = JSON.parse(message.value.toString());
    const name = JSON.stringify([topic, record.visitor_id, record[id[topic]]]);
    if (seen.has(name)) return;
    await act(topic, record);
    seen.add(name); // only now: after an error kafkajs hands the whole batch over again
    if (seen.size > remembered) seen.delete(seen.values().next().value);
  },
});
