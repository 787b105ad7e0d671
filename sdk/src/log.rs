//! Structured log lines. Natively, as in a plugin's own tests, they go nowhere.

pub use crate::bindings::host::necro::plugin::log::Level;

/// Write one record with named values. The host cuts text beyond its limit.
pub fn emit(level: Level, message: &str, fields: &[(&str, &str)]) {
    if cfg!(target_arch = "wasm32") {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        crate::bindings::host::necro::plugin::log::emit(level, message, &fields);
    }
}

/// What an operator may want to know.
pub fn info(message: &str) {
    emit(Level::Info, message, &[]);
}

/// What an operator should look at.
pub fn warn(message: &str) {
    emit(Level::Warn, message, &[]);
}
