//! One batch, folded: `batch.py`. Every event on its visitor's state, every session that is over closed.
//!
//! What a checkout label has to do with is left to Python: visitors that were told of one in this batch, and those with
//! a told checkout waiting. They are a few in a hundred, and every such rule is written once.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyList, PyString};
use rustc_hash::FxHashMap;

use crate::config::{Config, Pages};
use crate::events::{Batch, Events};
use crate::keys::{KeyRow, KeysBatch, Names, Range};
use crate::moments::Waiting;
use crate::outcomes;
use crate::session::{self, Step};
use crate::state::{read_visitor, Mood, Pairs, Sample, Session, Taught, Told, Visitor};

pub const BY_EVENT: i64 = 1;
pub const BY_CLOCK: i64 = 2;
pub const SESSION_END: i64 = 0;
pub const PURCHASE: i64 = 1;

/// A scored event.
pub struct Row {
    pub event: u32,
    pub visitor: u32,
    pub session_id: Arc<str>,
    pub events: i64,
    pub late: bool,
    pub watermark: i64,
    pub rank: i64,
    pub item: i64,
    pub category: i64,
    pub brand: i64,
    pub step: i64,
    pub items: i64,
    pub categories: i64,
    pub brands: i64,
    pub steps: i64,
    pub transition: i64,
    /// place of its session's among the batch's moods
    pub mood: u32,
    /// last touched in the episode by then
    pub item_last: Option<Arc<str>>,
    pub category_last: Option<Arc<str>>,
    pub brand_last: Option<Arc<str>>,
    /// a checkout began with it
    pub bought: bool,
    /// its session was known to be a bot's by then
    pub bot: bool,
}

/// Where in the stream something ended, see `emission.Ending`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ending {
    pub kind: i64,
    pub place: i64,
    pub next_offset: i64,
}

/// An outcome that is to be told: `emission.Resolved`.
pub struct Resolved {
    pub trigger: (i64, i64),
    pub visitor: u32,
    pub taught: usize,
    pub events_offset: i64,
}

pub struct Closed {
    pub visitor: u32,
    pub session_id: Arc<str>,
    pub start: i64,
    pub last: i64,
    pub events: i64,
    pub purchases: i64,
    pub spend: f64,
    pub source: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    pub bound: bool,
    pub bot: bool,
    pub ending: Ending,
    pub labels_offset: i64,
    pub category: Option<Arc<str>>,
}

/// How an event fared, by `(type, outcome)`.
pub const OUTCOMES: [&str; 4] = ["scored", "late", "duplicate", "replayed"];

pub enum Slot {
    /// not looked at yet
    Unread,
    Here(Box<Visitor>),
    /// Python folds it
    Left,
}

/// Positions and clocks that hold for a whole batch.
pub struct Frame {
    pub watermark_before: i64,
    pub events_offset_before: i64,
    pub events_offset: i64,
}

pub struct Fold<'a> {
    pub config: &'a Config,
    pub frame: Frame,
    pub batch: Arc<Batch>,
    pub watermarks: Arc<Vec<i64>>,
    /// Python's names of the visitors: those of the events, then those that were only due
    pub names: Vec<Py<PyString>>,
    pub ids: Vec<Arc<str>>,
    pub slots: Vec<Slot>,
    pub rows: Vec<Row>,
    pub raw: Vec<f64>,
    pub key_rows: Vec<KeyRow>,
    pub flat: Vec<i32>,
    pub known: Names,
    pub moods: Vec<Mood>,
    pub waiting: Vec<Waiting>,
    pub taught: Vec<Taught>,
    pub resolved: Vec<Resolved>,
    pub closed: Vec<Closed>,
    pub counts: Vec<[usize; OUTCOMES.len()]>,
    pub opened: usize,
    pub changed: Vec<u32>,
    pub is_changed: Vec<bool>,
    pub left_events: Vec<usize>,
}

