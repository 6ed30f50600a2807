//! What the fuzz targets try: a module a target, each with a `check` that panics where something that
//! must hold does not.

pub mod csv_rows;
pub mod cursor;
pub mod dates_and_decimals;
pub mod events;
pub mod frame_decode;
pub mod idempotency_key;
pub mod json_readings;
pub mod line_protocol;

/// Tries an input; panics where something does not hold.
pub type Check = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: [(&str, Check); 8] = [
    ("csv_rows", csv_rows::check),
    ("cursor", cursor::check),
    ("dates_and_decimals", dates_and_decimals::check),
    ("events", events::check),
    ("frame_decode", frame_decode::check),
    ("idempotency_key", idempotency_key::check),
    ("json_readings", json_readings::check),
    ("line_protocol", line_protocol::check),
];
