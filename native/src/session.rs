//! The fold: `session.py`, line for line. Which session an event belongs to, what it does to it, and its raw numbers.

use std::sync::Arc;

use crate::config::Config;
use crate::json_read::Event;
use crate::state::{History, Item, LastScore, Mood, Pairs, Seen, Session, Visitor};

/// `session.Step` without the raw numbers; places are −1 where there is none.
pub struct Step {
    pub item: i64,
    pub category: i64,
    pub brand: i64,
    pub step: i64,
    pub transition: i64,
}

struct Here {
    price: f64,
    item_dwell: i64,
    item_seen: bool,
    same_item: bool,
    same_category: bool,
}

pub fn find_open(visitor: &Visitor, session_id: Option<&str>, event_time: i64, gap_ms: i64) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (place, session) in visitor.sessions.iter().enumerate() {
        if session.given_id.as_deref() != session_id {
            continue;
        }
        let fits = session.start - gap_ms <= event_time && event_time <= session.last + gap_ms;
        if fits && best.map_or(true, |best| session.last > visitor.sessions[best].last) {
            best = Some(place);
        }
    }
    best
}

pub fn must_split(config: &Config, session: &Session, event_time: i64) -> bool {
    session.events >= config.session_events_max || event_time - session.start > config.session_age_max
}

pub fn open_session(config: &Config, visitor: &mut Visitor, event: &Event, text: &str, visitor_id: &str) -> usize {
    let time = event.event_time;
    let given_id: Option<Arc<str>> = event.session_id.of(text).map(Arc::from);
    let base_id = given_id
        .clone()
        .unwrap_or_else(|| Arc::from(format!("{visitor_id}@{time}")));
    let part = 1 + visitor
        .history
        .parts
        .iter()
        .find(|(id, _)| *id == base_id)
        .map_or(0, |(_, part)| *part);
    let session_id = if part == 1 {
        base_id
    } else {
        Arc::from(format!("{base_id}~{part}"))
    };
    let device = event.device.of(text).map(str::to_ascii_lowercase);
    visitor.sessions.push(Session {
        session_id,
        given_id,
        part,
        start: time,
        last: time,
        source: event.source.of(text).map(Arc::from),
        country: event.country.of(text).map(Arc::from),
        mobile: matches!(device.as_deref(), Some("mobile" | "phone" | "smartphone" | "tablet")),
        events: 0,
        gap_last: 0,
        gap_sum: 0,
        gap_max: 0,
        gap_decayed: 0.0,
        purchases: 0,
        spend: 0.0,
        orders: Vec::new(),
        episode: 1,
        episode_start: time,
        episode_events: 0,
        group_counts: vec![0; config.groups],
        group_last: -1,
        items: Vec::new(),
        categories: Vec::new(),
        brands: Vec::new(),
        item_last: None,
        category_last: None,
        item_events: 0,
        item_repeats_max: 0,
        cart_time: 0,
        cart_count: 0,
        cart_value: 0.0,
        price_sum: 0.0,
        price_count: 0,
        price_min: 0.0,
        price_max: 0.0,
        steps: 0,
        touched: [0; 4],
        samples: Vec::new(),
        population: 0,
        transitions: Vec::new(),
        transitions_told: Vec::new(),
        mood: Mood::NONE,
        mood_at: None,
        quiet_told: 0,
        checkout_told: 0,
        brand_last: -1,
        scored: LastScore::None,
        category_before: None,
        bot: false,
        haste: 0,
        source_id: -2,
        country_id: -2,
    });
    visitor.sessions.len() - 1
}

pub fn remember_finished(config: &Config, history: &mut History, session: &Session) {
    history.sessions += 1;
    history.purchases += session.purchases;
    history.spend += session.spend;
    history.last_seen = history.last_seen.max(session.last);
    let mut base_id: Arc<str> = session.session_id.clone();
    if session.part > 1 {
        if let Some(base) = session.session_id.strip_suffix(&format!("~{}", session.part)) {
            base_id = Arc::from(base);
        }
    }
    history.parts.retain(|(id, _)| *id != base_id);
    while history.parts.len() >= config.parts_max {
        history.parts.remove(0);
    }
    history.parts.push((base_id, session.part));
}

pub fn order_of(order_id: Option<&str>, time: i64) -> String {
    match order_id {
        Some(id) if !id.is_empty() => format!("#{id}"),
        _ => format!("@{time}"),
    }
}

pub fn is_same_checkout(config: &Config, session: &Session, order_id: Option<&str>) -> bool {
    if session.purchases == 0 || session.episode_events > 0 || session.group_last != config.purchase as i64 {
        return false;
    }
    let order_id = order_id.unwrap_or("");
    if order_id.is_empty() || session.orders.last().is_some_and(|order| order.starts_with('@')) {
        return true;
    }
    let order = order_of(Some(order_id), 0);
    session.orders.iter().any(|known| **known == *order)
}

