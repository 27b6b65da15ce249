//! What Python knows and this only obeys: the rules, the registries of types and features, the bounds.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustc_hash::FxHashMap;

use crate::json_read::Limits;

pub struct Config {
    pub gap_ms: i64,
    /// from here on a session with something in its cart is quiet, see `Session::quiet_at`
    pub quiet_ms: i64,
    /// where a trend turns, in thousandths of a logit, of which `logit_units` are one
    pub trend_turn: i64,
    pub logit_units: f64,
    /// share of a new logit in the decayed mean, as a fraction
    pub mean_share: (i64, i64),
    pub history_ttl_ms: i64,
    pub late_label_ms: i64,
    pub reservoir_size: usize,
    /// event type's code → its name, and its kind of step
    pub event_types: Vec<String>,
    pub group_of_type: Vec<usize>,
    pub page_view: usize,
    pub groups: usize,
    pub purchase: usize,
    pub refund: usize,
    pub cart: usize,
    pub uncart: usize,
    /// `{"first":`, `,"second":`, …: what stands before each feature's number
    pub feature_heads: Vec<Vec<u8>>,
    pub feature_schema: i64,
    pub raw_count: usize,
    /// places among a row's raw numbers
    pub raw_cart_value: usize,
    pub raw_purchases: usize,
    pub raw_mobile: usize,
    pub state_version: u8,
    pub event_time_min: i64,
    pub event_time_ahead_max: i64,
    pub record_bytes_max: usize,
    pub limits: Limits,
    pub session_events_max: i64,
    pub session_age_max: i64,
    /// see `session::fold`
    pub haste_step_ms: i64,
    pub haste_ms_max: i64,
    pub open_sessions_max: usize,
    pub tracked_keys_max: usize,
    pub tracked_chars_max: usize,
    pub recent_events_max: usize,
    pub orders_max: usize,
    pub parts_max: usize,
    pub taught_max: usize,
    pub taught_keys_max: usize,
    pub transition_times_max: i64,
    pub gap_decay: f64,
    pub rate_sessions: f64,
    pub rate_purchases: f64,
    pub mix: u64,
    pub bands: Vec<String>,
    /// `pages.page_group`
    pub page_group: PyObject,
}

fn get<'py, T: FromPyObject<'py>>(given: &Bound<'py, PyDict>, name: &str) -> PyResult<T> {
    match given.get_item(name)? {
        Some(value) => value.extract(),
        None => Err(pyo3::exceptions::PyKeyError::new_err(format!(
            "the engine's settings lack {name:?}"
        ))),
    }
}

impl Config {
    pub fn read(given: &Bound<'_, PyDict>) -> PyResult<Config> {
        let names: Vec<String> = get(given, "feature_names")?;
        let feature_heads = names
            .iter()
            .enumerate()
            .map(|(n, name)| format!("{}\"{name}\":", if n == 0 { '{' } else { ',' }).into_bytes())
            .collect();
        Ok(Config {
            gap_ms: get(given, "gap_ms")?,
            quiet_ms: get(given, "quiet_ms")?,
            trend_turn: get(given, "trend_turn")?,
            logit_units: get(given, "logit_units")?,
            mean_share: get(given, "mean_share")?,
            history_ttl_ms: get(given, "history_ttl_ms")?,
            late_label_ms: get(given, "late_label_ms")?,
            reservoir_size: get(given, "reservoir_size")?,
            event_types: get(given, "event_types")?,
            group_of_type: get(given, "group_of_type")?,
            page_view: get(given, "page_view")?,
            groups: get(given, "groups")?,
            purchase: get(given, "purchase")?,
            refund: get(given, "refund")?,
            cart: get(given, "cart")?,
            uncart: get(given, "uncart")?,
            feature_heads,
            feature_schema: get(given, "feature_schema")?,
            raw_count: get(given, "raw_count")?,
            raw_cart_value: get(given, "raw_cart_value")?,
            raw_purchases: get(given, "raw_purchases")?,
            raw_mobile: get(given, "raw_mobile")?,
            state_version: get(given, "state_version")?,
            event_time_min: get(given, "event_time_min")?,
            event_time_ahead_max: get(given, "event_time_ahead_max")?,
            record_bytes_max: get(given, "record_bytes_max")?,
            limits: Limits {
                id_chars: get(given, "id_chars_max")?,
                text_chars: get(given, "text_chars_max")?,
                amount: get(given, "amount_max")?,
                quantity: get(given, "quantity_max")?,
            },
            session_events_max: get(given, "session_events_max")?,
            session_age_max: get(given, "session_age_max")?,
            haste_step_ms: get(given, "haste_step_ms")?,
            haste_ms_max: get(given, "haste_ms_max")?,
            open_sessions_max: get(given, "open_sessions_max")?,
            tracked_keys_max: get(given, "tracked_keys_max")?,
            tracked_chars_max: get(given, "tracked_chars_max")?,
            recent_events_max: get(given, "recent_events_max")?,
            orders_max: get(given, "orders_max")?,
            parts_max: get(given, "parts_max")?,
            taught_max: get(given, "taught_max")?,
            taught_keys_max: get(given, "taught_keys_max")?,
            transition_times_max: get(given, "transition_times_max")?,
            gap_decay: get(given, "gap_decay")?,
            rate_sessions: get(given, "rate_sessions")?,
            rate_purchases: get(given, "rate_purchases")?,
            mix: get(given, "mix")?,
            bands: get(given, "bands")?,
            page_group: get(given, "page_group")?,
        })
    }
}

/// Kinds of pages by URL, as Python's rules say; asked once for each URL until there are too many.
pub struct Pages {
    known: FxHashMap<String, usize>,
}

const PAGES_MAX: usize = 65_536;

impl Pages {
    pub fn new() -> Pages {
        Pages {
            known: FxHashMap::default(),
        }
    }

    pub fn group(&mut self, config: &Config, url: &str) -> PyResult<usize> {
        if let Some(&group) = self.known.get(url) {
            return Ok(group);
        }
        let group = Python::with_gil(|py| config.page_group.bind(py).call1((url,))?.extract())?;
        if self.known.len() >= PAGES_MAX {
            self.known.clear();
        }
        self.known.insert(url.to_owned(), group);
        Ok(group)
    }
}
