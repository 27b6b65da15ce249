//! What a folded batch comes to, as records and states: `emission.py`, byte for byte.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::batch::{fresh, Closed, Done, Resolved, Row, Slot};
use crate::config::Config;
use crate::events::deadline_of;
use crate::json_read::Event;
use crate::json_write as json;
use crate::keys::{KeyRow, KeysBatch};
use crate::msgpack as mp;
use crate::record_list::RecordList;
use crate::state::{read_sample, write_visitor, Mood, Rows, Sample, Taught, Visitor};

/// What the model said of each row.
pub struct Scores {
    /// fixed-point features, row by row
    pub fixed: Vec<i32>,
    /// the same as stored in a sample, and where each row's begin; one more for the end
    packed: Vec<u8>,
    packed_at: Vec<usize>,
    pub scores: Vec<f64>,
    bands: Vec<u8>,
    pub version: i64,
    pub cold: bool,
}

pub struct Said<'a> {
    pub name: &'a str,
    pub version: i64,
    pub updates: i64,
    pub cold: bool,
    pub fence: f64,
    pub likely: f64,
    pub now_ms: i64,
}

impl Scores {
    pub fn new(config: &Config, fixed: Vec<i32>, scores: Vec<f64>, said: &Said<'_>) -> Scores {
        let width = config.feature_heads.len();
        let bits = width.div_ceil(8);
        let mut packed = Vec::with_capacity(fixed.len() * 2);
        let mut packed_at = Vec::with_capacity(scores.len() + 1);
        for row in fixed.chunks_exact(width.max(1)) {
            packed_at.push(packed.len());
            let start = packed.len();
            packed.resize(start + bits, 0);
            for (n, value) in row.iter().enumerate() {
                if *value != 0 {
                    packed[start + n / 8] |= 0x80 >> (n % 8);
                    packed.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        packed_at.push(packed.len());
        let bands = scores
            .iter()
            .map(|&p| u8::from(p >= said.fence) + u8::from(p >= said.likely))
            .collect();
        Scores {
            fixed,
            packed,
            packed_at,
            scores,
            bands,
            version: said.version,
            cold: said.cold,
        }
    }

    pub fn band(&self, row: usize) -> u8 {
        self.bands[row]
    }

    fn packed(&self, row: usize) -> &[u8] {
        &self.packed[self.packed_at[row]..self.packed_at[row + 1]]
    }

    pub fn features(&self, config: &Config, row: usize) -> &[i32] {
        let width = config.feature_heads.len();
        &self.fixed[row * width..(row + 1) * width]
    }
}

/// A folded batch with its scores: what states and records are written from.
pub struct Writing<'a> {
    pub config: &'a Config,
    pub done: &'a Done,
    pub keys: &'a KeysBatch,
    pub scores: &'a Scores,
}

/// Of an event that Python has scored: its offset, its key, its feature and its score record.
pub type Other = (i64, Vec<u8>, Vec<u8>, Vec<u8>);

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, field: &str, value: i64) {
    name(out, field);
    json::integer(out, value);
}

fn flag(out: &mut Vec<u8>, field: &str, value: bool) {
    name(out, field);
    json::boolean(out, value);
}

/// Fields of an object whose defaults are left out; the comma before each is the caller's worry no more.
pub struct Sparse<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Sparse<'a> {
    pub fn open(out: &'a mut Vec<u8>) -> Sparse<'a> {
        out.push(b'{');
        Sparse { out, first: true }
    }

    pub fn field(&mut self, field: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(field.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub fn text(&mut self, field: &str, text: Option<&str>) {
        if let Some(text) = text {
            json::string(self.field(field), text);
        }
    }

    fn texts<'b>(&mut self, field: &str, count: usize, texts: impl Iterator<Item = &'b str>) {
        if count > 0 {
            json::strings(self.field(field), texts);
        }
    }

    fn number(&mut self, field: &str, value: i64, default: i64) {
        if value != default {
            json::integer(self.field(field), value);
        }
    }

    fn numbers(&mut self, field: &str, values: &[i64]) {
        if !values.is_empty() {
            json::integers(self.field(field), values.iter().copied());
        }
    }

    fn flag(&mut self, field: &str, value: bool) {
        if value {
            json::boolean(self.field(field), value);
        }
    }

    pub fn close(self) {
        self.out.push(b'}');
    }
}

pub fn features(out: &mut Vec<u8>, config: &Config, values: &[i32]) {
    for (head, &value) in config.feature_heads.iter().zip(values) {
        out.extend_from_slice(head);
        json::fixed(out, value);
    }
    out.push(b'}');
}

/// A sample as its example tells it.
struct Told<'a> {
    event_id: &'a str,
    event_type: usize,
    event_time: i64,
    events: i64,
    features: Vec<i32>,
    places: [i64; 3],
    known: [usize; 3],
    step: i64,
    transition: i64,
    transitions: Vec<i64>,
    score: f64,
    version: i64,
    cold: bool,
}

impl<'a> Writing<'a> {
    fn event(&self, row: &Row) -> &Event {
        &self.done.batch.events[row.event as usize]
    }