pub fn start_episode(config: &Config, session: &mut Session, event_time: i64) {
    session.episode += 1;
    session.episode_start = event_time;
    session.episode_events = 0;
    session.group_counts = vec![0; config.groups];
    session.items.clear();
    session.categories.clear();
    session.brands.clear();
    session.item_last = None;
    if let Some(category) = session.category_last.take() {
        session.category_before = Some(category);
    }
    session.brand_last = -1;
    session.item_events = 0;
    session.item_repeats_max = 0;
    session.cart_time = 0;
    session.cart_count = 0;
    session.cart_value = 0.0;
    session.price_sum = 0.0;
    session.price_min = 0.0;
    session.price_max = 0.0;
    session.price_count = 0;
    session.steps = 0;
    session.touched = [0; 4];
    session.transitions.clear();
    session.transitions_told.clear();
    session.samples.clear();
    session.population = 0;
}

/// The last of `kept` orders, and one more.
pub fn with_order(orders: &mut Vec<Arc<str>>, order: &str, kept: usize) {
    if orders.iter().any(|known| **known == *order) {
        return;
    }
    if orders.len() >= kept {
        orders.drain(..orders.len() + 1 - kept);
    }
    orders.push(Arc::from(order));
}

pub fn count_purchase(config: &Config, session: &mut Session, event: &Event, order: &str, same_checkout: bool) {
    if !same_checkout {
        session.purchases += 1;
    }
    with_order(&mut session.orders, order, config.orders_max);
    session.spend += event.price.unwrap_or(0.0) * event.quantity.unwrap_or(1.0);
}

/// Apply one event to its session, in place, and append the raw numbers of its features.
pub fn fold(
    config: &Config,
    session: &mut Session,
    history: &History,
    event: &Event,
    text: &str,
    group: usize,
    raw: &mut Vec<f64>,
) -> Step {
    let time = event.event_time;
    let gap = if session.events > 0 { time - session.last } else { 0 };
    let gap = if gap < 0 {
        0
    } else {
        session.last = session.last.max(time);
        gap
    };
    session.start = session.start.min(time);
    // Events of one moment are one.
    if gap > 0 || session.events == 0 {
        session.haste = (session.haste - gap).max(0) + config.haste_step_ms;
        session.bot |= session.haste > config.haste_ms_max;
    }
    session.events += 1;
    session.gap_last = gap;
    session.gap_sum += gap;
    session.gap_max = session.gap_max.max(gap);
    session.gap_decayed = config.gap_decay * session.gap_decayed + (1.0 - config.gap_decay) * gap as f64;

    let mut here = Here {
        price: event.price.unwrap_or(0.0),
        item_dwell: 0,
        item_seen: false,
        same_item: false,
        same_category: false,
    };
    let mut step = Step {
        item: -1,
        category: -1,
        brand: -1,
        step: 0,
        transition: -1,
    };
    if group != config.purchase {
        step.transition = see_transition(config, session, group);
        session.episode_events += 1;
        session.group_counts[group] += 1;
        if group != config.refund {
            see_names(config, session, event, text, &mut step, &mut here);
            see_money(config, session, event, group, here.price);
        }
    }
    session.group_last = group as i64;
    step.step = 2 * group as i64 + i64::from(here.same_item);
    session.steps |= 1 << step.step;
    write_raw(config, session, history, time, group, &here, raw);
    step
}

fn see_transition(config: &Config, session: &mut Session, group: usize) -> i64 {
    let before = if session.episode_events > 0 {
        session.group_last
    } else {
        config.groups as i64
    };
    let transition = before * config.groups as i64 + group as i64;
    match session.transitions.iter_mut().find(|(code, _)| *code == transition) {
        Some((_, times)) => *times = config.transition_times_max.min(*times + 1),
        None => session.transitions.push((transition, 1)),
    }
    transition
}

fn see_names(config: &Config, session: &mut Session, event: &Event, text: &str, step: &mut Step, here: &mut Here) {
    if let Some(item) = event.item_id.of(text).filter(|item| !item.is_empty()) {
        (step.item, here.item_seen, here.item_dwell) = see_item(config, session, item, event.event_time);
        here.same_item = session.item_last.as_deref() == Some(item);
        if !here.same_item {
            session.item_last = Some(Arc::from(item));
        }
    }
    if let Some(category) = event.category.of(text).filter(|category| !category.is_empty()) {
        step.category = see(config, &mut session.categories, category);
        here.same_category = session.category_last.as_deref() == Some(category);
        if !here.same_category {
            session.category_last = Some(Arc::from(category));
        }
    }
    if let Some(brand) = event.brand.of(text).filter(|brand| !brand.is_empty()) {
        step.brand = see(config, &mut session.brands, brand);
        if step.brand >= 0 {
            session.brand_last = step.brand;
        }
    }
}

