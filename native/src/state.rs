//! A visitor's state: `state.Visitor`, from its blob and back to the same bytes.
//!
//! Samples and told outcomes that a batch does not touch stay the bytes they are; `Slice` says where in the blob.

use std::sync::Arc;

use crate::msgpack::{self as mp, Damaged, Read, Reader};

/// Bytes of the visitor's own blob.
#[derive(Clone, Copy)]
pub struct Slice {
    pub start: usize,
    pub end: usize,
}

/// A scored event that waits for its outcome: one of this batch's rows, or one that came with the blob.
#[derive(Clone, Copy)]
pub enum Sample {
    Row { row: u32, rank: i64 },
    Stored { at: Slice, rank: i64 },
}

impl Sample {
    pub fn rank(&self) -> i64 {
        match self {
            Sample::Row { rank, .. } | Sample::Stored { rank, .. } => *rank,
        }
    }
}

/// The fields of a sample that came with the blob.
pub struct StoredSample<'a> {
    pub event_id: &'a str,
    pub event_type: usize,
    pub event_time: i64,
    pub events: i64,
    pub x: &'a [u8],
    pub item: i64,
    pub category: i64,
    pub brand: i64,
    pub step: i64,
    pub items: usize,
    pub categories: usize,
    pub brands: usize,
    pub score: f64,
    pub model_version: i64,
    pub cold: bool,
    pub transition: i64,
    pub transitions: Vec<i64>,
}

const SAMPLE_FIELDS: usize = 20;
const SESSION_FIELDS: usize = 52;
const TAUGHT_FIELDS: usize = 20;
const LAST_SCORE_FIELDS: usize = 13;

pub fn read_sample(blob: &[u8], at: Slice) -> Read<StoredSample<'_>> {
    let mut r = Reader::new(blob, at.start);
    r.fields(SAMPLE_FIELDS)?;
    r.integer()?;
    let event_id = r.string()?;
    let event_type = size(r.integer()?)?;
    let event_time = r.integer()?;
    let events = r.integer()?;
    r.integer()?;
    let x = r.binary()?;
    let (item, category, brand, step) = (r.integer()?, r.integer()?, r.integer()?, r.integer()?);
    let (items, categories, brands) = (size(r.integer()?)?, size(r.integer()?)?, size(r.integer()?)?);
    r.integer()?;
    Ok(StoredSample {
        event_id,
        event_type,
        event_time,
        events,
        x,
        item,
        category,
        brand,
        step,
        items,
        categories,
        brands,
        score: r.float()?,
        model_version: r.integer()?,
        cold: r.boolean()?,
        transition: r.integer()?,
        transitions: integers(&mut r)?,
    })
}

/// What is tracked of an item: times seen, time first seen; and its place among the batch's names once it has one.
pub struct Item {
    pub name: Arc<str>,
    pub times: i64,
    pub first: i64,
    pub id: i32,
}

/// What is tracked of a category or brand.
pub struct Seen {
    pub name: Arc<str>,
    pub times: i64,
    pub id: i32,
}

pub type Pairs = Vec<(i64, i64)>;

/// What a session's scores have come to, for its moments: `state.Session.band` and what follows it.
#[derive(Clone, Copy)]
pub struct Mood {
    pub band: i64,
    pub trend: i64,
    pub logit_mean: i64,
    pub side: i64,
}

impl Mood {
    /// No score yet.
    pub const NONE: Mood = Mood {
        band: -1,
        trend: 0,
        logit_mean: 0,
        side: 0,
    };
}

/// `state.Session`, field by field.
pub struct Session {
    pub session_id: Arc<str>,
    pub given_id: Option<Arc<str>>,
    pub part: i64,
    pub start: i64,
    pub last: i64,
    pub source: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    pub mobile: bool,
    pub events: i64,
    pub gap_last: i64,
    pub gap_sum: i64,
    pub gap_max: i64,
    pub gap_decayed: f64,
    pub purchases: i64,
    pub spend: f64,
    pub orders: Vec<Arc<str>>,
    pub episode: i64,
    pub episode_start: i64,
    pub episode_events: i64,
    pub group_counts: Vec<i64>,
    pub group_last: i64,
    pub items: Vec<Item>,
    pub categories: Vec<Seen>,
    pub brands: Vec<Seen>,
    pub item_last: Option<Arc<str>>,
    pub category_last: Option<Arc<str>>,
    pub item_events: i64,
    pub item_repeats_max: i64,
    pub cart_time: i64,
    pub cart_count: i64,
    pub cart_value: f64,
    pub price_sum: f64,
    pub price_count: i64,
    pub price_min: f64,
    pub price_max: f64,
    pub steps: i64,
    pub touched: [i64; 4],
    pub samples: Vec<Sample>,
    pub population: i64,
    pub transitions: Pairs,
    pub transitions_told: Pairs,
    /// as it was before the batch; as it is after it at this place of the batch's moods, if a score was made
    pub mood: Mood,
    pub mood_at: Option<u32>,
    pub quiet_told: i64,
    pub checkout_told: i64,
    pub brand_last: i64,
    pub scored: LastScore,
    pub category_before: Option<Arc<str>>,
    pub bot: bool,
    pub haste: i64,
    /// places among the batch's names of `source` and `country`; −2 not asked for yet
    pub source_id: i32,
    pub country_id: i32,
}

