package bench;

import java.util.LinkedHashMap;
import java.util.Map;

/** A visitor's session, its fold and the 25 features of docs/benchmarks.md; the twin of contenders/session.py. */
final class Session {
    static final long GAP_MS = 30 * 60 * 1000;
    static final int TRACKED_MAX = 64;
    static final double GAP_DECAY = 0.6;
    static final int KINDS = 9;
    static final int CART = 5;
    static final int UNCART = 6;

    static final String[] FEATURES = {
        "events", "n_page", "n_search", "n_list", "n_item", "n_interest", "n_cart", "n_uncart", "n_view_cart",
        "n_checkout", "items", "categories", "item_repeats", "age", "gap", "gap_mean", "gap_max", "gap_decayed",
        "has_cart", "cart_value", "price", "same_item", "item_seen", "earlier_sessions", "earlier_purchases",
    };

    private static final Map<String, Integer> KIND_OF = Map.ofEntries(
        Map.entry("page_view", 0), Map.entry("search", 1), Map.entry("view_item_list", 2),
        Map.entry("select_item", 2), Map.entry("view_item", 3), Map.entry("add_to_wishlist", 4),
        Map.entry("like", 4), Map.entry("share", 4), Map.entry("add_to_cart", CART),
        Map.entry("remove_from_cart", UNCART), Map.entry("view_cart", 7), Map.entry("begin_checkout", 8),
        Map.entry("add_shipping_info", 8), Map.entry("add_payment_info", 8));

    String sessionId;
    long start;
    long last;
    int events;
    int purchases;
    long gap;
    long gapSum;
    long gapMax;
    double gapDecayed;
    final int[] counts = new int[KINDS];
    final Map<String, Integer> items = new LinkedHashMap<>();
    final Map<String, Integer> categories = new LinkedHashMap<>();
    String itemLast;
    boolean sameItem;
    boolean itemSeen;
    double price;
    int cartCount;
    double cartValue;
    int earlierSessions;
    int earlierPurchases;

    /** Whether the event begins a session: another session id, or a pause of more than the gap. */
    static boolean isNew(Session before, Event event) {
        return before == null
            || event.eventTime - before.last > GAP_MS
            || event.sessionId != null && !event.sessionId.equals(before.sessionId);
    }

    private static Session begin(Event event, Session before) {
        Session session = new Session();
        session.sessionId = event.sessionId != null ? event.sessionId : event.visitorId + "-" + event.eventTime;
        session.start = session.last = event.eventTime;
        if (before != null) {
            session.earlierSessions = before.earlierSessions + 1;
            session.earlierPurchases = before.earlierPurchases + before.purchases;
        }
        return session;
    }

    /** The session after the event; the one given may be changed. */
    static Session fold(Session before, Event event) {
        Session session = isNew(before, event) ? begin(event, before) : before;
        session.add(event);
        return session;
    }

    private void add(Event event) {
        gap = Math.max(0, event.eventTime - last);
        last = Math.max(last, event.eventTime);
        events++;
        gapSum += gap;
        gapMax = Math.max(gapMax, gap);
        gapDecayed = GAP_DECAY * gapDecayed + (1.0 - GAP_DECAY) * gap;
        price = event.price == null ? 0.0 : event.price;
        if (event.eventType.equals("purchase")) {
            purchases++;
            cartCount = 0;
            cartValue = 0.0;
            return;
        }
        Integer kind = KIND_OF.get(event.eventType);
        if (kind == null) {
            return;
        }
        counts[kind]++;
        see(event.itemId, event.category);
        if (kind == CART) {
            cartCount++;
            cartValue += price * (event.quantity == null ? 1.0 : event.quantity);
        } else if (kind == UNCART && cartCount > 0) {
            cartCount--;
            cartValue = cartCount > 0 ? Math.max(0.0, cartValue - price) : 0.0;
        }
    }

    private void see(String item, String category) {
        sameItem = item != null && item.equals(itemLast);
        itemSeen = item != null && items.containsKey(item);
        if (item != null) {
            itemLast = item;
            count(items, item);
        }
        if (category != null) {
            count(categories, category);
        }
    }

    private static void count(Map<String, Integer> counts, String key) {
        if (counts.size() < TRACKED_MAX || counts.containsKey(key)) {
            counts.merge(key, 1, Integer::sum);
        }
    }

    /** The 25 features in the order of FEATURES. */
    double[] features() {
        double[] x = new double[FEATURES.length];
        int n = 0;
        x[n++] = Math.log1p(events);
        for (int count : counts) {
            x[n++] = Math.log1p(count);
        }
        int repeats = 0;
        for (int times : items.values()) {
            repeats = Math.max(repeats, times);
        }
        x[n++] = Math.log1p(items.size());
        x[n++] = Math.log1p(categories.size());
        x[n++] = Math.log1p(repeats);
        x[n++] = Math.log1p((last - start) / 1000.0);
        x[n++] = Math.log1p(gap / 1000.0);
        x[n++] = Math.log1p((double) gapSum / events / 1000.0);
        x[n++] = Math.log1p(gapMax / 1000.0);
        x[n++] = Math.log1p(gapDecayed / 1000.0);
        x[n++] = cartCount > 0 ? 1.0 : 0.0;
        x[n++] = Math.log1p(cartValue);
        x[n++] = Math.log1p(price);
        x[n++] = sameItem ? 1.0 : 0.0;
        x[n++] = itemSeen ? 1.0 : 0.0;
        x[n++] = Math.log1p(earlierSessions);
        x[n] = Math.log1p(earlierPurchases);
        return x;
    }

    /** What the event says of the session so far: bought, ended without, or (null) nothing yet. */
    static Boolean outcome(Session before, Event event) {
        if (before == null) {
            return null;
        }
        if (isNew(before, event)) {
            return before.purchases > 0 ? null : Boolean.FALSE;
        }
        return event.eventType.equals("purchase") ? Boolean.TRUE : null;
    }
}
