//! `stream_app.core.priors.PriorTable`, compiled: the same methods, and the same numbers to the last bit.
//!
//! What the counts mean is written there. Here: how Python objects become names and numbers (this file), the counts
//! (`counts.rs`), the rows of a batch (`batch.rs`), and Python's arithmetic (`float.rs`). No order of a hash map is ever seen outside.

mod batch;
mod counts;
mod float;

use crate::keys::KeysBatch;
use batch::Batch;
use counts::{
    Counts, Found, Now, Prior, Ratios, Table, BRAND, CATEGORY, COUNTRY, ITEM, KINDS, SOURCE, STEP, UNKNOWN, WIDTH,
};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

/// The counts. `base_rate` is assumed until the shop's own is known; event times are ms.
#[pyclass(module = "stream_app_native")]
#[derive(Clone)]
pub struct PriorTable {
    table: Table,
    ratios: Ratios,
}

#[pymethods]
impl PriorTable {
    #[new]
    #[pyo3(signature = (base_rate, *, entries_max = counts::ENTRIES_MAX))]
    fn new(base_rate: f64, entries_max: usize) -> Self {
        PriorTable {
            table: Table::new(base_rate, entries_max),
            ratios: Ratios::new(),
        }
    }

    /// What must be the same in Python: name of the constant there → its value here.
    #[staticmethod]
    fn constants(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let found = PyDict::new(py);
        found.set_item("SMOOTHING_SESSIONS", counts::SMOOTHING_SESSIONS)?;
        found.set_item("HALF_LIFE_MS", counts::HALF_LIFE_MS)?;
        found.set_item("ENTRIES_MAX", counts::ENTRIES_MAX)?;
        found.set_item("EVICT_SHARE", counts::EVICT_SHARE)?;
        found.set_item("BASE_SESSIONS", counts::BASE_SESSIONS)?;
        found.set_item("CARTS_PER_PURCHASE", counts::CARTS_PER_PURCHASE)?;
        found.set_item("GROUPS", counts::GROUPS)?;
        found.set_item("TRANSITION_CODES", counts::TRANSITION_CODES)?;
        found.set_item("TRANSITION_TIMES_MAX", counts::TRANSITION_TIMES_MAX)?;
        found.set_item("PRIOR_NAMES", WIDTH)?;
        found.set_item("KINDS", PyTuple::new(py, KINDS)?)?;
        Ok(found)
    }

    #[getter]
    fn initial_base_rate(&self) -> f64 {
        self.table.initial_base_rate
    }

    /// Event time of the first outcome; −1 before it.
    #[getter]
    fn landmark(&self) -> i64 {
        self.table.landmark
    }

    #[getter]
    fn newest(&self) -> i64 {
        self.table.newest
    }

    /// Buying sessions, sessions, those with something in the cart, in forward-decayed form.
    #[getter]
    fn base(&self) -> Vec<f64> {
        self.table.base.to_vec()
    }

    /// Share of episodes that ended in a checkout, smoothed by the assumed one.
    #[getter]
    fn base_rate(&mut self) -> PyResult<f64> {
        Ok(self.table.now()?.base_rate)
    }

    /// Share of episodes with something in the cart, or a checkout.
    #[getter]
    fn cart_rate(&mut self) -> PyResult<f64> {
        Ok(self.table.now()?.cart_rate)
    }

    fn __len__(&self) -> usize {
        self.table.len()
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.clone()
    }

    /// Count one finished episode: the keys it touched, whether it was bought (1) or not (0), and when.
    fn learn(&mut self, touched: &Bound<'_, PyAny>, label: i64, time: i64) -> PyResult<()> {
        let py = touched.py();
        let table = &mut self.table;
        table.begin(time);
        let outcome = table.outcome(label, is_carted(touched)?, time)?;
        table.count_base(&outcome);
        for pair in integers(touched, intern!(py, "transitions"))?.chunks_exact(2) {
            table.count_transition(pair[0], pair[1], &outcome);
        }
        each_touched(touched, |kind, key| table.count(kind, key, &outcome))?;
        self.forget();
        Ok(())
    }