    fn text(&self) -> &str {
        &self.done.batch.text
    }

    fn head(&self, out: &mut Vec<u8>, row: &Row) {
        let event = self.event(row);
        out.extend_from_slice(b"{\"event_id\":");
        json::string(out, event.event_id.of(self.text()).unwrap_or(""));
        name(out, "visitor_id");
        json::string(out, &self.done.ids[row.visitor as usize]);
        name(out, "session_id");
        json::string(out, &row.session_id);
        number(out, "event_time", event.event_time);
        name(out, "event_type");
        json::string(out, &self.config.event_types[event.event_type as usize]);
        number(out, "events", row.events);
    }

    fn keys(&self, out: &mut Vec<u8>, row: &KeyRow) {
        let keys = self.keys;
        let transitions: Vec<i64> = keys
            .part(row.transitions)
            .iter()
            .map(|&value| i64::from(value))
            .collect();
        let mut fields = Sparse::open(out);
        fields.text("item", keys.name(row.item));
        fields.text("category", keys.name(row.category));
        fields.text("brand", keys.name(row.brand));
        fields.text("source", keys.name(row.source));
        fields.text("country", keys.name(row.country));
        fields.number("step", i64::from(row.step), -1);
        fields.texts("items", row.items.len as usize, keys.parts(row.items));
        fields.texts("categories", row.categories.len as usize, keys.parts(row.categories));
        fields.texts("brands", row.brands.len as usize, keys.parts(row.brands));
        fields.number("transition", i64::from(row.transition), -1);
        fields.numbers("transitions", &transitions);
        fields.close();
    }

    /// The feature and score records of all rows, and between them, by offset, those that Python has written.
    pub fn score_records(
        &self,
        said: &Said<'_>,
        reasons: &[Option<Vec<u8>>],
        others: &[Other],
    ) -> (RecordList, RecordList) {
        let count = self.done.rows.len() + others.len();
        let (mut feature_records, mut score_records) = (
            RecordList::with_capacity(count, 1536),
            RecordList::with_capacity(count, 384),
        );
        let (mut out, mut scored) = (Vec::with_capacity(2048), Vec::with_capacity(512));
        let mut waiting = others.iter().peekable();
        for (n, row) in self.done.rows.iter().enumerate() {
            let offset = self.done.batch.offsets[row.event as usize];
            while let Some(other) = waiting.next_if(|other| other.0 < offset) {
                feature_records.push(&other.1, &other.2);
                score_records.push(&other.1, &other.3);
            }
            out.clear();
            self.head(&mut out, row);
            scored.clear();
            scored.extend_from_slice(&out);
            name(&mut out, "features");
            features(&mut out, self.config, self.scores.features(self.config, n));
            name(&mut out, "keys");
            self.keys(&mut out, &self.keys.rows[n]);
            number(&mut out, "schema", self.config.feature_schema);
            out.push(b'}');
            self.score(&mut scored, n, row, said, reasons.get(n).and_then(Option::as_deref));
            let id = self.done.ids[row.visitor as usize].as_bytes();
            feature_records.push(id, &out);
            score_records.push(id, &scored);
        }
        for other in waiting {
            feature_records.push(&other.1, &other.2);
            score_records.push(&other.1, &other.3);
        }
        (feature_records, score_records)
    }

