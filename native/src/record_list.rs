//! Records on their way into a topic, and the record batches that they fill.
//!
//! A Python object for each key and value, and a call for each record, would cost as much as everything else: keys and
//! values lie in one buffer, and become the records part of Kafka's record batches (format 2) in one go. The header is
//! written by the client's side (`backends/prepared_batch.py`): it needs the producer's id and sequence.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice, PyTuple};

/// A sequence of (key, value), bytes, made one by one only when somebody asks for one.
#[pyclass(frozen, sequence)]
#[derive(Default)]
pub struct RecordList {
    data: Vec<u8>,
    /// of each record the end of its key and the end of its value; it begins where the one before it ends
    ends: Vec<(usize, usize)>,
}

impl RecordList {
    pub fn with_capacity(records: usize, bytes: usize) -> RecordList {
        RecordList {
            data: Vec::with_capacity(records * bytes),
            ends: Vec::with_capacity(records),
        }
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.data.extend_from_slice(key);
        let key_end = self.data.len();
        self.data.extend_from_slice(value);
        self.ends.push((key_end, self.data.len()));
    }

    fn record(&self, n: usize) -> (&[u8], &[u8]) {
        let start = if n == 0 { 0 } else { self.ends[n - 1].1 };
        let (key_end, end) = self.ends[n];
        (&self.data[start..key_end], &self.data[key_end..end])
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
        self.ends.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, n: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = n.downcast::<PySlice>() {
            return self.to_list(py)?.as_any().get_item(slice);
        }
        let n: isize = n.extract()?;
        let place = if n < 0 { n + self.ends.len() as isize } else { n };
        match usize::try_from(place) {
            Ok(place) if place < self.ends.len() => {
                let (key, value) = self.record(place);
                Ok(PyTuple::new(py, [PyBytes::new(py, key), PyBytes::new(py, value)])?.into_any())
            }
            _ => Err(PyIndexError::new_err(format!("got record {n} of {}", self.ends.len()))),
        }
    }

    /// Equal to any sequence of the same pairs.
    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.to_list(py)?
            .eq(PyList::new(py, other.try_iter()?.collect::<PyResult<Vec<_>>>()?)?)
    }

    /// As a list.
    fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pairs = (0..self.ends.len()).map(|n| {
            let (key, value) = self.record(n);
            (PyBytes::new(py, key), PyBytes::new(py, value))
        });
        PyList::new(py, pairs.collect::<Vec<_>>())
    }

    /// (records, body) of as few record batches as hold them all: bodies compressed with LZ4, none of more than
    /// `bytes_max` but one of a single record.
    fn batches<'py>(&self, py: Python<'py>, bytes_max: usize) -> PyResult<Vec<(usize, Bound<'py, PyBytes>)>> {
        let mut found = Vec::new();
        let mut body = Vec::new();
        let mut begin = 0;
        while begin < self.ends.len() {
            // As much as may fit when it compresses well; half of it if it did not.
            let mut end = self.end_of(begin, bytes_max * COMPRESSION_HOPED);
            loop {
                body.clear();
                for n in begin..end {
                    let (key, value) = self.record(n);
                    write_record(&mut body, (n - begin) as i64, key, value);
                }
                let compressed = lz4(&body)?;
                if compressed.len() <= bytes_max || end - begin == 1 {
                    found.push((end - begin, PyBytes::new(py, &compressed)));
                    break;
                }
                end = begin + (end - begin) / 2;
            }
            begin = end;
        }
        Ok(found)
    }
}

impl RecordList {
    /// The end of the longest run of records from `begin` on of at most so many bytes; one at least.
    fn end_of(&self, begin: usize, bytes_max: usize) -> usize {
        let start = if begin == 0 { 0 } else { self.ends[begin - 1].1 };
        let fits = self.ends[begin..].partition_point(|&(_, end)| end - start <= bytes_max);
        begin + fits.max(1)
    }
}

/// LZ4 makes a tenth of our records and a third of our states.
const COMPRESSION_HOPED: usize = 4;

fn lz4(body: &[u8]) -> PyResult<Vec<u8>> {
    // Kafka's readers take independent blocks only.
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(body.len() / 4 + 64));
    encoder.write_all(body)?;
    encoder
        .finish()
        .map_err(|error| PyValueError::new_err(error.to_string()))
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

/// A record with its offset's distance to the batch's first; all have the batch's time and no headers.
fn write_record(out: &mut Vec<u8>, offset: i64, key: &[u8], value: &[u8]) {
    let (key_len, value_len) = (key.len() as i64, value.len() as i64);
    let length =
        1 + 1 + varint_size(offset) + varint_size(key_len) + key.len() + varint_size(value_len) + value.len() + 1;
    varint(out, length as i64);
    out.push(0);
    varint(out, 0);
    varint(out, offset);
    varint(out, key_len);
    out.extend_from_slice(key);
    varint(out, value_len);
    out.extend_from_slice(value);
    varint(out, 0);
}