fn see_money(config: &Config, session: &mut Session, event: &Event, group: usize, price: f64) {
    if group == config.cart {
        session.cart_time = event.event_time;
        session.cart_count += 1;
        session.cart_value += price * event.quantity.unwrap_or(1.0);
    } else if group == config.uncart && session.cart_count > 0 {
        session.cart_count -= 1;
        // Python's `max(0.0, x)`: 0.0 unless x is greater.
        let rest = session.cart_value - price;
        session.cart_value = if session.cart_count > 0 && rest > 0.0 {
            rest
        } else {
            0.0
        };
    }
    if price > 0.0 {
        if session.price_count == 0 {
            session.price_min = price;
            session.price_max = price;
        } else {
            session.price_min = session.price_min.min(price);
            session.price_max = session.price_max.max(price);
        }
        session.price_count += 1;
        session.price_sum += price;
    }
}

fn see_item(config: &Config, session: &mut Session, name: &str, time: i64) -> (i64, bool, i64) {
    session.item_events += 1;
    if let Some(place) = session.items.iter().position(|item| *item.name == *name) {
        let item = &mut session.items[place];
        item.times += 1;
        session.item_repeats_max = session.item_repeats_max.max(item.times);
        return (place as i64, true, (time - item.first).max(0));
    }
    if is_full(
        config,
        session.items.iter().map(|item| &*item.name),
        session.items.len(),
        name,
    ) {
        return (-1, false, 0);
    }
    session.items.push(Item {
        name: Arc::from(name),
        times: 1,
        first: time,
        id: -1,
    });
    session.item_repeats_max = session.item_repeats_max.max(1);
    (session.items.len() as i64 - 1, false, 0)
}

fn see(config: &Config, known: &mut Vec<Seen>, name: &str) -> i64 {
    if let Some(place) = known.iter().position(|seen| *seen.name == *name) {
        known[place].times += 1;
        return place as i64;
    }
    if is_full(config, known.iter().map(|seen| &*seen.name), known.len(), name) {
        return -1;
    }
    known.push(Seen {
        name: Arc::from(name),
        times: 1,
        id: -1,
    });
    known.len() as i64 - 1
}

fn is_full<'a>(config: &Config, names: impl Iterator<Item = &'a str> + Clone, count: usize, name: &str) -> bool {
    if count >= config.tracked_keys_max {
        return true;
    }
    // Bytes are at least as many as characters: those are only counted where it matters.
    let bytes = names.clone().map(str::len).sum::<usize>() + name.len();
    bytes > config.tracked_chars_max
        && names.map(|name| name.chars().count()).sum::<usize>() + name.chars().count() > config.tracked_chars_max
}

fn top_share(categories: &[Seen]) -> f64 {
    if categories.len() < 2 {
        return categories.len() as f64;
    }
    let top = categories.iter().map(|seen| seen.times).max().unwrap_or(0);
    top as f64 / categories.iter().map(|seen| seen.times).sum::<i64>() as f64
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn write_raw(
    config: &Config,
    s: &Session,
    history: &History,
    time: i64,
    group: usize,
    here: &Here,
    raw: &mut Vec<f64>,
) {
    let gaps = s.events - 1;
    let returning = history.last_seen > 0;
    let price = here.price;
    raw.extend([s.events as f64, s.episode_events as f64, s.purchases as f64]);
    raw.extend(s.group_counts[..config.purchase].iter().map(|&count| count as f64));
    raw.push(s.group_counts[config.refund] as f64);
    raw.extend([
        s.items.len() as f64,
        s.categories.len() as f64,
        s.brands.len() as f64,
        s.item_repeats_max as f64,
        seconds(s.last - s.start),
        seconds(s.gap_last),
        if gaps > 0 {
            s.gap_sum as f64 / gaps as f64 / 1000.0
        } else {
            0.0
        },
        seconds(s.gap_max),
        s.gap_decayed / 1000.0,
        if s.cart_count > 0 {
            seconds((time - s.cart_time).max(0))
        } else {
            0.0
        },
        seconds(here.item_dwell),
        history.sessions as f64,
        history.purchases as f64,
        history.spend,
        if returning {
            seconds((time - history.last_seen).max(0))
        } else {
            0.0
        },
        price,
        s.cart_value,
        if s.item_events > 0 {
            1.0 - s.items.len() as f64 / s.item_events as f64
        } else {
            0.0
        },
        top_share(&s.categories),
        f64::from(u8::from(s.cart_count > 0)),
        f64::from(u8::from(here.same_item)),
        f64::from(u8::from(here.same_category)),
        f64::from(u8::from(here.item_seen)),
        f64::from(u8::from(returning)),
        (history.purchases as f64 + config.rate_purchases) / (history.sessions as f64 + config.rate_sessions),
        if price > 0.0 && s.price_count > 0 {
            price.ln() - (s.price_sum / s.price_count as f64).ln()
        } else {
            0.0
        },
        if s.price_count > 1 {
            s.price_max.ln() - s.price_min.ln()
        } else {
            0.0
        },
        f64::from(u8::from(s.mobile)),
        group as f64,
        time as f64,
    ]);
}

/// With later pairs over earlier ones, as Python merges dicts: a known key stays in its place.
pub fn merged(before: &[(i64, i64)], after: &[(i64, i64)]) -> Pairs {
    let mut found = before.to_vec();
    for &(key, value) in after {
        match found.iter_mut().find(|(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => found.push((key, value)),
        }
    }
    found
}