impl<'a> Fold<'a> {
    /// `ids` are the visitors' names too, as `names` has them.
    pub fn new(
        config: &'a Config,
        events: &Events,
        frame: Frame,
        names: &Bound<'_, PyList>,
        ids: Vec<Arc<str>>,
    ) -> PyResult<Fold<'a>> {
        let found: Vec<Py<PyString>> = names.extract()?;
        let count = events.batch.events.len();
        Ok(Fold {
            config,
            frame,
            batch: events.batch.clone(),
            watermarks: events.watermarks.clone(),
            slots: (0..found.len()).map(|_| Slot::Unread).collect(),
            is_changed: vec![false; found.len()],
            names: found,
            ids,
            rows: Vec::with_capacity(count),
            raw: Vec::with_capacity(count * config.raw_count),
            key_rows: Vec::with_capacity(count),
            flat: Vec::with_capacity(count * 8),
            known: Names::default(),
            moods: Vec::new(),
            waiting: Vec::new(),
            taught: Vec::new(),
            resolved: Vec::new(),
            closed: Vec::new(),
            counts: vec![[0; OUTCOMES.len()]; config.event_types.len()],
            opened: 0,
            changed: Vec::new(),
            left_events: Vec::new(),
        })
    }

    /// Leave a visitor to Python.
    pub fn leave(&mut self, visitor: usize) {
        self.slots[visitor] = Slot::Left;
    }

    /// Fold everything; `blobs` are the visitors' by their places. No lock of Python's is held.
    pub fn run(&mut self, blobs: &[Option<PyBackedBytes>], pages: &mut Pages, due: &[u32], until: i64) -> PyResult<()> {
        for index in 0..self.batch.events.len() {
            let visitor = self.batch.visitor_of[index];
            match self.take(blobs, visitor) {
                None => self.left_events.push(index),
                Some(mut state) => {
                    let done = self.event(pages, index, visitor, &mut state);
                    self.slots[visitor as usize] = Slot::Here(state);
                    done?;
                }
            }
        }
        let mut asked = vec![false; self.slots.len()];
        let ending: Vec<u32> = due.iter().chain(&self.changed).copied().collect();
        for visitor in ending {
            if std::mem::replace(&mut asked[visitor as usize], true) {
                continue;
            }
            if let Some(mut state) = self.take(blobs, visitor) {
                let deadline = state.deadline(self.config.gap_ms, self.config.quiet_ms);
                if deadline.is_some_and(|deadline| deadline <= until) {
                    self.quiet(visitor, &mut state, until);
                    self.close_due(visitor, &mut state, until, self.batch.events.len(), None);
                }
                self.slots[visitor as usize] = Slot::Here(state);
            }
        }
        Ok(())
    }

    /// The visitor's state, out of its slot; None if it is Python's.
    fn take(&mut self, blobs: &[Option<PyBackedBytes>], visitor: u32) -> Option<Box<Visitor>> {
        let slot = &mut self.slots[visitor as usize];
        match std::mem::replace(slot, Slot::Left) {
            Slot::Here(state) => Some(state),
            Slot::Left => None,
            Slot::Unread => match &blobs[visitor as usize] {
                None => Some(Box::new(Visitor::new())),
                Some(blob) => read_visitor(blob, self.config.state_version).ok().map(Box::new),
            },
        }
    }

    pub fn change(&mut self, visitor: u32) {
        if !std::mem::replace(&mut self.is_changed[visitor as usize], true) {
            self.changed.push(visitor);
        }
    }

    fn event(&mut self, pages: &mut Pages, index: usize, visitor: u32, state: &mut Visitor) -> PyResult<()> {
        let batch = self.batch.clone();
        let (event, offset, text) = (&batch.events[index], batch.offsets[index], batch.text.as_str());
        let config = self.config;
        let (time, gap_ms, kind) = (event.event_time, config.gap_ms, event.event_type as usize);
        if offset <= state.events_offset {
            self.counts[kind][3] += 1;
            return Ok(());
        }
        let fingerprint = self.fingerprint(index);
        if state.recent.contains(&fingerprint) {
            self.counts[kind][2] += 1;
            return Ok(());
        }
        let watermark = self.watermarks[index];
        let here = Ending {
            kind: BY_EVENT,
            place: offset,
            next_offset: offset + 1,
        };
        let before = if index > 0 {
            self.watermarks[index - 1]
        } else {
            self.frame.watermark_before
        };
        let late = time + gap_ms <= before;
        self.counts[kind][usize::from(late)] += 1;
        self.quiet(visitor, state, before);
        self.close_due(visitor, state, watermark, index, Some(time));
        if !state.taught.is_empty() {
            self.forget(state, watermark);
        }
        if state.history.last_seen != 0 && time - state.history.last_seen > config.history_ttl_ms {
            state.history = crate::state::History::new();
        }
        let (place, bot) = self.session_for(visitor, state, index, here);
        state.sessions[place].bot |= bot;
        let group = match event.page_url.of(text) {
            Some(url) if kind == config.page_view && !url.is_empty() => pages.group(config, url)?,
            _ => config.group_of_type[kind],
        };
        let bought = group == config.purchase && self.purchase(visitor, state, place, index);
        let mood = self.mood_of(state, place);
        let Visitor { sessions, history, .. } = state;
        let current = &mut sessions[place];
        let step = session::fold(config, current, history, event, text, group, &mut self.raw);
        self.admit(index, visitor, current, &step, fingerprint, late, watermark);
        let over = current.last + gap_ms;
        if let Some(row) = self.rows.last_mut() {
            (row.mood, row.bought) = (mood, bought);
        }
        self.keep_score(state, place);
        state.events_offset = offset;
        if state.recent.len() >= config.recent_events_max {
            state.recent.drain(..state.recent.len() + 1 - config.recent_events_max);
        }
        state.recent.push(fingerprint);
        if over <= watermark {
            self.close(visitor, state, place, here, over, false);
        }
        self.change(visitor);
        Ok(())
    }

    fn fingerprint(&self, index: usize) -> i64 {
        let (event, text) = (&self.batch.events[index], self.batch.text.as_str());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(event.event_id.of(text).unwrap_or("").as_bytes());
        hasher.update(b"\0");
        hasher.update(self.config.event_types[event.event_type as usize].as_bytes());
        hasher.update(b"\0");
        let mut digits = Vec::with_capacity(20);
        crate::json_write::integer(&mut digits, event.event_time);
        hasher.update(&digits);
        hasher.update(b"\0");
        hasher.update(event.item_id.of(text).unwrap_or("None").as_bytes());
        i64::from(hasher.finalize())
    }

    /// The place of the session that the event belongs to, opened if need be; and whether the event makes it a bot's.
    fn session_for(&mut self, visitor: u32, state: &mut Visitor, index: usize, here: Ending) -> (usize, bool) {
        let batch = self.batch.clone();
        let (event, text) = (&batch.events[index], batch.text.as_str());
        let (config, time) = (self.config, event.event_time);
        let mut bot = event.bot;
        if let Some(place) = session::find_open(state, event.session_id.of(text), time, config.gap_ms) {
            if !session::must_split(config, &state.sessions[place], time) {
                return (place, bot);
            }
            bot = true;
            state.sessions[place].bot = true;
            self.close(visitor, state, place, here, time, true);
        }
        if state.sessions.len() >= config.open_sessions_max {
            let oldest = (0..state.sessions.len())
                .min_by(|&a, &b| {
                    let (a, b) = (&state.sessions[a], &state.sessions[b]);
                    (a.last, &a.session_id).cmp(&(b.last, &b.session_id))
                })
                .unwrap_or(0);
            self.close(visitor, state, oldest, here, time, true);
        }
        self.opened += 1;
        let id = self.ids[visitor as usize].clone();
        (session::open_session(config, state, event, text, &id), bot)
    }

    /// Whether it begins a checkout, and is not a further row of one.
    fn purchase(&mut self, visitor: u32, state: &mut Visitor, place: usize, index: usize) -> bool {
        let batch = self.batch.clone();
        let (event, text) = (&batch.events[index], batch.text.as_str());
        let (config, time) = (self.config, event.event_time);
        let order_id = event.order_id.of(text);
        let same = session::is_same_checkout(config, &state.sessions[place], order_id);
        let order = session::order_of(order_id, time);
        if same {
            self.add_row(state, place, &order);
        } else {
            let orders = vec![Arc::from(order.as_str())];
            let bought = outcomes::resolve(&mut state.sessions[place], 1, PURCHASE, time, orders);
            self.tell((BY_EVENT, batch.offsets[index]), visitor, state, bought);
            session::start_episode(config, &mut state.sessions[place], time);
        }
        session::count_purchase(config, &mut state.sessions[place], event, &order, same);
        !same
    }

    /// Note the event as a row, and offer it to its episode's reservoir.
    #[allow(clippy::too_many_arguments)]
    fn admit(
        &mut self,
        index: usize,
        visitor: u32,
        current: &mut Session,
        step: &Step,
        fingerprint: i64,
        late: bool,
        watermark: i64,
    ) {
        let batch = self.batch.clone();
        let (event, text) = (&batch.events[index], batch.text.as_str());
        let known = &mut self.known;
        let name_of = |place: i64, span: crate::json_read::Span, known: &mut Names| match span.of(text) {
            Some(name) if place >= 0 => known.index(name),
            _ => -1,
        };
        let key_row = KeyRow {
            item: name_of(step.item, event.item_id, known),
            category: name_of(step.category, event.category, known),
            brand: name_of(step.brand, event.brand, known),
            source: remembered(&mut current.source_id, current.source.as_deref(), known),
            country: remembered(&mut current.country_id, current.country.as_deref(), known),
            step: step.step as i32,
            transition: step.transition as i32,
            items: listed(
                &mut self.flat,
                current
                    .items
                    .iter_mut()
                    .map(|item| indexed(&mut item.id, &item.name, known)),
            ),
            categories: listed(
                &mut self.flat,
                current
                    .categories
                    .iter_mut()
                    .map(|seen| indexed(&mut seen.id, &seen.name, known)),
            ),
            brands: listed(
                &mut self.flat,
                current
                    .brands
                    .iter_mut()
                    .map(|seen| indexed(&mut seen.id, &seen.name, known)),
            ),
            transitions: listed(
                &mut self.flat,
                current
                    .transitions
                    .iter()
                    .flat_map(|&(code, times)| [code as i32, times as i32]),
            ),
        };
        self.key_rows.push(key_row);
        let rank = (fingerprint as u64).wrapping_mul(self.config.mix) as u32 as i64;
        let row = self.rows.len() as u32;
        self.rows.push(Row {
            event: index as u32,
            visitor,
            session_id: current.session_id.clone(),
            events: current.events,
            late,
            watermark,
            rank,
            item: step.item,
            category: step.category,
            brand: step.brand,
            step: step.step,
            items: current.items.len() as i64,
            categories: current.categories.len() as i64,
            brands: current.brands.len() as i64,
            steps: current.steps,
            transition: step.transition,
            mood: 0,
            item_last: current.item_last.clone(),
            category_last: current.category_last.clone(),
            brand_last: current.brand_last(),
            bought: false,
            bot: current.bot,
        });
        outcomes::admit(current, Sample::Row { row, rank }, self.config.reservoir_size);
    }

    // ---- outcomes ---------------------------------------------------------------------------------------------------

    fn tell(&mut self, trigger: (i64, i64), visitor: u32, state: &mut Visitor, taught: Option<Taught>) {
        let Some(taught) = taught else { return };
        let place = self.taught.len();
        self.resolved.push(Resolved {
            trigger,
            visitor,
            taught: place,
            events_offset: state.events_offset,
        });
        let names = taught.items.len().max(taught.categories.len()).max(taught.brands.len());
        if self.config.late_label_ms != 0 && names <= self.config.taught_keys_max {
            let kept = self.config.taught_max - 1;
            if state.taught.len() > kept {
                state.taught.drain(..state.taught.len() - kept);
            }
            state.taught.push(Told::Here(place));
        }
        self.taught.push(taught);
    }

    fn forget(&self, state: &mut Visitor, watermark: i64) {
        let kept_ms = self.config.gap_ms + self.config.late_label_ms;
        let taught = &self.taught;
        state.taught.retain(|told| {
            let last = match told {
                Told::Here(place) => taught[*place].last,
                Told::Stored { last, .. } => *last,
            };
            last + kept_ms > watermark
        });
    }

    /// `corrections.add_row`: a further row of the checkout that the session has just made.
    fn add_row(&mut self, state: &mut Visitor, place: usize, order: &str) {
        let current = &state.sessions[place];
        let Some(newest) = current.orders.last().cloned() else {
            return;
        };
        for n in (0..state.taught.len()).rev() {
            let here = match state.taught[n] {
                Told::Here(here) => here,
                Told::Stored { at, .. } => {
                    // It was read once when the visitor was: it can be read.
                    let Ok(taught) = crate::state::read_taught(&state.blob, at) else {
                        return;
                    };
                    if taught.source != PURCHASE || taught.session_id != current.session_id {
                        continue;
                    }
                    self.taught.push(taught);
                    state.taught[n] = Told::Here(self.taught.len() - 1);
                    self.taught.len() - 1
                }
            };
            let taught = &mut self.taught[here];
            if taught.source == PURCHASE && taught.session_id == current.session_id {
                if taught.orders.last() == Some(&newest) {
                    session::with_order(&mut taught.orders, order, self.config.orders_max);
                }
                return;
            }
        }
    }

    // ---- sessions that end ------------------------------------------------------------------------------------------

    fn close_due(&mut self, visitor: u32, state: &mut Visitor, watermark: i64, index: usize, event_time: Option<i64>) {
        let mut over: Vec<(i64, i64, i64, Arc<str>, Ending)> = Vec::new();
        for session in &state.sessions {
            let deadline = session.last + self.config.gap_ms;
            let ending = if deadline <= watermark {
                self.passed_at(deadline, index)
            } else if event_time.is_some_and(|time| deadline < time) {
                self.at(index)
            } else {
                continue;
            };
            over.push((ending.kind, ending.place, deadline, session.session_id.clone(), ending));
        }
        over.sort_by(|a, b| (a.0, a.1, a.2, &a.3).cmp(&(b.0, b.1, b.2, &b.3)));
        for (_, _, deadline, session_id, ending) in over {
            // The very session, whatever others are called.
            if let Some(place) = state
                .sessions
                .iter()
                .position(|session| Arc::ptr_eq(&session.session_id, &session_id))
            {
                self.close(visitor, state, place, ending, deadline, false);
            }
        }
    }

    fn passed_at(&self, deadline: i64, index: usize) -> Ending {
        if deadline <= self.frame.watermark_before {
            return Ending {
                kind: BY_CLOCK,
                place: deadline,
                next_offset: self.frame.events_offset_before,
            };
        }
        let place = self
            .watermarks
            .partition_point(|&watermark| watermark < deadline)
            .min(index);
        if place < self.batch.offsets.len() {
            return self.at(place);
        }
        Ending {
            kind: BY_CLOCK,
            place: deadline,
            next_offset: self.frame.events_offset,
        }
    }

    fn at(&self, index: usize) -> Ending {
        let offset = self.batch.offsets[index];
        Ending {
            kind: BY_EVENT,
            place: offset,
            next_offset: offset + 1,
        }
    }

    fn close(&mut self, visitor: u32, state: &mut Visitor, place: usize, ending: Ending, time: i64, bound: bool) {
        let mut current = state.sessions.remove(place);
        let orders = current.orders.clone();
        let rest = outcomes::resolve(&mut current, 0, SESSION_END, time, orders);
        self.tell((ending.kind, ending.place), visitor, state, rest);
        session::remember_finished(self.config, &mut state.history, &current);
        self.closed.push(Closed {
            visitor,
            session_id: current.session_id,
            start: current.start,
            last: current.last,
            events: current.events,
            purchases: current.purchases,
            spend: current.spend,
            source: current.source,
            country: current.country,
            bound,
            bot: current.bot,
            ending,
            labels_offset: state.labels_offset,
            category: current.category_last.or(current.category_before),
        });
        self.change(visitor);
    }
}