impl Session {
    /// The event time at which it has been quiet for long with a full cart; None if it is not to be told.
    pub fn quiet_at(&self, gap_ms: i64, quiet_ms: i64) -> Option<i64> {
        let waits =
            self.cart_count != 0 && self.cart_time > self.checkout_told && self.quiet_told != self.last && !self.bot;
        (waits && quiet_ms < gap_ms).then_some(self.last + quiet_ms)
    }

    /// The brand last touched in the episode.
    pub fn brand_last(&self) -> Option<Arc<str>> {
        let place = usize::try_from(self.brand_last).ok()?;
        self.brands.get(place).map(|seen| seen.name.clone())
    }
}

#[derive(Clone)]
pub struct History {
    pub sessions: i64,
    pub purchases: i64,
    pub spend: f64,
    pub last_seen: i64,
    pub parts: Vec<(Arc<str>, i64)>,
}

impl History {
    pub fn new() -> History {
        History {
            sessions: 0,
            purchases: 0,
            spend: 0.0,
            last_seen: 0,
            parts: Vec::new(),
        }
    }
}

/// `state.Taught`, whole.
pub struct Taught {
    pub session_id: Arc<str>,
    pub given_id: Option<Arc<str>>,
    pub start: i64,
    pub last: i64,
    pub label: i64,
    pub source: i64,
    pub time: i64,
    pub orders: Vec<Arc<str>>,
    pub weight: f64,
    pub origin: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    pub items: Vec<Arc<str>>,
    pub categories: Vec<Arc<str>>,
    pub brands: Vec<Arc<str>>,
    pub steps: i64,
    pub touched_before: [i64; 4],
    pub transitions: Pairs,
    pub transitions_before: Pairs,
    pub samples: Vec<Sample>,
    pub purchases: Vec<Arc<str>>,
}

/// An outcome that the visitor remembers: one told in this batch, by its place there, or one that came with the blob.
#[derive(Clone, Copy)]
pub enum Told {
    Here(usize),
    Stored { at: Slice, last: i64 },
}

/// The newest score: of a row of this batch, or one that came with the blob.
#[derive(Clone, Copy)]
pub enum LastScore {
    None,
    Row(u32),
    Stored(Slice),
}

pub struct Visitor {
    pub blob: Vec<u8>,
    pub events_offset: i64,
    pub labels_offset: i64,
    pub history: History,
    pub sessions: Vec<Session>,
    pub recent: Vec<i64>,
    pub last_score: LastScore,
    pub taught: Vec<Told>,
    pub taken_back: Vec<Arc<str>>,
}

impl Visitor {
    pub fn new() -> Visitor {
        Visitor {
            blob: Vec::new(),
            events_offset: -1,
            labels_offset: -1,
            history: History::new(),
            sessions: Vec::new(),
            recent: Vec::new(),
            last_score: LastScore::None,
            taught: Vec::new(),
            taken_back: Vec::new(),
        }
    }

    /// When a session of the visitor is over or quiet; None if none is open.
    pub fn deadline(&self, gap_ms: i64, quiet_ms: i64) -> Option<i64> {
        self.sessions
            .iter()
            .map(|session| session.quiet_at(gap_ms, quiet_ms).unwrap_or(session.last + gap_ms))
            .min()
    }
}

fn size(value: i64) -> Read<usize> {
    usize::try_from(value).map_err(|_| Damaged)
}

fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn optional(r: &mut Reader<'_>) -> Read<Option<Arc<str>>> {
    Ok(r.optional_string()?.map(shared))
}

fn texts(r: &mut Reader<'_>) -> Read<Vec<Arc<str>>> {
    (0..r.array()?).map(|_| r.string().map(shared)).collect()
}

fn integers(r: &mut Reader<'_>) -> Read<Vec<i64>> {
    (0..r.array()?).map(|_| r.integer()).collect()
}

