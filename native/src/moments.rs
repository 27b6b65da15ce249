//! Moments: `moments.py`, for those that events and the clock tell. What a label tells is Python's.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::batch::{Fold, Row, Slot};
use crate::config::Config;
use crate::emission::{unpacked, Sparse, Writing};
use crate::json_write as json;
use crate::record_list::RecordList;
use crate::state::{read_last_score, LastScore, Mood, Session, Visitor};

/// By code.
pub const KINDS: [&str; 4] = ["band", "trend", "quiet", "bought"];
const BAND: usize = 0;
const TREND: usize = 1;
const QUIET: usize = 2;
const BOUGHT: usize = 3;

/// A moment but for what its score and its session's trend say.
struct Told {
    kind: usize,
    visitor: u32,
    session_id: Arc<str>,
    score: LastScore,
    /// its session's place among the batch's moods
    mood: u32,
    events: i64,
    cart_value: f64,
    purchases: i64,
    item: Option<Arc<str>>,
    category: Option<Arc<str>>,
    brand: Option<Arc<str>>,
    source: Option<Arc<str>>,
    country: Option<Arc<str>>,
    mobile: bool,
}

/// A moment that takes its place among the scored events: before the one at `row`, or after the last.
pub struct Waiting {
    row: usize,
    told: Told,
}

impl Fold<'_> {
    /// Tell which of the visitor's sessions the watermark `until` has found quiet, and had not before.
    pub fn quiet(&mut self, visitor: u32, state: &mut Visitor, until: i64) {
        let gap_ms = self.config.gap_ms;
        let quiet = |(place, session): (usize, &Session)| {
            let quiet_at = session.quiet_at(gap_ms, self.config.quiet_ms)?;
            (quiet_at <= until).then_some((quiet_at, place))
        };
        let mut found: Vec<(i64, usize)> = state.sessions.iter().enumerate().filter_map(quiet).collect();
        // In the order in which they fell quiet: one look may find what two would have, where batches are cut elsewhere.
        found.sort_by(|a, b| {
            let id = |place: usize| &state.sessions[place].session_id;
            (a.0, id(a.1)).cmp(&(b.0, id(b.1)))
        });
        for (quiet_at, place) in found {
            let deadline = state.sessions[place].last + gap_ms;
            if deadline <= until && self.step_to(quiet_at) >= self.step_to(deadline) {
                continue;
            }
            let score = self.score_of(state, place);
            self.change(visitor);
            let mood = self.mood_of(state, place);
            let session = &mut state.sessions[place];
            session.quiet_told = session.last;
            if matches!(score, LastScore::None) {
                continue;
            }
            let told = Told {
                kind: QUIET,
                visitor,
                session_id: session.session_id.clone(),
                score,
                mood,
                events: session.events,
                cart_value: session.cart_value,
                purchases: session.purchases,
                item: session.item_last.clone(),
                category: session.category_last.clone(),
                brand: session.brand_last(),
                source: session.source.clone(),
                country: session.country.clone(),
                mobile: session.mobile,
            };
            self.waiting.push(Waiting {
                row: self.rows.len(),
                told,
            });
        }
    }

    /// Which event's watermark reached the time: −1 for what was reached before the batch, N if none did.
    fn step_to(&self, time: i64) -> i64 {
        if time <= self.frame.watermark_before {
            return -1;
        }
        self.watermarks.partition_point(|&watermark| watermark < time) as i64
    }

    /// The place of a session's mood among the batch's.
    pub fn mood_of(&mut self, state: &mut Visitor, place: usize) -> u32 {
        let session = &mut state.sessions[place];
        match session.mood_at {
            Some(at) => at,
            None => {
                let at = self.moods.len() as u32;
                self.moods.push(session.mood);
                session.mood_at = Some(at);
                at
            }
        }
    }

    /// `Visitor.keep_score`: make the newest row, of the session at `place`, the visitor's newest score.
    pub fn keep_score(&self, state: &mut Visitor, place: usize) {
        if state.sessions.len() > 1 {
            let current = session_code(&state.sessions[place].session_id);
            let before = state.last_score;
            if let Some(code) = self.session_of(state, before).filter(|&code| code != current) {
                for session in &mut state.sessions {
                    if session_code(&session.session_id) == code {
                        session.scored = before;
                    }
                }
            }
        }
        state.sessions[place].scored = LastScore::None;
        state.last_score = LastScore::Row(self.rows.len() as u32 - 1);
    }

    /// `Visitor.score_of`.
    fn score_of(&self, state: &Visitor, place: usize) -> LastScore {
        let session = &state.sessions[place];
        match self.session_of(state, state.last_score) {
            Some(code) if code == session_code(&session.session_id) => state.last_score,
            _ => session.scored,
        }
    }

    /// The code of the session that a score is of.
    fn session_of(&self, state: &Visitor, score: LastScore) -> Option<i64> {
        match score {
            LastScore::None => None,
            LastScore::Row(row) => Some(session_code(&self.rows[row as usize].session_id)),
            LastScore::Stored(at) => read_last_score(&state.blob, at).ok().map(|score| score.session),
        }
    }
}

