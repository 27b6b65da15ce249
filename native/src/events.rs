//! A batch of records, read: its events, its visitors, and how event time went on.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString};
use rustc_hash::FxHashMap;

use crate::config::Config;
use crate::json_read::{read_event, Event, Span, NONE};

/// What was read, and is looked at by everything after.
pub struct Batch {
    pub text: String,
    pub events: Vec<Event>,
    pub offsets: Vec<i64>,
    /// the broker's time of each, ms
    pub received: Vec<i64>,
    /// event → its visitor's place
    pub visitor_of: Vec<u32>,
    /// distinct, in order of appearance
    pub visitors: Vec<Span>,
    /// event → place of its record in what was given
    pub record_of: Vec<u32>,
}

/// The accepted events of a poll.
#[pyclass]
pub struct Events {
    pub batch: Arc<Batch>,
    /// the watermark time after each event
    pub watermarks: Arc<Vec<i64>>,
    names: Py<PyList>,
}

#[pymethods]
impl Events {
    fn __len__(&self) -> usize {
        self.batch.events.len()
    }

    /// The distinct visitors' ids, in order of appearance.
    #[getter]
    pub fn visitors(&self, py: Python<'_>) -> Py<PyList> {
        self.names.clone_ref(py)
    }

    /// Offsets of all events.
    #[getter]
    fn offsets(&self) -> Vec<i64> {
        self.batch.offsets.clone()
    }

    /// The watermark time after each event.
    #[getter]
    fn watermarks(&self) -> Vec<i64> {
        self.watermarks.to_vec()
    }

    /// Of an event, the place of its record among those given.
    fn record_of(&self, event: usize) -> u32 {
        self.batch.record_of[event]
    }

    /// Let event time pass: `Watermark.observe` for each event.
    ///
    /// Takes a watermark's four fields; gives them back as they are after the last event, and how many events lie more
    /// than the grace ahead of the broker's time.
    fn observe(
        &mut self,
        newest: i64,
        live: bool,
        received: i64,
        recent: Vec<(i64, i64)>,
        grace_ms: i64,
    ) -> (i64, bool, i64, Vec<(i64, i64)>, usize) {
        let mut watermark = Watermark {
            newest,
            live,
            received,
            recent,
        };
        let mut ahead = 0;
        let mut times = Vec::with_capacity(self.batch.events.len());
        let hashes: Vec<i64> = self
            .batch
            .visitors
            .iter()
            .map(|visitor| i64::from(crc32fast::hash(visitor.of(&self.batch.text).unwrap_or("").as_bytes())))
            .collect();
        for (place, event) in self.batch.events.iter().enumerate() {
            let received = self.batch.received[place];
            ahead += usize::from(event.event_time.saturating_sub(received) > grace_ms);
            watermark.observe(
                event.event_time,
                hashes[self.batch.visitor_of[place] as usize],
                received,
                grace_ms,
            );
            times.push(if watermark.newest == UNKNOWN {
                UNKNOWN
            } else {
                watermark.newest - grace_ms
            });
        }
        self.watermarks = Arc::new(times);
        (
            watermark.newest,
            watermark.live,
            watermark.received,
            watermark.recent,
            ahead,
        )
    }
}

/// `watermark.Watermark`.
struct Watermark {
    newest: i64,
    live: bool,
    received: i64,
    recent: Vec<(i64, i64)>,
}

const UNKNOWN: i64 = -1;
const PROMPT: i64 = 0;
const VISITORS_ASKED: usize = 5;
const MAJORITY: usize = 3;

impl Watermark {
    fn observe(&mut self, event_time: i64, visitor: i64, received: i64, grace_ms: i64) {
        let mut reached = received;
        if !self.live {
            self.received = received;
            self.recent.retain(|(known, _)| *known != visitor);
            self.recent.push((
                visitor,
                if event_time >= received - grace_ms {
                    PROMPT
                } else {
                    event_time
                },
            ));
            if self.recent.len() > VISITORS_ASKED {
                self.recent.remove(0);
            }
            if event_time <= self.newest || self.recent.len() < MAJORITY {
                return;
            }
            let mut times: Vec<i64> = self.recent.iter().map(|(_, time)| *time).collect();
            times.sort_unstable();
            let prompt = times.iter().filter(|&&time| time == PROMPT).count();
            if prompt < MAJORITY {
                reached = received.min(times[times.len() + prompt - MAJORITY]);
            } else {
                self.live = true;
                self.received = 0;
                self.recent.clear();
            }
        }
        self.newest = self.newest.max(event_time.min(reached));
    }
}

/// What of a record is looked at; a value that is not bytes is left to Python.
struct Given {
    offset: i64,
    received: i64,
    key: Option<PyBackedBytes>,
    value: Option<PyBackedBytes>,
}

impl Given {
    fn of(record: &Bound<'_, PyAny>, check_keys: bool) -> PyResult<Given> {
        let py = record.py();
        let bytes = |name| -> PyResult<Option<PyBackedBytes>> {
            Ok(record
                .getattr(name)?
                .downcast_into::<PyBytes>()
                .ok()
                .map(PyBackedBytes::from))
        };
        Ok(Given {
            offset: record.getattr(intern!(py, "offset"))?.extract()?,
            received: record.getattr(intern!(py, "timestamp"))?.extract()?,
            key: if check_keys { bytes(intern!(py, "key"))? } else { None },
            value: bytes(intern!(py, "value"))?,
        })
    }
}

