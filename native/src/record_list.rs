//! Records on their way into a topic, and the record batches that they fill.
//!
//! A Python object for each key and value, and a call for each record, would cost as much as everything else. Here a record
//! is written once, as Kafka's format 2 has it, behind the one before it: what a batch is made of lies ready, to be compressed
//! where it is. The batch's header is written by the client's side (`backends/prepared_batch.py`): it needs the producer's id
//! and sequence.

use lz4_flex::block::{compress_into, get_maximum_output_size};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice, PyTuple};

/// Bytes of records that most likely fit into one batch when compressed: LZ4 makes a tenth of our records and a third of
/// our states, and a batch may have nearly a megabyte.
const RUN_BYTES: usize = 3_600_000;

/// Where in its run a record's key and its value lie, and where it ends.
struct Place {
    key: (usize, usize),
    value: (usize, usize),
    end: usize,
}

/// Records one after the other, whose offsets count from 0: a batch's body, or several batches'.
#[derive(Default)]
struct Run {
    body: Vec<u8>,
    places: Vec<Place>,
}

impl Run {
    fn with_capacity(records: usize, bytes: usize) -> Run {
        Run {
            body: Vec::with_capacity(bytes),
            places: Vec::with_capacity(records),
        }
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        let place = write_record(&mut self.body, self.places.len() as i64, key, value);
        self.places.push(place);
    }

    fn record(&self, n: usize) -> (&[u8], &[u8]) {
        let Place { key, value, .. } = self.places[n];
        (&self.body[key.0..key.1], &self.body[value.0..value.1])
    }

    fn start(&self, n: usize) -> usize {
        if n == 0 {
            0
        } else {
            self.places[n - 1].end
        }
    }

    /// The end of the most records from `begin` on of at most so many bytes; one at least.
    fn end_of(&self, begin: usize, bytes_max: usize) -> usize {
        let start = self.start(begin);
        let fits = self.places[begin..].partition_point(|place| place.end - start <= bytes_max);
        begin + fits.max(1)
    }

    /// (records, compressed body) of as few batches as hold the run, none of more than `bytes_max` but one of a single record.
    fn batches(&self, bytes_max: usize, found: &mut Vec<(usize, Vec<u8>)>) -> Result<(), String> {
        let mut begin = 0;
        while begin < self.places.len() {
            // As much as may fit when it compresses well; half of it if it did not.
            let mut end = self.end_of(begin, bytes_max * COMPRESSION_HOPED);
            let compressed = loop {
                let compressed = if begin == 0 {
                    lz4(&self.body[..self.start(end)])?
                } else {
                    lz4(&self.counted_anew(begin, end))?
                };
                if compressed.len() <= bytes_max || end - begin == 1 {
                    break compressed;
                }
                end = begin + (end - begin) / 2;
            };
            found.push((end - begin, compressed));
            begin = end;
        }
        Ok(())
    }

    /// Some of the records, with offsets from 0.
    fn counted_anew(&self, begin: usize, end: usize) -> Vec<u8> {
        let mut found = Run::with_capacity(end - begin, self.start(end) - self.start(begin));
        for n in begin..end {
            let (key, value) = self.record(n);
            found.push(key, value);
        }
        found.body
    }
}

const COMPRESSION_HOPED: usize = 4;

/// A sequence of (key, value), bytes, made one by one only when somebody asks for one.
#[pyclass(frozen, sequence)]
#[derive(Default)]
pub struct RecordList {
    /// none is empty
    runs: Vec<Run>,
    len: usize,
    /// of a new run: how many records of how many bytes are expected
    expected: (usize, usize),
}

impl RecordList {
    pub fn with_capacity(records: usize, bytes: usize) -> RecordList {
        RecordList {
            expected: (records, bytes),
            ..RecordList::default()
        }
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let full = |run: &Run| run.body.len() + key.len() + value.len() + RECORD_OVERHEAD_MAX > RUN_BYTES;
        if self.runs.last().map_or(true, full) {
            let records = self.expected.0.saturating_sub(self.len).max(1);
            let bytes = records
                .saturating_mul(self.expected.1 + RECORD_OVERHEAD_MAX)
                .min(RUN_BYTES);
            self.runs.push(Run::with_capacity(records, bytes));
        }
        if let Some(run) = self.runs.last_mut() {
            run.push(key, value);
            self.len += 1;
        }
    }

    fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.runs
            .iter()
            .flat_map(|run| (0..run.places.len()).map(|n| run.record(n)))
    }
}

