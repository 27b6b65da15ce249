//! How scored events become examples: `outcomes.py`, for outcomes that events and the clock decide.

use std::sync::Arc;

use crate::session::merged;
use crate::state::{Sample, Session, Taught};

pub fn admit(session: &mut Session, sample: Sample, reservoir_size: usize) {
    if session.bot {
        session.samples.clear();
        session.population = 0;
        return;
    }
    session.population += 1;
    let samples = &mut session.samples;
    if samples.len() < reservoir_size {
        samples.push(sample);
        return;
    }
    // The first of the largest, as Python's `max` finds it.
    let mut worst = 0;
    for (place, known) in samples.iter().enumerate() {
        if known.rank() > samples[worst].rank() {
            worst = place;
        }
    }
    if sample.rank() < samples[worst].rank() {
        samples.remove(worst);
        samples.push(sample);
    }
}

/// Take all samples out of the reservoir; None if there are none, or of a bot.
pub fn resolve(session: &mut Session, label: i64, source: i64, time: i64, orders: Vec<Arc<str>>) -> Option<Taught> {
    if session.bot || session.samples.is_empty() {
        return None;
    }
    let samples = std::mem::take(&mut session.samples);
    let weight = session.population as f64 / samples.len() as f64;
    session.population -= (weight * samples.len() as f64).round() as i64;
    let taught = Taught {
        session_id: session.session_id.clone(),
        given_id: session.given_id.clone(),
        start: session.start,
        last: session.last,
        label,
        source,
        time,
        orders,
        weight,
        origin: session.source.clone(),
        country: session.country.clone(),
        items: session.items.iter().map(|item| item.name.clone()).collect(),
        categories: session.categories.iter().map(|seen| seen.name.clone()).collect(),
        brands: session.brands.iter().map(|seen| seen.name.clone()).collect(),
        steps: session.steps,
        touched_before: session.touched,
        transitions: session.transitions.clone(),
        transitions_before: session.transitions_told.clone(),
        samples,
        purchases: Vec::new(),
    };
    let before = taught.touched_before;
    session.touched = [
        before[0].max(taught.items.len() as i64),
        before[1].max(taught.categories.len() as i64),
        before[2].max(taught.brands.len() as i64),
        before[3] | taught.steps,
    ];
    session.transitions_told = merged(&taught.transitions_before, &taught.transitions);
    Some(taught)
}