fn pairs(r: &mut Reader<'_>) -> Read<Pairs> {
    (0..r.map()?).map(|_| Ok((r.integer()?, r.integer()?))).collect()
}

fn four(r: &mut Reader<'_>) -> Read<[i64; 4]> {
    r.fields(4)?;
    Ok([r.integer()?, r.integer()?, r.integer()?, r.integer()?])
}

fn seen(r: &mut Reader<'_>) -> Read<Vec<Seen>> {
    (0..r.map()?)
        .map(|_| {
            Ok(Seen {
                name: shared(r.string()?),
                times: r.integer()?,
                id: -1,
            })
        })
        .collect()
}

fn item(r: &mut Reader<'_>) -> Read<Item> {
    let name = shared(r.string()?);
    r.fields(2)?;
    Ok(Item {
        name,
        times: r.integer()?,
        first: r.integer()?,
        id: -1,
    })
}

fn samples(r: &mut Reader<'_>) -> Read<Vec<Sample>> {
    let count = r.array()?;
    let mut found = Vec::with_capacity(count + 1);
    for _ in 0..count {
        let start = r.at;
        r.fields(SAMPLE_FIELDS)?;
        let rank = r.integer()?;
        for _ in 1..SAMPLE_FIELDS {
            r.skip()?;
        }
        found.push(Sample::Stored {
            at: Slice { start, end: r.at },
            rank,
        });
    }
    Ok(found)
}

fn read_session(r: &mut Reader<'_>) -> Read<Session> {
    r.fields(SESSION_FIELDS)?;
    Ok(Session {
        session_id: shared(r.string()?),
        given_id: optional(r)?,
        part: r.integer()?,
        start: r.integer()?,
        last: r.integer()?,
        source: optional(r)?,
        country: optional(r)?,
        mobile: r.boolean()?,
        events: r.integer()?,
        gap_last: r.integer()?,
        gap_sum: r.integer()?,
        gap_max: r.integer()?,
        gap_decayed: r.float()?,
        purchases: r.integer()?,
        spend: r.float()?,
        orders: texts(r)?,
        episode: r.integer()?,
        episode_start: r.integer()?,
        episode_events: r.integer()?,
        group_counts: integers(r)?,
        group_last: r.integer()?,
        items: (0..r.map()?).map(|_| item(r)).collect::<Read<_>>()?,
        categories: seen(r)?,
        brands: seen(r)?,
        item_last: optional(r)?,
        category_last: optional(r)?,
        item_events: r.integer()?,
        item_repeats_max: r.integer()?,
        cart_time: r.integer()?,
        cart_count: r.integer()?,
        cart_value: r.float()?,
        price_sum: r.float()?,
        price_count: r.integer()?,
        price_min: r.float()?,
        price_max: r.float()?,
        steps: r.integer()?,
        touched: four(r)?,
        samples: samples(r)?,
        population: r.integer()?,
        transitions: pairs(r)?,
        transitions_told: pairs(r)?,
        mood: Mood {
            band: r.integer()?,
            trend: r.integer()?,
            logit_mean: r.integer()?,
            side: r.integer()?,
        },
        mood_at: None,
        quiet_told: r.integer()?,
        checkout_told: r.integer()?,
        brand_last: r.integer()?,
        scored: stored_score(r)?,
        category_before: optional(r)?,
        bot: r.boolean()?,
        haste: r.integer()?,
        source_id: -2,
        country_id: -2,
    })
}

pub fn read_taught(blob: &[u8], at: Slice) -> Read<Taught> {
    let r = &mut Reader::new(blob, at.start);
    r.fields(TAUGHT_FIELDS)?;
    Ok(Taught {
        session_id: shared(r.string()?),
        given_id: optional(r)?,
        start: r.integer()?,
        last: r.integer()?,
        label: r.integer()?,
        source: r.integer()?,
        time: r.integer()?,
        orders: texts(r)?,
        weight: r.float()?,
        origin: optional(r)?,
        country: optional(r)?,
        items: texts(r)?,
        categories: texts(r)?,
        brands: texts(r)?,
        steps: r.integer()?,
        touched_before: four(r)?,
        transitions: pairs(r)?,
        transitions_before: pairs(r)?,
        samples: samples(r)?,
        purchases: texts(r)?,
    })
}

fn stored_taught(r: &mut Reader<'_>) -> Read<Told> {
    let start = r.at;
    r.fields(TAUGHT_FIELDS)?;
    for _ in 0..3 {
        r.skip()?;
    }
    let last = r.integer()?;
    for _ in 4..TAUGHT_FIELDS - 2 {
        r.skip()?;
    }
    samples(r)?;
    r.skip()?;
    Ok(Told::Stored {
        at: Slice { start, end: r.at },
        last,
    })
}