fn session_code(session_id: &str) -> i64 {
    i64::from(crc32fast::hash(session_id.as_bytes()))
}

/// `moments._follow`: take a logit into the session's trend; whether it has turned.
fn follow(config: &Config, mood: &mut Mood, logit: i64) -> bool {
    let (share, whole) = config.mean_share;
    let trend = logit - mood.logit_mean;
    mood.trend = trend;
    mood.logit_mean += (trend * share).div_euclid(whole);
    if (-config.trend_turn..=config.trend_turn).contains(&trend) {
        return false;
    }
    let side = if trend > 0 { 1 } else { -1 };
    let before = std::mem::replace(&mut mood.side, side);
    before == -side
}

impl Writing<'_> {
    /// `moments.tell`: the records, and how many of each kind. `moods` go on with the scores.
    pub fn moments(&self, moods: &mut [Mood], logits: &[i32], now_ms: i64) -> PyResult<(RecordList, [usize; 4])> {
        let mut found = (RecordList::default(), [0; 4]);
        let mut waiting = self.done.waiting.iter().peekable();
        for (n, row) in self.done.rows.iter().enumerate() {
            while let Some(entry) = waiting.next_if(|entry| entry.row <= n) {
                self.moment(&mut found, &entry.told, moods, now_ms, None)?;
            }
            if row.bot {
                continue;
            }
            let mood = &mut moods[row.mood as usize];
            let (logit, band) = (i64::from(logits[n]), i64::from(self.scores.band(n)));
            let before = std::mem::replace(&mut mood.band, band);
            let mut turned = false;
            if before < 0 || row.transition < 0 {
                (mood.trend, mood.logit_mean, mood.side) = (0, logit, 0);
            } else {
                turned = follow(self.config, mood, logit);
            }
            if row.bought {
                self.moment(&mut found, &self.of_row(BOUGHT, n, row), moods, now_ms, None)?;
            }
            if band != before && (before >= 0 || band > 0) {
                let previous = usize::try_from(before).ok();
                self.moment(&mut found, &self.of_row(BAND, n, row), moods, now_ms, previous)?;
            }
            if turned {
                self.moment(&mut found, &self.of_row(TREND, n, row), moods, now_ms, None)?;
            }
        }
        for entry in waiting {
            self.moment(&mut found, &entry.told, moods, now_ms, None)?;
        }
        Ok(found)
    }

    fn of_row(&self, kind: usize, n: usize, row: &Row) -> Told {
        let config = self.config;
        let raw = &self.done.raw[n * config.raw_count..(n + 1) * config.raw_count];
        let keys = &self.keys.rows[n];
        Told {
            kind,
            visitor: row.visitor,
            session_id: row.session_id.clone(),
            score: LastScore::Row(n as u32),
            mood: row.mood,
            events: row.events,
            cart_value: raw[config.raw_cart_value],
            purchases: raw[config.raw_purchases] as i64,
            item: row.item_last.clone(),
            category: row.category_last.clone(),
            brand: row.brand_last.clone(),
            source: self.keys.name(keys.source).map(Arc::from),
            country: self.keys.name(keys.country).map(Arc::from),
            mobile: raw[config.raw_mobile] != 0.0,
        }
    }

    fn moment(
        &self,
        found: &mut (RecordList, [usize; 4]),
        told: &Told,
        moods: &[Mood],
        now_ms: i64,
        previous: Option<usize>,
    ) -> PyResult<()> {
        let (records, counts) = found;
        counts[told.kind] += 1;
        let mut out = Vec::with_capacity(2048);
        let visitor_id = &self.done.ids[told.visitor as usize];
        match told.score {
            LastScore::Row(n) => {
                let n = n as usize;
                let event = &self.done.batch.events[self.done.rows[n].event as usize];
                let score = Score {
                    event_id: event.event_id.of(&self.done.batch.text).unwrap_or(""),
                    event_time: event.event_time,
                    score: self.scores.scores[n],
                    band: &self.config.bands[self.scores.band(n) as usize],
                    version: self.scores.version,
                    cold: self.scores.cold,
                    features: self.scores.features(self.config, n),
                };
                self.write_moment(&mut out, told, visitor_id, &score, moods, now_ms, previous);
            }
            LastScore::Stored(at) => {
                let unreadable = || PyRuntimeError::new_err("a stored score cannot be read a second time");
                let Slot::Here(visitor) = &self.done.slots[told.visitor as usize] else {
                    return Ok(());
                };
                let stored = read_last_score(&visitor.blob, at).map_err(|_| unreadable())?;
                let features = unpacked(self.config, stored.x).ok_or_else(unreadable)?;
                let score = Score {
                    event_id: stored.event_id,
                    event_time: stored.event_time,
                    score: stored.score,
                    band: stored.band,
                    version: stored.model_version,
                    cold: stored.cold,
                    features: &features,
                };
                self.write_moment(&mut out, told, visitor_id, &score, moods, now_ms, previous);
            }
            LastScore::None => return Ok(()),
        }
        records.push(visitor_id.as_bytes(), &out);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn write_moment(
        &self,
        out: &mut Vec<u8>,
        told: &Told,
        visitor_id: &str,
        score: &Score<'_>,
        moods: &[Mood],
        now_ms: i64,
        previous: Option<usize>,
    ) {
        let kind = KINDS[told.kind];
        let trend = moods[told.mood as usize].trend as f64 / self.config.logit_units;
        let mut fields = Sparse::open(out);
        fields.text("moment_id", Some(&format!("{}:{kind}", score.event_id)));
        fields.text("kind", Some(kind));
        fields.text("visitor_id", Some(visitor_id));
        fields.text("session_id", Some(&told.session_id));
        fields.text("event_id", Some(score.event_id));
        json::integer(fields.field("event_time"), score.event_time);
        json::integer(fields.field("events"), told.events);
        json::float(fields.field("score"), score.score);
        fields.text("band", Some(score.band));
        json::float(fields.field("trend"), trend);
        json::float(fields.field("cart_value"), told.cart_value);
        json::integer(fields.field("purchases"), told.purchases);
        crate::emission::features(fields.field("features"), self.config, score.features);
        json::integer(fields.field("model_version"), score.version);
        json::boolean(fields.field("cold"), score.cold);
        json::integer(fields.field("scored_at"), now_ms);
        fields.text("previous_band", previous.map(|band| self.config.bands[band].as_str()));
        fields.text("item_id", told.item.as_deref());
        fields.text("category", told.category.as_deref());
        fields.text("brand", told.brand.as_deref());
        fields.text("source", told.source.as_deref());
        fields.text("country", told.country.as_deref());
        fields.text("device", told.mobile.then_some("mobile"));
        fields.close();
    }
}

/// A score as a moment tells it: a row's of this batch, or one that came with the blob.
struct Score<'a> {
    event_id: &'a str,
    event_time: i64,
    score: f64,
    band: &'a str,
    version: i64,
    cold: bool,
    features: &'a [i32],
}
