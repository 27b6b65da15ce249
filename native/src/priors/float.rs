//! Arithmetic as CPython does it, to the last bit: the C library's functions, `math.fsum`, and what each raises.

use pyo3::exceptions::{PyOverflowError, PyValueError, PyZeroDivisionError};
use pyo3::PyErr;
use std::os::raw::c_double;

mod libm {
    use super::c_double;

    // Rust's own `ln` and the like become the same calls, but LLVM knows them and may compute them another way.
    #[link(name = "m")]
    extern "C" {
        pub fn log(x: c_double) -> c_double;
        pub fn log1p(x: c_double) -> c_double;
        pub fn exp2(x: c_double) -> c_double;
        pub fn pow(x: c_double, y: c_double) -> c_double;
    }
}

/// What Python raises instead of giving a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatError {
    ZeroDivision,
    Domain,
    Overflow,
}

pub type Float<T> = Result<T, FloatError>;

impl From<FloatError> for PyErr {
    fn from(error: FloatError) -> Self {
        match error {
            FloatError::ZeroDivision => PyZeroDivisionError::new_err("float division by zero"),
            FloatError::Domain => PyValueError::new_err("math domain error"),
            FloatError::Overflow => PyOverflowError::new_err("math range error"),
        }
    }
}

/// `a / b`.
pub fn divided(a: f64, b: f64) -> Float<f64> {
    if b == 0.0 {
        return Err(FloatError::ZeroDivision);
    }
    Ok(a / b)
}

/// `math.log(x)`.
pub fn log(x: f64) -> Float<f64> {
    if x <= 0.0 {
        return Err(FloatError::Domain);
    }
    Ok(unsafe { libm::log(x) })
}

/// `math.log1p(x)`.
pub fn log1p(x: f64) -> Float<f64> {
    if x <= -1.0 {
        return Err(FloatError::Domain);
    }
    Ok(unsafe { libm::log1p(x) })
}

/// `math.exp2(x)`.
pub fn exp2(x: f64) -> Float<f64> {
    finite_unless(x, unsafe { libm::exp2(x) })
}

/// `2.0 ** x`: the C library's `pow`, which may differ from its `exp2` in the last bit.
pub fn two_to_the(x: f64) -> Float<f64> {
    static TWO: f64 = 2.0;
    // Of a base that it can see LLVM makes an exp2.
    let two = unsafe { std::ptr::read_volatile(&TWO) };
    finite_unless(x, unsafe { libm::pow(two, x) })
}

fn finite_unless(x: f64, found: f64) -> Float<f64> {
    if found.is_infinite() && x.is_finite() {
        return Err(FloatError::Overflow);
    }
    Ok(found)
}

/// Python's `max(0.0, x)`.
pub fn not_below_zero(x: f64) -> f64 {
    if x > 0.0 {
        x
    } else {
        0.0
    }
}

/// Python's `min(x, bound)`.
pub fn at_most(x: f64, bound: f64) -> f64 {
    if bound < x {
        bound
    } else {
        x
    }
}

/// Python's `max` of some numbers: the first of the greatest. Zero of none.
pub fn greatest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers
        .fold(None, |best, x| match best {
            Some(best) if x > best => Some(x),
            None => Some(x),
            best => best,
        })
        .unwrap_or(0.0)
}

/// `math.fsum`: Shewchuk's exact partial sums (1997), rounded once, half to even.
pub fn fsum(numbers: impl Iterator<Item = f64>) -> Float<f64> {
    let mut partials: Vec<f64> = Vec::with_capacity(8);
    let (mut special, mut infinities) = (0.0, 0.0);
    for given in numbers {
        let mut x = given;
        let mut kept = 0;
        for at in 0..partials.len() {
            let mut y = partials[at];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        partials.truncate(kept);
        if x == 0.0 {
            continue;
        }
        if x.is_finite() {
            partials.push(x);
            continue;
        }
        if given.is_finite() {
            return Err(FloatError::Overflow);
        }
        if given.is_infinite() {
            infinities += given;
        }
        special += given;
        partials.clear();
    }
    if special != 0.0 {
        // NaN among these as well: it compares unequal. An infinity and its opposite have no sum.
        return if f64::is_nan(infinities) {
            Err(FloatError::Domain)
        } else {
            Ok(special)
        };
    }
    Ok(rounded(&partials))
}

/// The sum of partials that do not overlap and grow, rounded once.
fn rounded(partials: &[f64]) -> f64 {
    let mut left = partials.iter().rev();
    let mut high = match left.next() {
        Some(&last) => last,
        None => return 0.0,
    };
    let mut low = 0.0;
    let mut below = None;
    while let Some(&y) = left.next() {
        let x = high;
        high = x + y;
        low = y - (high - x);
        if low != 0.0 {
            below = left.next();
            break;
        }
    }
    // Half-way between two doubles, the partials below decide.
    if let Some(&next) = below {
        if (low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0) {
            let twice = low * 2.0;
            let up = high + twice;
            if twice == up - high {
                high = up;
            }
        }
    }
    high
}
