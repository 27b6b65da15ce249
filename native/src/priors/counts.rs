//! The counts and what is made of them: `stream_app/core/priors.py` line by line, without Python objects.

use super::float::{at_most, divided, exp2, fsum, greatest, log, log1p, not_below_zero, two_to_the, Float};
use std::collections::HashMap;

pub const SMOOTHING_SESSIONS: f64 = 30.0;
pub const HALF_LIFE_MS: i64 = 14 * 24 * 3600 * 1000;
pub const ENTRIES_MAX: usize = 200_000;
pub const EVICT_SHARE: f64 = 0.1;
pub const BASE_SESSIONS: f64 = 100.0;
pub const CARTS_PER_PURCHASE: f64 = 3.0;
pub const GROUPS: i64 = 11;
pub const TRANSITION_CODES: i64 = (GROUPS + 1) * GROUPS;
pub const TRANSITION_TIMES_MAX: i64 = 8;

/// Numbers of a row: `PRIOR_NAMES`.
pub const WIDTH: usize = 21;

/// The kinds of key, as indices into `KINDS`.
pub const ITEM: usize = 0;
pub const CATEGORY: usize = 1;
pub const BRAND: usize = 2;
pub const STEP: usize = 3;
pub const SOURCE: usize = 4;
pub const COUNTRY: usize = 5;
pub const TRANSITION: usize = 6;
pub const ORIGIN: usize = 7;
pub const KINDS: [&str; 8] = [
    "item",
    "category",
    "brand",
    "step",
    "source",
    "country",
    "transition",
    "origin",
];

/// Buying sessions, sessions, those with something in the cart, in forward-decayed form.
pub type Counts = [f64; 3];

/// Of purchase and of cart, as differences of logits to the base rates.
pub type Prior = [f64; 2];
pub const UNKNOWN: Prior = [0.0, 0.0];

#[derive(Clone)]
struct Entry {
    counts: Counts,
    /// whether its key is among those changed
    changed: bool,
}

/// What all priors share until something is learned.
#[derive(Clone, Copy)]
pub struct Now {
    factor: f64,
    pub base_rate: f64,
    pub cart_rate: f64,
    base_logit: f64,
    cart_logit: f64,
}

/// An outcome: how much is added to each of the counts, or taken from them.
pub struct Outcome {
    bought: f64,
    weight: f64,
    carted: f64,
}

/// The priors behind one row, before they are put in order.
pub struct Found<'a> {
    pub item: Prior,
    pub category: Prior,
    pub brand: Prior,
    pub step: Prior,
    pub source: Prior,
    pub country: Prior,
    /// of the item's entry, if there is one
    pub sessions: Option<f64>,
    pub items: &'a [Prior],
    pub categories: &'a [Prior],
    pub markov: [f64; 3],
}

#[derive(Clone)]
pub struct Table {
    pub initial_base_rate: f64,
    /// event time (ms) of the first outcome, −1 before it; and of the newest
    pub landmark: i64,
    pub newest: i64,
    pub base: Counts,
    entries_max: usize,
    // The standard hash is keyed: shops' visitors choose the names.
    entries: Vec<HashMap<String, Entry>>,
    /// may name one key twice: after it was dropped and came back
    changed: Vec<(usize, String)>,
    now: Option<Now>,
    /// codes as text
    codes: Vec<String>,
}

