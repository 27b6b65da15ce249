package bench;

import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/** The Kafka Streams contender: the same command line as the Python ones (contenders/contract.py). */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = read(arguments);
        CountDownLatch ended = new CountDownLatch(1);
        try (KafkaStreams streams = new KafkaStreams(topology(given), settings(given))) {
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                ended.countDown();
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
            streams.start();
            ended.await();
        }
        System.exit(1);
    }

    private static Map<String, String> read(String[] arguments) {
        Map<String, String> given = new HashMap<>();
        for (int n = 0; n < arguments.length; n++) {
            boolean flag = n + 1 == arguments.length || arguments[n + 1].startsWith("--");
            given.put(arguments[n].substring(2), flag ? "true" : arguments[++n]);
        }
        return given;
    }

    private static Topology topology(Map<String, String> given) {
        String prefix = given.get("prefix");
        boolean learn = given.containsKey("learn");
        Topology topology = new Topology();
        topology.addSource(
            "events", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(),
            prefix + "clickstream.events.v1");
        topology.addProcessor("score", () -> new EventScorer(model(given.get("model")), learn), "events");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(
                    Stores.persistentKeyValueStore(EventScorer.STORE), Serdes.String(), new SessionSerde())
                .withCachingEnabled()
                .withLoggingEnabled(Map.of()),
            "score");
        topology.addSink(
            EventScorer.FEATURES, prefix + "session.features.v1", Serdes.String().serializer(),
            Serdes.ByteArray().serializer(), "score");
        topology.addSink(
            EventScorer.SCORES, prefix + "intent.scores.v1", Serdes.String().serializer(),
            Serdes.ByteArray().serializer(), "score");
        return topology;
    }

    private static Model model(String path) {
        try {
            return new Model(path);
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    private static Properties settings(Map<String, String> given) {
        boolean quick = given.get("tuning").equals("latency");
        boolean exactlyOnce = given.get("guarantee").equals("exactly_once");
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("prefix") + "streams");
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("bootstrap"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("state-dir"));
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        // One for each core.
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(
            StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
            exactlyOnce ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        // The default of 10 MB for all stores would write each state through; a shop's open sessions fit into 64.
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L * 1024 * 1024);
        if (!exactlyOnce) {
            // Its default of 30 s is longer than a run: no state would reach the changelog while it is measured.
            settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 5_000);
        } else if (quick) {
            // Its default is 100 ms, which every reader of committed records waits for.
            settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 10);
        }
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "zstd");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), quick ? 0 : 100);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 4000);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 10_000);
        settings.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), given.get("instance"));
        return settings;
    }
}