    /// Take out an episode that `learn` has counted with this label and time, as if it never had.
    fn unlearn(&mut self, touched: &Bound<'_, PyAny>, label: i64, time: i64) -> PyResult<()> {
        let py = touched.py();
        let table = &mut self.table;
        if table.landmark < 0 {
            return Ok(());
        }
        let outcome = table.outcome(label, is_carted(touched)?, time)?;
        if !touched.getattr(intern!(py, "parted"))?.is_truthy()? {
            table.take_out_base(&outcome);
        }
        for pair in integers(touched, intern!(py, "transitions"))?.chunks_exact(2) {
            table.take_out_transition(pair[0], pair[1], &outcome);
        }
        each_touched(touched, |kind, key| table.take_out(kind, key, &outcome))?;
        self.forget();
        Ok(())
    }

    /// The numbers of `PRIOR_NAMES` for a scored event.
    fn values(&mut self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
        let now = self.table.now()?;
        Ok(self.row_of(&now, keys)?.to_vec())
    }

    /// The same for N events: float64, C order, shape (N, len(PRIOR_NAMES)). `keys` is a `KeysBatch` or a sequence.
    fn values_many<'py>(&mut self, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = keys.py();
        let now = self.table.now()?;
        if let Ok(keys) = keys.downcast::<KeysBatch>() {
            let keys = keys.get();
            let mut rows = Rows::with_capacity(keys.rows.len());
            let mut batch = Batch::new(&self.table, &now, keys);
            for n in 0..keys.rows.len() {
                rows.push(&batch.row(n, &mut self.ratios)?);
            }
            return Ok(rows.into_bytes(py));
        }
        let mut rows = Rows::with_capacity(keys.len().unwrap_or(0));
        each(keys, |keys| {
            rows.push(&self.row_of(&now, keys)?);
            Ok(())
        })?;
        Ok(rows.into_bytes(py))
    }

    /// The entries changed since the last call, by kind and key; None for those dropped.
    fn take_changes<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        for (kind, key, counts) in self.table.take_changes() {
            found.set_item((KINDS[kind], key), counts.map(|counts| counts.to_vec()))?;
        }
        Ok(found)
    }

    /// Apply another table's changes, as a scorer or a restarted trainer does.
    fn put_changes(&mut self, changes: &Bound<'_, PyAny>) -> PyResult<()> {
        // All are looked at before one is applied.
        let mut read: Vec<(usize, String, Option<Counts>)> = Vec::new();
        for change in changes.try_iter()? {
            let ((kind, key), counts): ((String, String), Option<Vec<f64>>) = change?.extract()?;
            let counts = counts.map(three).transpose()?;
            if let Some(kind) = kind_of(&kind) {
                read.push((kind, key, counts));
            }
        }
        for (kind, key, counts) in read {
            self.table.put(kind, key, counts);
        }
        self.forget();
        Ok(())
    }

    /// Take over another table's clock, base counts and assumed base rate.
    #[pyo3(signature = (*, landmark, newest, base, initial_base_rate))]
    fn set_clock(&mut self, landmark: i64, newest: i64, base: Vec<f64>, initial_base_rate: f64) -> PyResult<()> {
        let base = three(base)?;
        let table = &mut self.table;
        table.landmark = landmark;
        table.newest = newest;
        table.base = base;
        table.initial_base_rate = initial_base_rate;
        self.forget();
        Ok(())
    }

    /// All that is counted, a copy: kind → key → counts, keys in order.
    fn entries<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        for (kind, name) in KINDS.iter().enumerate() {
            let mut entries: Vec<(&str, &Counts)> = self.table.entries(kind).collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let dict = PyDict::new(py);
            for (key, counts) in entries {
                dict.set_item(key, counts.to_vec())?;
            }
            found.set_item(name, dict)?;
        }
        Ok(found)
    }
}

impl PriorTable {
    fn forget(&mut self) {
        self.table.forget();
        self.ratios.forget();
    }

