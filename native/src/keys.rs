//! The names behind the scored events of a batch: `records.Keys`, N of them, without a Python object for each.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::sync::GILOnceCell;
use pyo3::types::PyType;
use rustc_hash::FxHashMap;

/// A piece of `KeysBatch::flat`.
#[derive(Clone, Copy, Default)]
pub struct Range {
    pub start: u32,
    pub len: u32,
}

/// One event's. Names are indices into `KeysBatch::names`, −1 for none.
#[derive(Clone, Copy)]
pub struct KeyRow {
    pub item: i32,
    pub category: i32,
    pub brand: i32,
    pub source: i32,
    pub country: i32,
    pub step: i32,
    pub transition: i32,
    /// the episode's distinct names so far, as indices
    pub items: Range,
    pub categories: Range,
    pub brands: Range,
    /// code, times, code, times, …
    pub transitions: Range,
}

/// A sequence of `records.Keys`, made one by one only when somebody asks for one.
#[pyclass(frozen, sequence)]
#[derive(Default)]
pub struct KeysBatch {
    /// distinct
    pub names: Vec<String>,
    pub rows: Vec<KeyRow>,
    pub flat: Vec<i32>,
}

impl KeysBatch {
    pub fn part(&self, range: Range) -> &[i32] {
        &self.flat[range.start as usize..(range.start + range.len) as usize]
    }

    pub fn name(&self, index: i32) -> Option<&str> {
        usize::try_from(index).ok().map(|index| self.names[index].as_str())
    }

    pub fn parts(&self, range: Range) -> impl Iterator<Item = &str> {
        self.part(range)
            .iter()
            .map(move |&index| self.names[index as usize].as_str())
    }
}

static KEYS: GILOnceCell<Py<PyType>> = GILOnceCell::new();

#[pymethods]
impl KeysBatch {
    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn __getitem__(&self, py: Python<'_>, n: isize) -> PyResult<PyObject> {
        let place = if n < 0 { n + self.rows.len() as isize } else { n };
        let row = usize::try_from(place)
            .ok()
            .and_then(|place| self.rows.get(place))
            .ok_or_else(|| PyIndexError::new_err(format!("got row {n} of {}", self.rows.len())))?;
        let list = |range| self.parts(range).collect::<Vec<_>>();
        let arguments = (
            self.name(row.item),
            self.name(row.category),
            self.name(row.brand),
            self.name(row.source),
            self.name(row.country),
            row.step,
            list(row.items),
            list(row.categories),
            list(row.brands),
            row.transition,
            self.part(row.transitions).to_vec(),
        );
        let keys = KEYS.import(py, "stream_app.core.records", "Keys")?;
        Ok(keys.call1(arguments)?.unbind())
    }
}

/// Gives each distinct name its index.
#[derive(Default)]
pub struct Names {
    pub names: Vec<String>,
    index: FxHashMap<String, i32>,
}

impl Names {
    pub fn index(&mut self, name: &str) -> i32 {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        let index = self.names.len() as i32;
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), index);
        index
    }
}