fn stored_score(r: &mut Reader<'_>) -> Read<LastScore> {
    if r.is_nil() {
        return Ok(LastScore::None);
    }
    let start = r.at;
    r.fields(LAST_SCORE_FIELDS)?;
    for _ in 0..LAST_SCORE_FIELDS {
        r.skip()?;
    }
    Ok(LastScore::Stored(Slice { start, end: r.at }))
}

/// The fields of a score that came with the blob.
pub struct StoredScore<'a> {
    pub event_id: &'a str,
    pub event_time: i64,
    pub score: f64,
    pub band: &'a str,
    pub model_version: i64,
    pub cold: bool,
    pub x: &'a [u8],
    pub session: i64,
}

pub fn read_last_score(blob: &[u8], at: Slice) -> Read<StoredScore<'_>> {
    let r = &mut Reader::new(blob, at.start);
    r.fields(LAST_SCORE_FIELDS)?;
    Ok(StoredScore {
        event_id: r.string()?,
        event_time: r.integer()?,
        score: r.float()?,
        band: r.string()?,
        model_version: r.integer()?,
        cold: r.boolean()?,
        x: r.binary()?,
        session: r.integer()?,
    })
}

/// The visitor in a blob; an error for one with told checkouts waiting, which Python folds, as for a damaged one.
pub fn read_visitor(blob: &[u8], version: u8) -> Read<Visitor> {
    if blob.first() != Some(&version) {
        return Err(Damaged);
    }
    let r = &mut Reader::new(blob, 1);
    r.fields(9)?;
    let (events_offset, labels_offset) = (r.integer()?, r.integer()?);
    r.fields(5)?;
    let history = History {
        sessions: r.integer()?,
        purchases: r.integer()?,
        spend: r.float()?,
        last_seen: r.integer()?,
        parts: (0..r.map()?)
            .map(|_| Ok((shared(r.string()?), r.integer()?)))
            .collect::<Read<_>>()?,
    };
    let sessions = (0..r.array()?).map(|_| read_session(r)).collect::<Read<_>>()?;
    let recent = integers(r)?;
    if r.array()? != 0 {
        return Err(Damaged);
    }
    let last_score = stored_score(r)?;
    let taught = (0..r.array()?).map(|_| stored_taught(r)).collect::<Read<_>>()?;
    let taken_back = texts(r)?;
    if r.at != blob.len() {
        return Err(Damaged);
    }
    let blob = blob.to_vec();
    Ok(Visitor {
        blob,
        events_offset,
        labels_offset,
        history,
        sessions,
        recent,
        last_score,
        taught,
        taken_back,
    })
}

fn write_texts(out: &mut Vec<u8>, texts: &[Arc<str>]) {
    mp::array(out, texts.len());
    texts.iter().for_each(|text| mp::string(out, text));
}

fn write_integers(out: &mut Vec<u8>, values: &[i64]) {
    mp::array(out, values.len());
    values.iter().for_each(|&value| mp::integer(out, value));
}

fn write_pairs(out: &mut Vec<u8>, pairs: &[(i64, i64)]) {
    mp::map(out, pairs.len());
    for &(key, value) in pairs {
        mp::integer(out, key);
        mp::integer(out, value);
    }
}

fn write_seen(out: &mut Vec<u8>, seen: &[Seen]) {
    mp::map(out, seen.len());
    for entry in seen {
        mp::string(out, &entry.name);
        mp::integer(out, entry.times);
    }
}

/// Writes what only the batch knows: a row as a sample, and as the newest score.
pub trait Rows {
    fn write_sample(&self, out: &mut Vec<u8>, row: u32);
    fn write_last_score(&self, out: &mut Vec<u8>, row: u32);
    fn taught(&self, place: usize) -> &Taught;
    fn mood(&self, place: u32) -> Mood;
}

fn write_score(out: &mut Vec<u8>, score: LastScore, blob: &[u8], rows: &impl Rows) {
    match score {
        LastScore::None => mp::nil(out),
        LastScore::Row(row) => rows.write_last_score(out, row),
        LastScore::Stored(at) => out.extend_from_slice(&blob[at.start..at.end]),
    }
}

fn write_samples(out: &mut Vec<u8>, samples: &[Sample], blob: &[u8], rows: &impl Rows) {
    mp::array(out, samples.len());
    for sample in samples {
        match sample {
            Sample::Row { row, .. } => rows.write_sample(out, *row),
            Sample::Stored { at, .. } => out.extend_from_slice(&blob[at.start..at.end]),
        }
    }
}

