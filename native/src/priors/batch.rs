//! The priors of a batch's rows: of each distinct name they are computed once.

use super::counts::{Found, Now, Prior, Ratios, Table, BRAND, CATEGORY, COUNTRY, ITEM, KINDS, SOURCE, UNKNOWN, WIDTH};
use super::float::Float;
use crate::keys::KeysBatch;

pub struct Batch<'a> {
    table: &'a Table,
    now: &'a Now,
    keys: &'a KeysBatch,
    /// by kind and name
    known: Vec<Vec<Option<Prior>>>,
    /// of the row at hand
    items: Vec<Prior>,
    categories: Vec<Prior>,
    transitions: Vec<i64>,
}

impl<'a> Batch<'a> {
    pub fn new(table: &'a Table, now: &'a Now, keys: &'a KeysBatch) -> Self {
        Batch {
            table,
            now,
            keys,
            known: (0..KINDS.len()).map(|_| Vec::new()).collect(),
            items: Vec::new(),
            categories: Vec::new(),
            transitions: Vec::new(),
        }
    }

    pub fn row(&mut self, n: usize, ratios: &mut Ratios) -> Float<[f64; WIDTH]> {
        let (table, now, keys) = (self.table, self.now, self.keys);
        let row = &keys.rows[n];
        let counts = keys.name(row.item).and_then(|name| table.counts(ITEM, name));
        let item = match keys.name(row.item) {
            None => UNKNOWN,
            Some(_) => table.item_prior(now, counts, keys.name(row.category))?,
        };
        self.items.clear();
        for &name in keys.part(row.items) {
            let prior = self.prior(ITEM, name)?;
            self.items.push(prior);
        }
        self.categories.clear();
        for &name in keys.part(row.categories) {
            let prior = self.prior(CATEGORY, name)?;
            self.categories.push(prior);
        }
        self.transitions.clear();
        self.transitions
            .extend(keys.part(row.transitions).iter().map(|&number| i64::from(number)));
        now.row(&Found {
            item,
            category: self.prior(CATEGORY, row.category)?,
            brand: self.prior(BRAND, row.brand)?,
            step: table.step_prior(now, i64::from(row.step))?,
            source: self.prior(SOURCE, row.source)?,
            country: self.prior(COUNTRY, row.country)?,
            sessions: counts.map(|counts| counts[1]),
            items: &self.items,
            categories: &self.categories,
            markov: ratios.markov(table, now, i64::from(row.transition), &self.transitions)?,
        })
    }

    fn prior(&mut self, kind: usize, index: i32) -> Float<Prior> {
        let name = match self.keys.name(index) {
            None => return Ok(UNKNOWN),
            Some(name) => name,
        };
        let known = &mut self.known[kind];
        if known.is_empty() {
            known.resize(self.keys.names.len(), None);
        }
        if let Some(prior) = known[index as usize] {
            return Ok(prior);
        }
        let prior = self.table.prior(self.now, kind, name)?;
        known[index as usize] = Some(prior);
        Ok(prior)
    }
}
