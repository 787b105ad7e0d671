//! Columns to domain values and back. A value that does not fit is damage, and is named.

use jiff::Timestamp;
use rusqlite::Row;
use serde::de::DeserializeOwned;

use super::error::RegistryError;

/// RFC 3339, UTC, always six digits after the seconds, so that texts sort as times do.
pub(super) fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Reads [`time_text`].
pub(super) fn parse_time(text: &str) -> Result<Timestamp, RegistryError> {
    text.parse().map_err(|e| RegistryError::Damaged(format!("`{text}` is not a time: {e}")))
}

/// JSON text of a value that cannot fail to have one.
pub(super) fn json_text<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, RegistryError> {
    serde_json::to_string(value).map_err(|e| RegistryError::Database(e.to_string()))
}

/// Typed columns.
pub(super) trait Columns {
    /// An identifier or another checked text.
    fn id<T>(&self, column: &str) -> Result<T, RegistryError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display;
    /// The same, or NULL.
    fn id_or_null<T>(&self, column: &str) -> Result<Option<T>, RegistryError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display;
    /// A time.
    fn time(&self, column: &str) -> Result<Timestamp, RegistryError>;
    /// A time, or NULL.
    fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, RegistryError>;
    /// JSON.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, RegistryError>;
    /// JSON, or NULL.
    fn json_or_null<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, RegistryError>;
}

fn misfit(column: &str, error: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Damaged(format!("column {column}: {error}"))
}

impl Columns for Row<'_> {
    fn id<T>(&self, column: &str) -> Result<T, RegistryError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.get_ref(column)?.as_str().map_err(|e| misfit(column, &e))?.parse().map_err(|e: T::Err| misfit(column, &e))
    }

    fn id_or_null<T>(&self, column: &str) -> Result<Option<T>, RegistryError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.get_ref(column)?.as_str_or_null().map_err(|e| misfit(column, &e))?;
        text.map(|text| text.parse().map_err(|e: T::Err| misfit(column, &e))).transpose()
    }

    fn time(&self, column: &str) -> Result<Timestamp, RegistryError> {
        self.id(column)
    }

    fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, RegistryError> {
        self.id_or_null(column)
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, RegistryError> {
        let text = self.get_ref(column)?.as_str().map_err(|e| misfit(column, &e))?;
        serde_json::from_str(text).map_err(|e| misfit(column, &e))
    }

    fn json_or_null<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, RegistryError> {
        let text = self.get_ref(column)?.as_str_or_null().map_err(|e| misfit(column, &e))?;
        text.map(|text| serde_json::from_str(text).map_err(|e| misfit(column, &e))).transpose()
    }
}