fn write_session(out: &mut Vec<u8>, s: &Session, blob: &[u8], rows: &impl Rows) {
    mp::array(out, SESSION_FIELDS);
    mp::string(out, &s.session_id);
    mp::optional_string(out, s.given_id.as_deref());
    for value in [s.part, s.start, s.last] {
        mp::integer(out, value);
    }
    mp::optional_string(out, s.source.as_deref());
    mp::optional_string(out, s.country.as_deref());
    mp::boolean(out, s.mobile);
    for value in [s.events, s.gap_last, s.gap_sum, s.gap_max] {
        mp::integer(out, value);
    }
    mp::float(out, s.gap_decayed);
    mp::integer(out, s.purchases);
    mp::float(out, s.spend);
    write_texts(out, &s.orders);
    for value in [s.episode, s.episode_start, s.episode_events] {
        mp::integer(out, value);
    }
    write_integers(out, &s.group_counts);
    mp::integer(out, s.group_last);
    mp::map(out, s.items.len());
    for item in &s.items {
        mp::string(out, &item.name);
        write_integers(out, &[item.times, item.first]);
    }
    write_seen(out, &s.categories);
    write_seen(out, &s.brands);
    mp::optional_string(out, s.item_last.as_deref());
    mp::optional_string(out, s.category_last.as_deref());
    for value in [s.item_events, s.item_repeats_max, s.cart_time, s.cart_count] {
        mp::integer(out, value);
    }
    mp::float(out, s.cart_value);
    mp::float(out, s.price_sum);
    mp::integer(out, s.price_count);
    mp::float(out, s.price_min);
    mp::float(out, s.price_max);
    mp::integer(out, s.steps);
    write_integers(out, &s.touched);
    write_samples(out, &s.samples, blob, rows);
    mp::integer(out, s.population);
    write_pairs(out, &s.transitions);
    write_pairs(out, &s.transitions_told);
    let mood = s.mood_at.map_or(s.mood, |place| rows.mood(place));
    for value in [mood.band, mood.trend, mood.logit_mean, mood.side] {
        mp::integer(out, value);
    }
    for value in [s.quiet_told, s.checkout_told, s.brand_last] {
        mp::integer(out, value);
    }
    write_score(out, s.scored, blob, rows);
    mp::optional_string(out, s.category_before.as_deref());
    mp::boolean(out, s.bot);
    mp::integer(out, s.haste);
}

fn write_taught(out: &mut Vec<u8>, t: &Taught, blob: &[u8], rows: &impl Rows) {
    mp::array(out, TAUGHT_FIELDS);
    mp::string(out, &t.session_id);
    mp::optional_string(out, t.given_id.as_deref());
    for value in [t.start, t.last, t.label, t.source, t.time] {
        mp::integer(out, value);
    }
    write_texts(out, &t.orders);
    mp::float(out, t.weight);
    mp::optional_string(out, t.origin.as_deref());
    mp::optional_string(out, t.country.as_deref());
    write_texts(out, &t.items);
    write_texts(out, &t.categories);
    write_texts(out, &t.brands);
    mp::integer(out, t.steps);
    write_integers(out, &t.touched_before);
    write_pairs(out, &t.transitions);
    write_pairs(out, &t.transitions_before);
    write_samples(out, &t.samples, blob, rows);
    write_texts(out, &t.purchases);
}

pub fn write_visitor(out: &mut Vec<u8>, visitor: &Visitor, version: u8, rows: &impl Rows) {
    out.push(version);
    mp::array(out, 9);
    mp::integer(out, visitor.events_offset);
    mp::integer(out, visitor.labels_offset);
    let history = &visitor.history;
    mp::array(out, 5);
    mp::integer(out, history.sessions);
    mp::integer(out, history.purchases);
    mp::float(out, history.spend);
    mp::integer(out, history.last_seen);
    mp::map(out, history.parts.len());
    for (name, part) in &history.parts {
        mp::string(out, name);
        mp::integer(out, *part);
    }
    mp::array(out, visitor.sessions.len());
    for session in &visitor.sessions {
        write_session(out, session, &visitor.blob, rows);
    }
    write_integers(out, &visitor.recent);
    mp::array(out, 0);
    write_score(out, visitor.last_score, &visitor.blob, rows);
    mp::array(out, visitor.taught.len());
    for told in &visitor.taught {
        match told {
            Told::Here(place) => write_taught(out, rows.taught(*place), &visitor.blob, rows),
            Told::Stored { at, .. } => out.extend_from_slice(&visitor.blob[at.start..at.end]),
        }
    }
    write_texts(out, &visitor.taken_back);
}
