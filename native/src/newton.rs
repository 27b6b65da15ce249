//! The step of `stream_app.core.newton.NewtonLogistic`, compiled: the same operations in the same order, the same bits.
//!
//! Sums are added up as NumPy adds a contiguous row, in eight lanes that are then added pairwise; nothing is fused.
//! So the numbers do not depend on the processor either.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::cell::Cell;

const Z_MAX: f64 = 5.0;
const LOGIT_MAX: f64 = 700.0;
const R_MIN: f64 = 1e-4;
const VARIANCE_MIN: f64 = 1e-12;
const MOMENTS_MIN: u64 = 2;

/// Numbers that NumPy adds in one go; longer rows it halves.
const BLOCK: usize = 128;
const LANES: usize = 8;

/// Learn rows one after the other, changing the arrays in place; returns how many examples have been learned in all.
///
/// Arrays are float64 in C order: `mean`, `m2` (sums of squared deviations) and `scale` (inverse deviations) of shape
/// (W,), `weights` (W + 1,), `covariance` (W + 1, W + 1), symmetric, `rows` (N, W). All rows have this label (0 or 1)
/// and sample weight. Every `every` examples the covariance is multiplied by `keep`, and `add` put on its diagonal.
///
/// Raises ValueError if a shape does not fit or an array cannot be written to, BufferError for one of another type.
#[pyfunction]
#[pyo3(signature = (mean, m2, scale, weights, covariance, rows, *, count, label, weight, every, keep, add))]
#[allow(clippy::too_many_arguments)]
pub fn newton_learn(
    py: Python<'_>,
    mean: PyBuffer<f64>,
    m2: PyBuffer<f64>,
    scale: PyBuffer<f64>,
    weights: PyBuffer<f64>,
    covariance: PyBuffer<f64>,
    rows: PyBuffer<f64>,
    mut count: u64,
    label: f64,
    weight: f64,
    every: u64,
    keep: f64,
    add: f64,
) -> PyResult<u64> {
    let size = weights.item_count();
    if !(2..=BLOCK).contains(&size) || every == 0 || rows.item_count() % (size - 1) != 0 {
        return Err(PyValueError::new_err(format!(
            "newton: got {size} weights and {} numbers",
            rows.item_count()
        )));
    }
    let width = size - 1;
    let state = State {
        mean: part(py, &mean, width)?,
        m2: part(py, &m2, width)?,
        scale: part(py, &scale, width)?,
        weights: part(py, &weights, size)?,
        covariance: part(py, &covariance, size * size)?,
    };
    let rows = rows
        .as_slice(py)
        .ok_or_else(|| PyValueError::new_err("newton: the rows are not in C order"))?;
    for x in rows.chunks_exact(width) {
        count += 1;
        state.learn(x.iter().map(|number| number.get()), count, label, weight);
        if count % every == 0 {
            state.wander(keep, add);
        }
    }
    Ok(count)
}

/// Probabilities of rows, float64, shape (N,), with what `newton_learn` has learned; arrays as there.
///
/// Raises ValueError if a shape does not fit, BufferError for an array of another type.
#[pyfunction]
pub fn newton_predict<'py>(
    py: Python<'py>,
    mean: PyBuffer<f64>,
    scale: PyBuffer<f64>,
    weights: PyBuffer<f64>,
    rows: PyBuffer<f64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let size = weights.item_count();
    if !(2..=BLOCK).contains(&size) || rows.item_count() % (size - 1) != 0 {
        return Err(PyValueError::new_err(format!(
            "newton: got {size} weights and {} numbers",
            rows.item_count()
        )));
    }
    let width = size - 1;
    let (mean, scale) = (part(py, &mean, width)?, part(py, &scale, width)?);
    let weights = part(py, &weights, size)?;
    let given = rows
        .as_slice(py)
        .ok_or_else(|| PyValueError::new_err("newton: the rows are not in C order"))?;
    let mut found = Vec::with_capacity(8 * given.len() / width);
    let mut z = [1.0; BLOCK];
    for x in given.chunks_exact(width) {
        for n in 0..width {
            z[n] = within((x[n].get() - mean[n].get()) * scale[n].get(), Z_MAX);
        }
        found.extend_from_slice(&sigmoid(sum_of_products(weights, &z[..size])).to_ne_bytes());
    }
    Ok(PyBytes::new(py, &found))
}