impl Table {
    pub fn new(base_rate: f64, entries_max: usize) -> Self {
        Table {
            initial_base_rate: base_rate,
            landmark: -1,
            newest: -1,
            base: [0.0; 3],
            entries_max,
            entries: KINDS.iter().map(|_| HashMap::new()).collect(),
            changed: Vec::new(),
            now: None,
            codes: (0..TRANSITION_CODES).map(|code| code.to_string()).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.iter().map(HashMap::len).sum()
    }

    /// Keys and counts of a kind, in no order.
    pub fn entries(&self, kind: usize) -> impl Iterator<Item = (&str, &Counts)> {
        self.entries[kind]
            .iter()
            .map(|(key, entry)| (key.as_str(), &entry.counts))
    }

    /// The first outcome sets the clock; every one moves it on.
    pub fn begin(&mut self, time: i64) {
        if self.landmark < 0 {
            self.landmark = time;
            self.newest = time;
        }
        self.newest = self.newest.max(time);
    }

    pub fn outcome(&self, label: i64, carted: bool, time: i64) -> Float<Outcome> {
        let weight = two_to_the(quotient(time, self.landmark))?;
        let told = if label != 0 {
            label as f64
        } else {
            f64::from(u8::from(carted))
        };
        Ok(Outcome {
            bought: weight * label as f64,
            weight,
            carted: weight * told,
        })
    }

    pub fn count_base(&mut self, outcome: &Outcome) {
        self.base[0] += outcome.bought;
        self.base[1] += outcome.weight;
        self.base[2] += outcome.carted;
    }

    pub fn take_out_base(&mut self, outcome: &Outcome) {
        take_out(&mut self.base, outcome.bought, outcome.weight, outcome.carted);
    }

    pub fn count(&mut self, kind: usize, key: &str, outcome: &Outcome) {
        if !self.entries[kind].contains_key(key) && self.entries[kind].len() >= self.entries_max {
            self.evict(kind);
        }
        let entry = self.entry_to_change(kind, key);
        entry.counts[0] += outcome.bought;
        entry.counts[1] += outcome.weight;
        entry.counts[2] += outcome.carted;
    }

    pub fn take_out(&mut self, kind: usize, key: &str, outcome: &Outcome) {
        if self.entries[kind].contains_key(key) {
            let entry = self.entry_to_change(kind, key);
            take_out(&mut entry.counts, outcome.bought, outcome.weight, outcome.carted);
        }
    }

    pub fn count_transition(&mut self, code: i64, times: i64, outcome: &Outcome) {
        if !(0..TRANSITION_CODES).contains(&code) || !(1..=TRANSITION_TIMES_MAX).contains(&times) {
            return; // nothing that we wrote
        }
        for (kind, code) in [(TRANSITION, code), (ORIGIN, code / GROUPS)] {
            let key = self.text_of(code);
            let entry = self.entry_to_change(kind, &key);
            entry.counts[0] += times as f64 * outcome.bought;
            entry.counts[1] += times as f64 * outcome.weight;
        }
    }

    pub fn take_out_transition(&mut self, code: i64, times: i64, outcome: &Outcome) {
        if !(1..=TRANSITION_TIMES_MAX).contains(&times) {
            return;
        }
        for (kind, code) in [(TRANSITION, code), (ORIGIN, code.div_euclid(GROUPS))] {
            let key = self.text_of(code);
            if self.entries[kind].contains_key(&key) {
                let entry = self.entry_to_change(kind, &key);
                take_out(
                    &mut entry.counts,
                    times as f64 * outcome.bought,
                    times as f64 * outcome.weight,
                    0.0,
                );
            }
        }
    }

    /// Something was learned: what was computed before is no longer so.
    pub fn forget(&mut self) {
        self.now = None;
    }

    /// By kind's name and key: what has changed since the last call, None for what was dropped.
    pub fn take_changes(&mut self) -> Vec<(usize, String, Option<Counts>)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable_by(|(a, one), (b, other)| (KINDS[*a], one).cmp(&(KINDS[*b], other)));
        changed.dedup();
        let mut found = Vec::with_capacity(changed.len());
        for (kind, key) in changed {
            let counts = self.entries[kind].get_mut(&key).map(|entry| {
                entry.changed = false;
                entry.counts
            });
            found.push((kind, key, counts));
        }
        found
    }

    pub fn put(&mut self, kind: usize, key: String, counts: Option<Counts>) {
        match counts {
            None => {
                self.entries[kind].remove(&key);
            }
            Some(counts) => {
                self.entries[kind]
                    .entry(key)
                    .or_insert(Entry { counts, changed: false })
                    .counts = counts;
            }
        }
    }