/// A name's index, asked for once in a batch.
fn indexed(id: &mut i32, name: &str, known: &mut Names) -> i32 {
    if *id < 0 {
        *id = known.index(name);
    }
    *id
}

/// The same of a name that may be missing.
fn remembered(id: &mut i32, name: Option<&str>, known: &mut Names) -> i32 {
    if *id == -2 {
        *id = name.map_or(-1, |name| known.index(name));
    }
    *id
}

fn listed(flat: &mut Vec<i32>, values: impl Iterator<Item = i32>) -> Range {
    let start = flat.len();
    flat.extend(values);
    Range {
        start: start as u32,
        len: (flat.len() - start) as u32,
    }
}

/// What is left of a fold once it is done: everything that its records are written from.
pub struct Done {
    pub batch: Arc<Batch>,
    pub names: Vec<Py<PyString>>,
    pub ids: Vec<Arc<str>>,
    pub slots: Vec<Slot>,
    pub rows: Vec<Row>,
    pub raw: Vec<f64>,
    pub keys: Py<KeysBatch>,
    pub moods: Vec<Mood>,
    pub waiting: Vec<Waiting>,
    pub taught: Vec<Taught>,
    pub resolved: Vec<Resolved>,
    pub closed: Vec<Closed>,
    pub counts: Vec<[usize; OUTCOMES.len()]>,
    pub opened: usize,
    pub changed: Vec<u32>,
    pub left_events: Vec<usize>,
}