/// The numbers of an array that lies in one piece.
fn part<'a>(py: Python<'a>, buffer: &'a PyBuffer<f64>, length: usize) -> PyResult<&'a [Cell<f64>]> {
    match buffer.as_mut_slice(py) {
        Some(found) if found.len() == length => Ok(found),
        found => Err(PyValueError::new_err(format!(
            "newton: got {:?} numbers that can be written to, expected {length}",
            found.map(<[_]>::len)
        ))),
    }
}

struct State<'a> {
    mean: &'a [Cell<f64>],
    m2: &'a [Cell<f64>],
    scale: &'a [Cell<f64>],
    weights: &'a [Cell<f64>],
    covariance: &'a [Cell<f64>],
}

impl State<'_> {
    fn learn(&self, x: impl Iterator<Item = f64>, count: u64, label: f64, weight: f64) {
        let size = self.weights.len();
        let mut z = [1.0; BLOCK];
        let z = &mut z[..size];
        self.standardise(x, count, z);
        let logit = sum_of_products(self.weights, z);
        let p = sigmoid(logit);
        let spread = p * (1.0 - p);
        let r = if spread < R_MIN { R_MIN } else { spread };
        let mut pz = [0.0; BLOCK];
        let pz = &mut pz[..size];
        for (row, product) in self.covariance.chunks_exact(size).zip(pz.iter_mut()) {
            *product = sum_of_products(row, z);
        }
        let narrowing = 1.0 / (1.0 / (weight * r) + sum(&|n| z[n] * pz[n], size));
        for (row, &mine) in self.covariance.chunks_exact(size).zip(pz.iter()) {
            for (cell, &other) in row.iter().zip(pz.iter()) {
                cell.set(cell.get() - mine * other * narrowing);
            }
        }
        let step = narrowing * (label - p) / r;
        for (cell, &product) in self.weights.iter().zip(pz.iter()) {
            cell.set(cell.get() + product * step);
        }
    }

    /// Take the row into the moments; its z-scores by them.
    fn standardise(&self, x: impl Iterator<Item = f64>, count: u64, z: &mut [f64]) {
        let learned = count as f64;
        for (n, x) in x.enumerate() {
            let mean = &self.mean[n];
            let before = x - mean.get();
            mean.set(mean.get() + before / learned);
            let after = x - mean.get();
            self.m2[n].set(self.m2[n].get() + before * after);
            if count >= MOMENTS_MIN {
                let variance = self.m2[n].get() / learned;
                // An input that has not varied yet says nothing.
                let deviation = if variance <= VARIANCE_MIN {
                    f64::INFINITY
                } else {
                    variance.sqrt()
                };
                self.scale[n].set(1.0 / deviation);
            }
            z[n] = within(after * self.scale[n].get(), Z_MAX);
        }
    }

    /// The true weights may have moved.
    fn wander(&self, keep: f64, add: f64) {
        for cell in self.covariance {
            cell.set(cell.get() * keep);
        }
        for cell in self.covariance.iter().step_by(self.weights.len() + 1) {
            cell.set(cell.get() + add);
        }
    }
}

/// The C library's `exp`, as Python's `math.exp`: NumPy's own differs in the last bit, from processor to processor.
fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-within(logit, LOGIT_MAX)).exp())
}

/// NaN stays NaN, as with NumPy's `minimum` and `maximum`.
fn within(x: f64, bound: f64) -> f64 {
    if x > bound {
        bound
    } else if x < -bound {
        -bound
    } else {
        x
    }
}

fn sum_of_products(cells: &[Cell<f64>], numbers: &[f64]) -> f64 {
    let cells = &cells[..numbers.len()];
    sum(&|n| cells[n].get() * numbers[n], numbers.len())
}

/// The terms added up as NumPy adds a contiguous row of up to `BLOCK`.
#[inline(always)]
fn sum(term: &impl Fn(usize) -> f64, length: usize) -> f64 {
    if length < LANES {
        return (0..length).fold(0.0, |total, n| total + term(n));
    }
    let mut lanes = [0.0; LANES];
    for (n, lane) in lanes.iter_mut().enumerate() {
        *lane = term(n);
    }
    let whole = length - length % LANES;
    let mut start = LANES;
    while start < whole {
        for (n, lane) in lanes.iter_mut().enumerate() {
            *lane += term(start + n);
        }
        start += LANES;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let total = ((a + b) + (c + d)) + ((e + f) + (g + h));
    (whole..length).fold(total, |total, n| total + term(n))
}