    pub fn now(&mut self) -> Float<Now> {
        if let Some(now) = self.now {
            return Ok(now);
        }
        let factor = exp2(quotient(self.landmark, self.newest))?;
        let [bought, sessions, carted] = [self.base[0] * factor, self.base[1] * factor, self.base[2] * factor];
        let assumed = at_most(0.5, CARTS_PER_PURCHASE * self.initial_base_rate);
        let base_rate = divided(
            bought + BASE_SESSIONS * self.initial_base_rate,
            sessions + BASE_SESSIONS,
        )?;
        let cart_rate = divided(carted + BASE_SESSIONS * assumed, sessions + BASE_SESSIONS)?;
        let now = Now {
            factor,
            base_rate,
            cart_rate,
            base_logit: logit(base_rate)?,
            cart_logit: logit(cart_rate)?,
        };
        self.now = Some(now);
        Ok(now)
    }

    pub fn counts(&self, kind: usize, key: &str) -> Option<&Counts> {
        self.entries[kind].get(key).map(|entry| &entry.counts)
    }

    /// The key's prior, falling back to the base rates.
    pub fn prior(&self, now: &Now, kind: usize, key: &str) -> Float<Prior> {
        match self.counts(kind, key) {
            None => Ok(UNKNOWN),
            Some(counts) => now.logits(smoothed(Some(counts), now.factor, [now.base_rate, now.cart_rate])?),
        }
    }

    /// The item's prior, falling back to its category's.
    pub fn item_prior(&self, now: &Now, item: Option<&Counts>, category: Option<&str>) -> Float<Prior> {
        let known = [now.base_rate, now.cart_rate];
        let rates = match category {
            None if item.is_none() => return Ok(UNKNOWN),
            None => known,
            Some(category) => smoothed(self.counts(CATEGORY, category), now.factor, known)?,
        };
        now.logits(smoothed(item, now.factor, rates)?)
    }

    pub fn step_prior(&self, now: &Now, step: i64) -> Float<Prior> {
        self.prior(now, STEP, &self.text_of(step))
    }

    fn computed_ratio(&self, now: &Now, code: i64) -> Float<f64> {
        let left = match self.counts(ORIGIN, &self.text_of(code / GROUPS)) {
            None => return Ok(0.0),
            Some(left) => left,
        };
        let made = self
            .counts(TRANSITION, &self.text_of(code))
            .copied()
            .unwrap_or([0.0; 3]);
        let bought = made[0] * now.factor + 1.0;
        let others = not_below_zero(made[1] - made[0]) * now.factor + 1.0;
        let all_bought = left[0] * now.factor + GROUPS as f64;
        let all_others = not_below_zero(left[1] - left[0]) * now.factor + GROUPS as f64;
        log(divided(bought * all_others, others * all_bought)?)
    }

    fn entry_to_change(&mut self, kind: usize, key: &str) -> &mut Entry {
        let entries = &mut self.entries[kind];
        if !entries.contains_key(key) {
            entries.insert(
                key.to_owned(),
                Entry {
                    counts: [0.0; 3],
                    changed: false,
                },
            );
        }
        let entry = entries.get_mut(key).expect("it was just put there");
        if !entry.changed {
            entry.changed = true;
            self.changed.push((kind, key.to_owned()));
        }
        entry
    }

    /// Drop those with the fewest sessions, by name where they have as many.
    fn evict(&mut self, kind: usize) {
        let many = (self.entries_max as f64 * EVICT_SHARE) as usize;
        let entries = &mut self.entries[kind];
        let mut rare: Vec<(f64, String)> = entries
            .iter()
            .map(|(key, entry)| (entry.counts[1], key.clone()))
            .collect();
        if many < rare.len() {
            rare.select_nth_unstable_by(many, |(a, one), (b, other)| {
                // Zero added: to Python 0.0 and −0.0 are equal.
                (a + 0.0).total_cmp(&(b + 0.0)).then_with(|| one.cmp(other))
            });
            rare.truncate(many);
        }
        for (_, key) in rare {
            entries.remove(&key);
            self.changed.push((kind, key));
        }
    }

    fn text_of(&self, code: i64) -> String {
        match usize::try_from(code).ok().and_then(|place| self.codes.get(place)) {
            Some(text) => text.clone(),
            None => code.to_string(),
        }
    }
}

/// Of transitions the log-likelihood ratio, buyers against others, until something is learned.
#[derive(Clone)]
pub struct Ratios(Vec<Option<f64>>);

impl Ratios {
    pub fn new() -> Self {
        Ratios(vec![None; TRANSITION_CODES as usize])
    }