#[pymethods]
impl RecordList {
    /// From pairs of bytes.
    #[staticmethod]
    fn of(pairs: Vec<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>) -> RecordList {
        let mut found = RecordList::with_capacity(pairs.len(), 1024);
        for (key, value) in &pairs {
            found.push(key.as_bytes(), value.as_bytes());
        }
        found
    }

    fn __len__(&self) -> usize {
        self.len
    }

    fn __getitem__<'py>(&self, py: Python<'py>, n: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = n.downcast::<PySlice>() {
            return self.to_list(py)?.as_any().get_item(slice);
        }
        let n: isize = n.extract()?;
        let place = if n < 0 { n + self.len as isize } else { n };
        let mut place = usize::try_from(place).unwrap_or(usize::MAX);
        for run in &self.runs {
            if place < run.places.len() {
                let (key, value) = run.record(place);
                return Ok(PyTuple::new(py, [PyBytes::new(py, key), PyBytes::new(py, value)])?.into_any());
            }
            place -= run.places.len();
        }
        Err(PyIndexError::new_err(format!("got record {n} of {}", self.len)))
    }

    /// Equal to any sequence of the same pairs.
    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.to_list(py)?
            .eq(PyList::new(py, other.try_iter()?.collect::<PyResult<Vec<_>>>()?)?)
    }

    /// As a list.
    fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pairs = self
            .records()
            .map(|(key, value)| (PyBytes::new(py, key), PyBytes::new(py, value)));
        PyList::new(py, pairs.collect::<Vec<_>>())
    }

    /// (records, body) of as few record batches as hold them all: bodies compressed with LZ4, none of more than
    /// `bytes_max` but one of a single record. Other threads run meanwhile.
    fn batches<'py>(&self, py: Python<'py>, bytes_max: usize) -> PyResult<Vec<(usize, Bound<'py, PyBytes>)>> {
        let found = py.allow_threads(|| {
            let mut found = Vec::new();
            self.runs
                .iter()
                .try_for_each(|run| run.batches(bytes_max, &mut found))?;
            Ok::<_, String>(found)
        });
        let found = found.map_err(PyValueError::new_err)?;
        Ok(found
            .into_iter()
            .map(|(count, body)| (count, PyBytes::new(py, &body)))
            .collect())
    }
}

/// An LZ4 frame, version 1, of independent blocks of at most 64 KiB, as Kafka's readers take it, without checksums: a
/// record batch has its own. The last byte is the header's checksum.
const FRAME_HEAD: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const FRAME_END: [u8; 4] = [0; 4];
/// Of a block's size: it is not compressed.
const PLAIN: u32 = 0x8000_0000;
/// A little less than a block may have: below 65,535 bytes the table of what was seen is the small one.
const BLOCK_BYTES: usize = 65_000;

fn lz4(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(body.len() / 4 + get_maximum_output_size(BLOCK_BYTES));
    out.extend_from_slice(&FRAME_HEAD);
    for block in body.chunks(BLOCK_BYTES) {
        let size_at = out.len();
        let start = size_at + 4;
        out.resize(start + get_maximum_output_size(block.len()), 0);
        let compressed = compress_into(block, &mut out[start..]).map_err(|error| error.to_string())?;
        let size = if compressed < block.len() {
            out.truncate(start + compressed);
            compressed as u32
        } else {
            out.truncate(start);
            out.extend_from_slice(block);
            block.len() as u32 | PLAIN
        };
        out[size_at..start].copy_from_slice(&size.to_le_bytes());
    }
    out.extend_from_slice(&FRAME_END);
    Ok(out)
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn varint_size(value: i64) -> usize {
    let bits = 64 - (((value << 1) ^ (value >> 63)) as u64 | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// What a record has besides its key and its value: four lengths of at most five bytes, its attributes, time, headers.
const RECORD_OVERHEAD_MAX: usize = 4 * 5 + 3;

/// A record with its offset's distance to the batch's first; all have the batch's time and no headers.
fn write_record(out: &mut Vec<u8>, offset: i64, key: &[u8], value: &[u8]) -> Place {
    let (key_len, value_len) = (key.len() as i64, value.len() as i64);
    let length =
        1 + 1 + varint_size(offset) + varint_size(key_len) + key.len() + varint_size(value_len) + value.len() + 1;
    varint(out, length as i64);
    out.push(0);
    varint(out, 0);
    varint(out, offset);
    varint(out, key_len);
    let key_at = out.len();
    out.extend_from_slice(key);
    let key_end = out.len();
    varint(out, value_len);
    let value_at = out.len();
    out.extend_from_slice(value);
    let value_end = out.len();
    varint(out, 0);
    Place {
        key: (key_at, key_end),
        value: (value_at, value_end),
        end: out.len(),
    }
}
