//! The worker's inner loop, compiled: decode → fold → encode, for whole batches.
//!
//! It says what the Python of `stream_app/core` says, byte for byte: that is the reference, the fallback, and what folds
//! everything unusual. Here are the same files with the same names: `session.rs` is `session.py`, `batch.rs` is
//! `batch.py`. Between its calls Python computes features and scores, so that both have the same numbers.

mod batch;
mod config;
mod emission;
mod events;
mod json_read;
mod json_write;
mod keys;
mod moments;
mod msgpack;
mod newton;
mod outcomes;
mod priors;
mod record_list;
mod session;
mod state;

use std::sync::{Arc, Mutex};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySet};

use crate::batch::{places, Done, Fold, Frame, OUTCOMES};
use crate::config::{Config, Pages};
use crate::emission::{closed_records, Other, Said, Scores, Writing};
use crate::events::{blobs_of, Events};
use crate::record_list::RecordList;

/// The engine of one partition: its rules, and what it has learned of pages' URLs.
#[pyclass(frozen)]
struct Engine {
    config: Arc<Config>,
    pages: Mutex<Pages>,
}

#[pymethods]
impl Engine {
    #[new]
    fn new(settings: &Bound<'_, PyDict>) -> PyResult<Engine> {
        Ok(Engine {
            config: Arc::new(Config::read(settings)?),
            pages: Mutex::new(Pages::new()),
        })
    }

    /// Read records into events; those that are not plain through `slowly(record)`: the event, or None if rejected.
    fn read(
        &self,
        py: Python<'_>,
        records: &Bound<'_, PyList>,
        check_keys: bool,
        slowly: &Bound<'_, PyAny>,
    ) -> PyResult<Events> {
        events::read(py, &self.config, records, check_keys, slowly)
    }

    /// Fold the events on the visitors' blobs. `leave` are visitors to be left to Python, `due` those to look at when
    /// all events are folded.
    #[pyo3(signature = (events, blobs, *, leave, due, due_until, watermark_before, events_offset_before, events_offset))]
    #[allow(clippy::too_many_arguments)]
    fn fold(
        &self,
        py: Python<'_>,
        events: &Events,
        blobs: &Bound<'_, PyDict>,
        leave: &Bound<'_, PySet>,
        due: &Bound<'_, PyList>,
        due_until: i64,
        watermark_before: i64,
        events_offset_before: i64,
        events_offset: i64,
    ) -> PyResult<Folded> {
        let names = PyList::new(py, events.visitors(py).bind(py).iter())?;
        let mut ids: Vec<Arc<str>> = names.extract::<Vec<String>>()?.into_iter().map(Arc::from).collect();
        let mut known = places(&ids);
        let mut due_places = Vec::with_capacity(due.len());
        for visitor in due.iter() {
            let id: Arc<str> = Arc::from(visitor.extract::<String>()?);
            let place = match known.get(&id) {
                Some(&place) => place,
                None => {
                    let place = names.len() as u32;
                    names.append(&visitor)?;
                    ids.push(id.clone());
                    known.insert(id, place);
                    place
                }
            };
            due_places.push(place);
        }
        let frame = Frame {
            watermark_before,
            events_offset_before,
            events_offset,
        };
        let mut fold = Fold::new(&self.config, events, frame, &names, ids)?;
        for visitor in leave.iter() {
            if let Some(&place) = known.get(visitor.extract::<String>()?.as_str()) {
                fold.leave(place as usize);
            }
        }
        let mut pages = self
            .pages
            .lock()
            .map_err(|_| PyValueError::new_err("a former batch failed in here"))?;
        let (blobs, pages) = (blobs_of(blobs, &names)?, &mut *pages);
        py.allow_threads(|| fold.run(&blobs, pages, &due_places, due_until))?;
        Ok(Folded {
            config: self.config.clone(),
            done: fold.done(py)?,
            due: due_places,
            scores: None,
        })
    }
}

