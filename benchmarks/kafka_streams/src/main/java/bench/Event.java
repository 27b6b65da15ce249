package bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;

/** What of a canonical event the features need. */
@JsonIgnoreProperties(ignoreUnknown = true)
public final class Event {
    @JsonProperty("event_id") public String eventId;
    @JsonProperty("event_type") public String eventType;
    @JsonProperty("event_time") public long eventTime;
    @JsonProperty("visitor_id") public String visitorId;
    @JsonProperty("session_id") public String sessionId;
    @JsonProperty("item_id") public String itemId;
    @JsonProperty("category") public String category;
    @JsonProperty("price") public Double price;
    @JsonProperty("quantity") public Double quantity;
}