    fn score(&self, out: &mut Vec<u8>, n: usize, row: &Row, said: &Said<'_>, reasons: Option<&[u8]>) {
        name(out, "score");
        json::float(out, self.scores.scores[n]);
        name(out, "band");
        json::string(out, &self.config.bands[self.scores.bands[n] as usize]);
        name(out, "model");
        json::string(out, said.name);
        number(out, "model_version", said.version);
        number(out, "model_updates", said.updates);
        flag(out, "cold", said.cold);
        flag(out, "late", row.late);
        number(out, "scored_at", said.now_ms);
        number(out, "watermark", row.watermark);
        if let Some(reasons) = reasons {
            name(out, "reasons");
            out.extend_from_slice(reasons);
        }
        if row.bot {
            flag(out, "bot", true);
        }
        out.push(b'}');
    }

    pub fn band_counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        self.scores.bands.iter().for_each(|&band| counts[band as usize] += 1);
        counts
    }

    // ---- examples ---------------------------------------------------------------------------------------------------

    /// The examples of all outcomes, in an order and with ordinals that do not depend on where batches are cut.
    pub fn examples(&self, ordinal_bits: u32) -> PyResult<RecordList> {
        let mut ranked: Vec<(&Resolved, i64)> = self
            .done
            .resolved
            .iter()
            .map(|resolved| (resolved, self.rank(resolved)))
            .collect();
        ranked.sort_by(|(a, a_rank), (b, b_rank)| {
            let ids = &self.done.ids;
            (a.trigger, a_rank, &ids[a.visitor as usize]).cmp(&(b.trigger, b_rank, &ids[b.visitor as usize]))
        });
        let mut found = RecordList::default();
        let mut place = None;
        let mut n = 0;
        for (resolved, rank) in ranked {
            if place != Some((resolved.trigger, rank)) {
                place = Some((resolved.trigger, rank));
                n = 0;
            }
            n = self.examples_of(resolved, (rank << ordinal_bits) | n, &mut found)? & ((1 << ordinal_bits) - 1);
        }
        Ok(found)
    }

    pub fn rank(&self, resolved: &Resolved) -> i64 {
        i64::from(crc32fast::hash(self.done.ids[resolved.visitor as usize].as_bytes()))
    }

    /// Those of one outcome, appended; the ordinal after them.
    pub fn examples_of(&self, resolved: &Resolved, first: i64, found: &mut RecordList) -> PyResult<i64> {
        let Slot::Here(visitor) = &self.done.slots[resolved.visitor as usize] else {
            return Ok(first);
        };
        let taught = &self.done.taught[resolved.taught];
        let id = &self.done.ids[resolved.visitor as usize];
        let mut out = Vec::with_capacity(2048);
        let count = taught.samples.len();
        for (n, sample) in taught.samples.iter().enumerate() {
            let Some(told) = self.told(visitor, sample) else {
                return Err(pyo3::exceptions::PyRuntimeError::new_err(
                    "a stored sample cannot be read a second time",
                ));
            };
            out.clear();
            let left = (count - 1 - n) as i64;
            self.example(&mut out, id, taught, &told, resolved, first + n as i64, left);
            found.push(id.as_bytes(), &out);
        }
        Ok(first + count as i64)
    }