/// A folded batch, from which its records are written once it is scored.
#[pyclass]
struct Folded {
    config: Arc<Config>,
    done: Done,
    due: Vec<u32>,
    scores: Option<Scores>,
}

impl Folded {
    fn writing(&self) -> PyResult<Writing<'_>> {
        match &self.scores {
            Some(scores) => Ok(Writing {
                config: &self.config,
                done: &self.done,
                keys: self.done.keys.get(),
                scores,
            }),
            None => Err(PyValueError::new_err("the batch is not scored yet")),
        }
    }
}

#[pymethods]
impl Folded {
    /// Events that are to be scored.
    fn __len__(&self) -> usize {
        self.done.rows.len()
    }

    /// The raw numbers of their features: float64, C order, shape (N, len(features.RAW)).
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        // SAFETY: any eight bytes of a number are bytes.
        let bytes = unsafe { std::slice::from_raw_parts(self.done.raw.as_ptr().cast::<u8>(), self.done.raw.len() * 8) };
        PyBytes::new(py, bytes)
    }

    /// The names behind them, a sequence of `records.Keys`.
    #[getter]
    fn keys(&self, py: Python<'_>) -> Py<keys::KeysBatch> {
        self.done.keys.clone_ref(py)
    }

    /// Of the rows the places of their events.
    #[getter]
    fn rows(&self) -> Vec<u32> {
        self.done.rows.iter().map(|row| row.event).collect()
    }

    /// Of a row its event's id.
    fn event_id(&self, row: usize) -> &str {
        let event = self.done.rows[row].event as usize;
        self.done.batch.events[event]
            .event_id
            .of(&self.done.batch.text)
            .unwrap_or("")
    }

    /// Places of the events that are left to Python.
    #[getter]
    fn left_events(&self) -> Vec<usize> {
        self.done.left_events.clone()
    }

    /// Names of the visitors that are left to Python.
    fn left_visitors(&self, py: Python<'_>) -> PyResult<Py<PyList>> {
        let left = self
            .done
            .slots
            .iter()
            .zip(&self.done.names)
            .filter(|(slot, _)| matches!(slot, batch::Slot::Left));
        Ok(PyList::new(py, left.map(|(_, name)| name.clone_ref(py)).collect::<Vec<_>>())?.unbind())
    }

    /// ((event type, outcome), events) of how the events fared.
    fn counts(&self) -> Vec<((&str, &str), usize)> {
        let mut found = Vec::new();
        for (kind, counts) in self.config.event_types.iter().zip(&self.done.counts) {
            for (outcome, &count) in OUTCOMES.into_iter().zip(counts) {
                if count > 0 {
                    found.push(((kind.as_str(), outcome), count));
                }
            }
        }
        found
    }

    /// Sessions opened, closed, and of these those that a bound has ended.
    fn sessions(&self) -> (usize, usize, usize) {
        let bound = self.done.closed.iter().filter(|session| session.bound).count();
        (self.done.opened, self.done.closed.len(), bound)
    }

    /// Scored events and closed sessions that are a bot's.
    fn bots(&self) -> (usize, usize) {
        let events = self.done.rows.iter().filter(|row| row.bot).count();
        (events, self.done.closed.iter().filter(|session| session.bot).count())
    }

    /// Take the scores, and write the feature and score records; how many scores are in each band.
    ///
    /// `fixed` are the fixed-point features, int32, C order, shape (N, len(FEATURES)); `scores` float64, shape (N,);
    /// `reasons` JSON for each row or None, or an empty list. `others` are the events that Python has scored, by offset:
    /// (offset, key, feature record, score record).
    #[pyo3(signature = (fixed, scores, *, name, version, updates, cold, fence, likely, now_ms, reasons, others))]
    #[allow(clippy::too_many_arguments)]
    fn score(
        &mut self,
        py: Python<'_>,
        fixed: PyBuffer<i32>,
        scores: PyBuffer<f64>,
        name: &str,
        version: i64,
        updates: i64,
        cold: bool,
        fence: f64,
        likely: f64,
        now_ms: i64,
        reasons: Vec<Option<Vec<u8>>>,
        others: Vec<Other>,
    ) -> PyResult<(RecordList, RecordList, [usize; 3])> {
        let (rows, width) = (self.done.rows.len(), self.config.feature_heads.len());
        if fixed.item_count() != rows * width || scores.item_count() != rows {
            return Err(PyValueError::new_err(format!(
                "got {} features and {} scores, expected {} and {rows}",
                fixed.item_count(),
                scores.item_count(),
                rows * width
            )));
        }
        let said = Said {
            name,
            version,
            updates,
            cold,
            fence,
            likely,
            now_ms,
        };
        self.scores = Some(Scores::new(&self.config, fixed.to_vec(py)?, scores.to_vec(py)?, &said));
        let writing = self.writing()?;
        let (feature_records, score_records) = py.allow_threads(|| writing.score_records(&said, &reasons, &others));
        Ok((feature_records, score_records, writing.band_counts()))
    }

    /// Follow the sessions through their scores, whose logits (int32, shape (N,), in the engine's units) are given: the
    /// moments' records, and (kind, moments). The states are complete only after this.
    fn moments(
        &mut self,
        py: Python<'_>,
        logits: PyBuffer<i32>,
        now_ms: i64,
    ) -> PyResult<(RecordList, Vec<(&'static str, usize)>)> {
        let logits = logits.to_vec(py)?;
        if logits.len() != self.done.rows.len() {
            let (got, expected) = (logits.len(), self.done.rows.len());
            return Err(PyValueError::new_err(format!("got {got} logits, expected {expected}")));
        }
        let mut moods = self.done.moods.clone();
        let (found, counts) = self.writing()?.moments(&mut moods, &logits, now_ms)?;
        self.done.moods = moods;
        let told = moments::KINDS.into_iter().zip(counts).filter(|&(_, count)| count > 0);
        Ok((found, told.collect()))
    }

    /// The examples of all outcomes.
    fn examples(&self, py: Python<'_>, ordinal_bits: u32) -> PyResult<RecordList> {
        let writing = self.writing()?;
        py.allow_threads(|| writing.examples(ordinal_bits))
    }

    /// Of each outcome its trigger, its visitor, and its examples: for those who order them among others.
    fn resolved(&self) -> Vec<((i64, i64), &str, usize)> {
        let done = &self.done;
        done.resolved
            .iter()
            .map(|resolved| {
                let id = &*done.ids[resolved.visitor as usize];
                (resolved.trigger, id, done.taught[resolved.taught].samples.len())
            })
            .collect()
    }

    /// The examples of one outcome, from this ordinal on.
    fn examples_of(&self, place: usize, first: i64) -> PyResult<RecordList> {
        let mut found = RecordList::default();
        self.writing()?
            .examples_of(&self.done.resolved[place], first, &mut found)?;
        Ok(found)
    }

    /// The records of the sessions that ended.
    fn closed(&self) -> RecordList {
        closed_records(&self.done.ids, &self.done.closed)
    }

    /// The changed states by visitor, and the deadlines that changed against the schedule's.
    fn states(&self, py: Python<'_>, schedule: &Bound<'_, PyDict>) -> PyResult<(Py<PyDict>, Py<PyDict>)> {
        let (states, deadlines) = self.writing()?.states(py, schedule, &self.due)?;
        Ok((states.unbind(), deadlines.unbind()))
    }
}

#[pymodule]
fn stream_app_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Engine>()?;
    module.add_class::<Events>()?;
    module.add_class::<Folded>()?;
    module.add_class::<keys::KeysBatch>()?;
    module.add_class::<RecordList>()?;
    module.add_class::<priors::PriorTable>()?;
    module.add_function(wrap_pyfunction!(newton::newton_learn, module)?)?;
    module.add_function(wrap_pyfunction!(newton::newton_predict, module)?)?;
    Ok(())
}
