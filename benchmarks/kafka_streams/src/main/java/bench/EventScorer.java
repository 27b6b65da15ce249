package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.SerializableString;
import com.fasterxml.jackson.core.io.SerializedString;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** For each event: decode, fold the visitor's session, score, and forward a features and a score record as JSON. */
final class EventScorer implements Processor<String, byte[], String, byte[]> {
    static final String STORE = "sessions";
    static final String FEATURES = "features";
    static final String SCORES = "scores";

    private static final SerializableString[] NAMES = new SerializableString[Session.FEATURES.length];

    static {
        for (int n = 0; n < NAMES.length; n++) {
            NAMES[n] = new SerializedString(Session.FEATURES[n]);
        }
    }

    private final ObjectReader reader = new ObjectMapper().readerFor(Event.class);
    private final JsonFactory json = new JsonFactory();
    private final Model model;
    private final boolean learn;
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, Session> store;

    EventScorer(Model model, boolean learn) {
        this.model = model;
        this.learn = learn;
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        this.context = context;
        store = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        try {
            Event event = reader.readValue(record.value());
            Session before = store.get(record.key());
            if (learn && before != null) {
                Boolean bought = Session.outcome(before, event);
                if (bought != null) {
                    model.learn(before.features(), bought);
                }
            }
            Session session = Session.fold(before, event);
            double[] x = session.features();
            store.put(record.key(), session);
            context.forward(record.withValue(featuresRecord(event, session, x)), FEATURES);
            context.forward(record.withValue(scoreRecord(event, session, model.predict(x))), SCORES);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private byte[] featuresRecord(Event event, Session session, double[] x) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(1024);
        try (JsonGenerator out = begin(bytes, event, session)) {
            out.writeObjectFieldStart("features");
            for (int n = 0; n < x.length; n++) {
                out.writeFieldName(NAMES[n]);
                out.writeNumber(x[n]);
            }
            out.writeEndObject();
            out.writeEndObject();
        }
        return bytes.toByteArray();
    }

    private byte[] scoreRecord(Event event, Session session, double score) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
        try (JsonGenerator out = begin(bytes, event, session)) {
            out.writeNumberField("score", score);
            out.writeStringField("model", "lr");
            out.writeEndObject();
        }
        return bytes.toByteArray();
    }

    private JsonGenerator begin(ByteArrayOutputStream bytes, Event event, Session session) throws IOException {
        JsonGenerator out = json.createGenerator(bytes);
        out.writeStartObject();
        out.writeStringField("event_id", event.eventId);
        out.writeStringField("visitor_id", event.visitorId);
        out.writeStringField("session_id", session.sessionId);
        out.writeNumberField("event_time", event.eventTime);
        out.writeStringField("event_type", event.eventType);
        out.writeNumberField("events", session.events);
        return out;
    }
}