    pub fn forget(&mut self) {
        self.0.iter_mut().for_each(|ratio| *ratio = None);
    }

    /// Of the step at hand, of all the episode's (code, times, code, times, …), and of their mean.
    pub fn markov(&mut self, table: &Table, now: &Now, transition: i64, transitions: &[i64]) -> Float<[f64; 3]> {
        if transitions.is_empty() {
            return Ok([0.0; 3]);
        }
        let mut terms = Vec::with_capacity(transitions.len() / 2);
        let mut made = 0.0;
        for pair in transitions.chunks_exact(2) {
            terms.push(self.ratio(table, now, pair[0])? * pair[1] as f64);
            made += pair[1] as f64;
        }
        let total = fsum(terms.into_iter())?;
        Ok([self.ratio(table, now, transition)?, total, divided(total, made)?])
    }

    fn ratio(&mut self, table: &Table, now: &Now, code: i64) -> Float<f64> {
        if !(0..TRANSITION_CODES).contains(&code) {
            return Ok(0.0); // another version has written it: it tells nothing here
        }
        let known = &mut self.0[code as usize];
        match known {
            Some(ratio) => Ok(*ratio),
            None => Ok(*known.insert(table.computed_ratio(now, code)?)),
        }
    }
}

impl Now {
    fn logits(&self, rates: Prior) -> Float<Prior> {
        Ok([logit(rates[0])? - self.base_logit, logit(rates[1])? - self.cart_logit])
    }

    pub fn row(&self, found: &Found) -> Float<[f64; WIDTH]> {
        let [items, categories] = [of_all(found.items)?, of_all(found.categories)?];
        let popularity = match found.sessions {
            None => 0.0,
            Some(sessions) => log1p(sessions * self.factor)?,
        };
        Ok([
            found.item[0],
            found.category[0],
            found.brand[0],
            found.step[0],
            found.source[0],
            found.country[0],
            items[0].mean,
            items[0].greatest,
            categories[0].mean,
            categories[0].greatest,
            popularity,
            found.item[1],
            found.category[1],
            found.brand[1],
            items[1].mean,
            items[1].greatest,
            categories[1].mean,
            categories[1].greatest,
            found.markov[0],
            found.markov[1],
            found.markov[2],
        ])
    }
}

#[derive(Clone, Copy)]
struct OfAll {
    mean: f64,
    greatest: f64,
}

/// Of all of an episode's keys: purchases, then carts. One that is unknown stands for none.
fn of_all(priors: &[Prior]) -> Float<[OfAll; 2]> {
    let mut found = [OfAll {
        mean: 0.0,
        greatest: 0.0,
    }; 2];
    if priors.is_empty() {
        return Ok(found);
    }
    for (place, all) in found.iter_mut().enumerate() {
        let numbers = || priors.iter().map(move |prior| prior[place]);
        *all = OfAll {
            mean: fsum(numbers())? / priors.len() as f64,
            greatest: greatest(numbers()),
        };
    }
    Ok(found)
}

/// Half-lives from one time to another.
fn quotient(time: i64, from: i64) -> f64 {
    time.wrapping_sub(from) as f64 / HALF_LIFE_MS as f64
}

fn take_out(counts: &mut Counts, bought: f64, sessions: f64, carted: f64) {
    counts[1] = not_below_zero(counts[1] - sessions);
    counts[0] = at_most(not_below_zero(counts[0] - bought), counts[1]);
    counts[2] = at_most(not_below_zero(counts[2] - carted), counts[1]);
}

fn smoothed(counts: Option<&Counts>, factor: f64, rates: Prior) -> Float<Prior> {
    let counts = match counts {
        None => return Ok(rates),
        Some(counts) => counts,
    };
    let sessions = counts[1] * factor + SMOOTHING_SESSIONS;
    Ok([
        divided(counts[0] * factor + SMOOTHING_SESSIONS * rates[0], sessions)?,
        divided(counts[2] * factor + SMOOTHING_SESSIONS * rates[1], sessions)?,
    ])
}

fn logit(rate: f64) -> Float<f64> {
    log(divided(rate, 1.0 - rate)?)
}