    fn told<'b>(&'b self, visitor: &'b Visitor, sample: &Sample) -> Option<Told<'b>> {
        match sample {
            Sample::Row { row, .. } => {
                let n = *row as usize;
                let row = &self.done.rows[n];
                let event = self.event(row);
                Some(Told {
                    event_id: event.event_id.of(self.text()).unwrap_or(""),
                    event_type: event.event_type as usize,
                    event_time: event.event_time,
                    events: row.events,
                    features: self.scores.features(self.config, n).to_vec(),
                    places: [row.item, row.category, row.brand],
                    known: [row.items as usize, row.categories as usize, row.brands as usize],
                    step: row.step,
                    transition: row.transition,
                    transitions: self.transitions(n),
                    score: self.scores.scores[n],
                    version: self.scores.version,
                    cold: self.scores.cold,
                })
            }
            Sample::Stored { at, .. } => {
                let stored = read_sample(&visitor.blob, *at).ok()?;
                Some(Told {
                    event_id: stored.event_id,
                    event_type: stored.event_type,
                    event_time: stored.event_time,
                    events: stored.events,
                    features: unpacked(self.config, stored.x)?,
                    places: [stored.item, stored.category, stored.brand],
                    known: [stored.items, stored.categories, stored.brands],
                    step: stored.step,
                    transition: stored.transition,
                    transitions: stored.transitions,
                    score: stored.score,
                    version: stored.model_version,
                    cold: stored.cold,
                })
            }
        }
    }

    fn transitions(&self, row: usize) -> Vec<i64> {
        self.keys
            .part(self.keys.rows[row].transitions)
            .iter()
            .map(|&value| i64::from(value))
            .collect()
    }

    #[allow(clippy::too_many_arguments)]
    fn example(
        &self,
        out: &mut Vec<u8>,
        visitor_id: &str,
        taught: &Taught,
        told: &Told<'_>,
        resolved: &Resolved,
        ordinal: i64,
        left: i64,
    ) {
        out.extend_from_slice(b"{\"event_id\":");
        json::string(out, told.event_id);
        name(out, "visitor_id");
        json::string(out, visitor_id);
        name(out, "session_id");
        json::string(out, &taught.session_id);
        number(out, "event_time", told.event_time);
        name(out, "event_type");
        json::string(
            out,
            self.config.event_types.get(told.event_type).map_or("", String::as_str),
        );
        number(out, "events", told.events);
        name(out, "features");
        features(out, self.config, &told.features);
        name(out, "keys");
        sample_keys(out, taught, told);
        name(out, "score");
        json::float(out, told.score);
        number(out, "model_version", told.version);
        flag(out, "cold", told.cold);
        number(out, "label", taught.label);
        name(out, "weight");
        json::float(out, taught.weight);
        name(out, "label_source");
        json::string(out, ["session_end", "purchase", "label"][taught.source as usize]);
        number(out, "label_time", taught.time);
        name(out, "position");
        json::integers(out, [resolved.trigger.0, resolved.trigger.1, ordinal].into_iter());
        name(out, "touched");
        if left == 0 {
            touched(out, self.config, taught);
        } else {
            out.extend_from_slice(b"null");
        }
        number(out, "events_offset", resolved.events_offset);
        number(out, "schema", self.config.feature_schema);
        number(out, "left", left);
        number(out, "previous", -1);
        number(out, "previous_time", -1);
        out.push(b'}');
    }

    // ---- closed sessions and states ---------------------------------------------------------------------------------