/// Reads records; those that are not plain through `slowly(record)`, which gives the event or None.
pub fn read(
    py: Python<'_>,
    config: &Config,
    records: &Bound<'_, PyList>,
    check_keys: bool,
    slowly: &Bound<'_, PyAny>,
) -> PyResult<Events> {
    let count = records.len();
    let given = records
        .iter()
        .map(|record| Given::of(&record, check_keys))
        .collect::<PyResult<Vec<_>>>()?;
    let mut text = String::with_capacity(count * 300);
    let plain: Vec<Option<Event>> = py.allow_threads(|| {
        given
            .iter()
            .map(|record| read_plain(config, record, check_keys, &mut text))
            .collect()
    });
    let mut batch = Batch {
        text,
        events: Vec::with_capacity(count),
        offsets: Vec::with_capacity(count),
        received: Vec::with_capacity(count),
        visitor_of: Vec::with_capacity(count),
        visitors: Vec::new(),
        record_of: Vec::with_capacity(count),
    };
    let mut known: FxHashMap<Box<str>, u32> = FxHashMap::default();
    for (place, (record, event)) in given.iter().zip(plain).enumerate() {
        let event = match event {
            Some(event) => event,
            None => {
                let event = slowly.call1((records.get_item(place)?,))?;
                if event.is_none() {
                    continue;
                }
                from_python(&event, config, &mut batch.text)?
            }
        };
        let visitor_id = event.visitor_id.of(&batch.text).unwrap_or("");
        let visitor = match known.get(visitor_id) {
            Some(&visitor) => visitor,
            None => {
                let visitor = batch.visitors.len() as u32;
                known.insert(visitor_id.into(), visitor);
                batch.visitors.push(event.visitor_id);
                visitor
            }
        };
        batch.visitor_of.push(visitor);
        batch.offsets.push(record.offset);
        batch.received.push(record.received);
        batch.record_of.push(place as u32);
        batch.events.push(event);
    }
    let names = PyList::new(
        py,
        batch
            .visitors
            .iter()
            .map(|visitor| visitor.of(&batch.text).unwrap_or("")),
    )?;
    Ok(Events {
        batch: Arc::new(batch),
        watermarks: Arc::new(Vec::new()),
        names: names.unbind(),
    })
}

fn read_plain(config: &Config, record: &Given, check_keys: bool, text: &mut String) -> Option<Event> {
    let value: &[u8] = record.value.as_ref()?;
    if value.len() > config.record_bytes_max {
        return None;
    }
    let before = text.len();
    let event = read_event(value, text, &config.event_types, &config.limits)?;
    let in_time = config.event_time_min <= event.event_time
        && event.event_time <= record.received.saturating_add(config.event_time_ahead_max);
    let visitor_id = event.visitor_id.of(text).unwrap_or("").as_bytes();
    let in_place = !check_keys || record.key.as_deref() == Some(visitor_id);
    if !(in_time && in_place) {
        text.truncate(before);
        return None;
    }
    Some(event)
}

/// An `events.Event` that Python has decoded.
fn from_python(event: &Bound<'_, PyAny>, config: &Config, text: &mut String) -> PyResult<Event> {
    let mut found = Event::empty();
    let mut span = |name: &str| -> PyResult<Span> {
        let value = event.getattr(name)?;
        if value.is_none() {
            return Ok(NONE);
        }
        let value = value.downcast::<PyString>()?;
        let value = value.to_str()?;
        let start = text.len() as u32;
        text.push_str(value);
        Ok(Span {
            start,
            len: value.len() as u32,
        })
    };
    found.event_id = span("event_id")?;
    found.visitor_id = span("visitor_id")?;
    found.session_id = span("session_id")?;
    found.item_id = span("item_id")?;
    found.category = span("category")?;
    found.brand = span("brand")?;
    found.order_id = span("order_id")?;
    found.page_url = span("page_url")?;
    found.source = span("source")?;
    found.country = span("country")?;
    found.device = span("device")?;
    let event_type: String = event.getattr("event_type")?.extract()?;
    let code = config.event_types.iter().position(|name| *name == event_type);
    found.event_type = code.map_or(u8::MAX, |code| code as u8);
    found.event_time = event.getattr("event_time")?.extract()?;
    found.price = event.getattr("price")?.extract()?;
    found.quantity = event.getattr("quantity")?.extract()?;
    found.bot = event.getattr("bot")?.extract::<Option<bool>>()?.unwrap_or(false);
    Ok(found)
}

/// The visitors' blobs by their places, as they can be read without Python.
pub fn blobs_of(blobs: &Bound<'_, PyDict>, names: &Bound<'_, PyList>) -> PyResult<Vec<Option<PyBackedBytes>>> {
    let blob_of = |name: Bound<'_, PyAny>| match blobs.get_item(name)? {
        Some(blob) if !blob.is_none() => Ok(Some(PyBackedBytes::from(blob.downcast_into::<PyBytes>()?))),
        _ => Ok(None),
    };
    names.iter().map(blob_of).collect()
}

/// The visitor's deadline in a schedule's dict.
pub fn deadline_of(deadlines: &Bound<'_, PyDict>, visitor: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    match deadlines.get_item(visitor)? {
        Some(deadline) => Ok(Some(deadline.downcast::<PyInt>()?.extract()?)),
        None => Ok(None),
    }
}