impl Fold<'_> {
    pub fn done(self, py: Python<'_>) -> PyResult<Done> {
        let keys = KeysBatch {
            names: self.known.names,
            rows: self.key_rows,
            flat: self.flat,
        };
        Ok(Done {
            batch: self.batch,
            names: self.names,
            ids: self.ids,
            slots: self.slots,
            rows: self.rows,
            raw: self.raw,
            keys: Py::new(py, keys)?,
            moods: self.moods,
            waiting: self.waiting,
            taught: self.taught,
            resolved: self.resolved,
            closed: self.closed,
            counts: self.counts,
            opened: self.opened,
            changed: self.changed,
            left_events: self.left_events,
        })
    }
}

/// Visitor's name → place.
pub fn places(ids: &[Arc<str>]) -> FxHashMap<Arc<str>, u32> {
    ids.iter()
        .enumerate()
        .map(|(place, id)| (id.clone(), place as u32))
        .collect()
}

/// Of transitions the fresh ones: more often than were told.
pub fn fresh(transitions: &Pairs, told: &Pairs) -> Vec<i64> {
    transitions
        .iter()
        .filter_map(|&(code, times)| {
            let before = told
                .iter()
                .find(|(known, _)| *known == code)
                .map_or(0, |(_, times)| *times);
            (times > before).then_some([code, times - before])
        })
        .flatten()
        .collect()
}