    pub fn states<'py>(
        &self,
        py: Python<'py>,
        schedule: &Bound<'py, PyDict>,
        due: &[u32],
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyDict>)> {
        let (states, deadlines) = (PyDict::new(py), PyDict::new(py));
        let mut is_due = vec![false; self.done.slots.len()];
        due.iter().for_each(|&visitor| is_due[visitor as usize] = true);
        for (place, blob) in py.allow_threads(|| self.blobs()) {
            states.set_item(self.done.names[place as usize].bind(py), PyBytes::new(py, &blob))?;
        }
        for &place in self.done.changed.iter().chain(due) {
            let Slot::Here(visitor) = &self.done.slots[place as usize] else {
                continue;
            };
            let id = self.done.names[place as usize].bind(py);
            let known = deadline_of(schedule, id.as_any())?;
            let deadline = visitor.deadline(self.config.gap_ms, self.config.quiet_ms);
            let earlier = deadline.is_some_and(|deadline| known.map_or(true, |known| deadline < known));
            if earlier || (is_due[place as usize] && deadline != known) {
                deadlines.set_item(id, deadline)?;
            }
        }
        Ok((states, deadlines))
    }

    /// The changed visitors: place, and the state as it is stored.
    fn blobs(&self) -> Vec<(u32, Vec<u8>)> {
        let written = |&place: &u32| match &self.done.slots[place as usize] {
            Slot::Here(visitor) => {
                let mut blob = Vec::with_capacity(visitor.blob.len() + 256);
                write_visitor(&mut blob, visitor, self.config.state_version, self);
                Some((place, blob))
            }
            _ => None,
        };
        self.done.changed.iter().filter_map(written).collect()
    }
}

/// The records of the sessions that ended.
pub fn closed_records(ids: &[Arc<str>], closed: &[Closed]) -> RecordList {
    let mut found = RecordList::default();
    let mut out = Vec::with_capacity(512);
    for session in closed {
        let id = &ids[session.visitor as usize];
        out.clear();
        out.extend_from_slice(b"{\"visitor_id\":");
        json::string(&mut out, id);
        name(&mut out, "session_id");
        json::string(&mut out, &session.session_id);
        number(&mut out, "start", session.start);
        number(&mut out, "end", session.last);
        number(&mut out, "duration_ms", session.last - session.start);
        number(&mut out, "events", session.events);
        number(&mut out, "purchases", session.purchases);
        number(&mut out, "labelled_checkouts", 0);
        name(&mut out, "spend");
        json::float(&mut out, session.spend);
        name(&mut out, "source");
        json::optional(&mut out, session.source.as_deref());
        name(&mut out, "country");
        json::optional(&mut out, session.country.as_deref());
        name(&mut out, "reason");
        json::string(&mut out, if session.bound { "bound" } else { "gap" });
        name(&mut out, "position");
        json::integers(&mut out, [session.ending.kind, session.ending.place].into_iter());
        number(&mut out, "next_offset", session.ending.next_offset);
        number(&mut out, "labels_offset", session.labels_offset);
        name(&mut out, "category");
        json::optional(&mut out, session.category.as_deref());
        flag(&mut out, "bot", session.bot);
        out.push(b'}');
        found.push(id.as_bytes(), &out);
    }
    found
}

fn sample_keys(out: &mut Vec<u8>, taught: &Taught, told: &Told<'_>) {
    let lists = [&taught.items, &taught.categories, &taught.brands];
    let mut fields = Sparse::open(out);
    for (n, field) in ["item", "category", "brand"].into_iter().enumerate() {
        fields.text(
            field,
            usize::try_from(told.places[n])
                .ok()
                .and_then(|place| lists[n].get(place))
                .map(|name| &**name),
        );
    }
    fields.text("source", taught.origin.as_deref());
    fields.text("country", taught.country.as_deref());
    fields.number("step", told.step, -1);
    for (n, field) in ["items", "categories", "brands"].into_iter().enumerate() {
        let known = &lists[n][..told.known[n].min(lists[n].len())];
        fields.texts(field, known.len(), known.iter().map(|name| &**name));
    }
    fields.number("transition", told.transition, -1);
    fields.numbers("transitions", &told.transitions);
    fields.close();
}