    /// A row of `records.Keys`.
    fn row_of(&mut self, now: &Now, keys: &Bound<'_, PyAny>) -> PyResult<[f64; WIDTH]> {
        let py = keys.py();
        let table = &self.table;
        let category = text(keys, intern!(py, "category"))?;
        let category = category.as_ref().map(|name| name.to_str()).transpose()?;
        let (mut item, mut sessions) = (UNKNOWN, None);
        if let Some(name) = text(keys, intern!(py, "item"))? {
            let counts = table.counts(ITEM, name.to_str()?);
            sessions = counts.map(|counts| counts[1]);
            item = table.item_prior(now, counts, category)?;
        }
        let single = |kind: usize, attribute| -> PyResult<Prior> {
            match text(keys, attribute)? {
                None => Ok(UNKNOWN),
                Some(name) => Ok(table.prior(now, kind, name.to_str()?)?),
            }
        };
        let several = |kind: usize, attribute| -> PyResult<Vec<Prior>> {
            let mut found = Vec::new();
            each(&keys.getattr(attribute)?, |name| {
                found.push(table.prior(now, kind, name.downcast::<PyString>()?.to_str()?)?);
                Ok(())
            })?;
            Ok(found)
        };
        let transitions = integers(keys, intern!(py, "transitions"))?;
        let transition = keys.getattr(intern!(py, "transition"))?.extract()?;
        let found = Found {
            item,
            category: category.map_or(Ok(UNKNOWN), |name| table.prior(now, CATEGORY, name))?,
            brand: single(BRAND, intern!(py, "brand"))?,
            step: table.step_prior(now, keys.getattr(intern!(py, "step"))?.extract()?)?,
            source: single(SOURCE, intern!(py, "source"))?,
            country: single(COUNTRY, intern!(py, "country"))?,
            sessions,
            items: &several(ITEM, intern!(py, "items"))?,
            categories: &several(CATEGORY, intern!(py, "categories"))?,
            markov: self.ratios.markov(table, now, transition, &transitions)?,
        };
        Ok(now.row(&found)?)
    }
}

/// Rows as bytes: what NumPy reads without a copy.
struct Rows(Vec<u8>);

impl Rows {
    fn with_capacity(rows: usize) -> Self {
        Rows(Vec::with_capacity(rows * WIDTH * std::mem::size_of::<f64>()))
    }

    fn push(&mut self, row: &[f64; WIDTH]) {
        for number in row {
            self.0.extend_from_slice(&number.to_ne_bytes());
        }
    }

    fn into_bytes(self, py: Python<'_>) -> Bound<'_, PyBytes> {
        PyBytes::new(py, &self.0)
    }
}

fn is_carted(touched: &Bound<'_, PyAny>) -> PyResult<bool> {
    touched.getattr(intern!(touched.py(), "carted"))?.is_truthy()
}

/// Each key of an episode that counts, with its kind.
fn each_touched(touched: &Bound<'_, PyAny>, mut take: impl FnMut(usize, &str)) -> PyResult<()> {
    let py = touched.py();
    for (kind, attribute) in [
        (ITEM, intern!(py, "items")),
        (CATEGORY, intern!(py, "categories")),
        (BRAND, intern!(py, "brands")),
    ] {
        each(&touched.getattr(attribute)?, |name| {
            take(kind, name.downcast::<PyString>()?.to_str()?);
            Ok(())
        })?;
    }
    for step in integers(touched, intern!(py, "steps"))? {
        take(STEP, &step.to_string());
    }
    for (kind, attribute) in [(SOURCE, intern!(py, "source")), (COUNTRY, intern!(py, "country"))] {
        if let Some(name) = text(touched, attribute)? {
            take(kind, name.to_str()?);
        }
    }
    Ok(())
}

fn each<'py>(sequence: &Bound<'py, PyAny>, mut take: impl FnMut(&Bound<'py, PyAny>) -> PyResult<()>) -> PyResult<()> {
    if let Ok(list) = sequence.downcast::<PyList>() {
        return list.iter().try_for_each(|item| take(&item));
    }
    sequence.try_iter()?.try_for_each(|item| take(&item?))
}

/// An attribute that is a name or None.
fn text<'py>(object: &Bound<'py, PyAny>, attribute: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyString>>> {
    let found = object.getattr(attribute)?;
    if found.is_none() {
        return Ok(None);
    }
    Ok(Some(found.downcast_into::<PyString>()?))
}

fn integers<'py>(object: &Bound<'py, PyAny>, attribute: &Bound<'py, PyString>) -> PyResult<Vec<i64>> {
    let mut found = Vec::new();
    each(&object.getattr(attribute)?, |number| {
        found.push(number.extract()?);
        Ok(())
    })?;
    Ok(found)
}

fn kind_of(name: &str) -> Option<usize> {
    KINDS.iter().position(|kind| *kind == name)
}

fn three(numbers: Vec<f64>) -> PyResult<Counts> {
    let got = numbers.len();
    numbers
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("priors: got {got} counts, expected 3")))
}