/// `outcomes.touched_by`.
fn touched(out: &mut Vec<u8>, config: &Config, taught: &Taught) {
    let [items, categories, brands, steps] = taught.touched_before;
    let rest = |names: &'_ [Arc<str>], told: i64| names.len().min(told as usize);
    let items = &taught.items[rest(&taught.items, items)..];
    let categories = &taught.categories[rest(&taught.categories, categories)..];
    let brands = &taught.brands[rest(&taught.brands, brands)..];
    let fresh_steps = taught.steps & !steps;
    if items.is_empty() && categories.is_empty() && brands.is_empty() && fresh_steps == 0 {
        out.extend_from_slice(b"null");
        return;
    }
    let steps: Vec<i64> = (0..63).filter(|bit| fresh_steps >> bit & 1 == 1).collect();
    let mut fields = Sparse::open(out);
    fields.texts("items", items.len(), items.iter().map(|name| &**name));
    fields.texts("categories", categories.len(), categories.iter().map(|name| &**name));
    fields.texts("brands", brands.len(), brands.iter().map(|name| &**name));
    fields.numbers("steps", &steps);
    fields.text("source", taught.origin.as_deref());
    fields.text("country", taught.country.as_deref());
    fields.flag("carted", taught.steps & (0b11 << (2 * config.cart)) != 0);
    fields.numbers("transitions", &fresh(&taught.transitions, &taught.transitions_before));
    fields.close();
}

/// `features.unpack`; None if it is no row of this many features.
pub fn unpacked(config: &Config, data: &[u8]) -> Option<Vec<i32>> {
    let width = config.feature_heads.len();
    let bits = width.div_ceil(8);
    let mut values = data.get(bits..)?.chunks_exact(4);
    (0..width)
        .map(|n| {
            if data[n / 8] & (0x80 >> (n % 8)) == 0 {
                return Some(0);
            }
            values
                .next()
                .map(|value| i32::from_le_bytes([value[0], value[1], value[2], value[3]]))
        })
        .collect()
}

impl Rows for Writing<'_> {
    fn write_sample(&self, out: &mut Vec<u8>, n: u32) {
        let n = n as usize;
        let row = &self.done.rows[n];
        let event = self.event(row);
        mp::array(out, 20);
        mp::integer(out, row.rank);
        mp::string(out, event.event_id.of(self.text()).unwrap_or(""));
        mp::integer(out, i64::from(event.event_type));
        mp::integer(out, event.event_time);
        mp::integer(out, row.events);
        mp::integer(out, self.done.batch.offsets[row.event as usize]);
        mp::binary(out, self.scores.packed(n));
        for value in [
            row.item,
            row.category,
            row.brand,
            row.step,
            row.items,
            row.categories,
            row.brands,
            row.steps,
        ] {
            mp::integer(out, value);
        }
        mp::float(out, self.scores.scores[n]);
        mp::integer(out, self.scores.version);
        mp::boolean(out, self.scores.cold);
        mp::integer(out, row.transition);
        let transitions = self.keys.part(self.keys.rows[n].transitions);
        mp::array(out, transitions.len());
        transitions.iter().for_each(|&value| mp::integer(out, i64::from(value)));
    }

    fn write_last_score(&self, out: &mut Vec<u8>, n: u32) {
        let n = n as usize;
        let row = &self.done.rows[n];
        let event = self.event(row);
        mp::array(out, 13);
        mp::string(out, event.event_id.of(self.text()).unwrap_or(""));
        mp::integer(out, event.event_time);
        mp::float(out, self.scores.scores[n]);
        mp::string(out, &self.config.bands[self.scores.bands[n] as usize]);
        mp::integer(out, self.scores.version);
        mp::boolean(out, self.scores.cold);
        mp::binary(out, self.scores.packed(n));
        mp::integer(out, i64::from(crc32fast::hash(row.session_id.as_bytes())));
        for value in [row.item, row.category, row.brand, row.step, row.transition] {
            mp::integer(out, value);
        }
    }

    fn taught(&self, place: usize) -> &Taught {
        &self.done.taught[place]
    }

    fn mood(&self, place: u32) -> Mood {
        self.done.moods[place as usize]
    }
}
