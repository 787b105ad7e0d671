//! Limits of a plugin as people write them: in `necro.toml` for a kind or a name, and in a manifest as a wish.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Where a plugin shall be stopped; absent: where its kind is. No limit can be 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Instructions, in the engine's units.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Memory of the component.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Elements of all tables together.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<u64>,
    /// Processor time of the guest.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub guest_time_ms: Option<u64>,
    /// From start to end, waiting included.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Bytes in one call to the host, or in its result.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub host_call_bytes: Option<u64>,
    /// Calls to the host.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u64>,
    /// What the journal keeps of all calls and answers.
    #[serde(deserialize_with = "positive", skip_serializing_if = "Option::is_none")]
    pub journal_bytes: Option<u64>,
}

impl LimitSettings {
    /// These, and `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            fuel: self.fuel.or(other.fuel),
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            table_elements: self.table_elements.or(other.table_elements),
            guest_time_ms: self.guest_time_ms.or(other.guest_time_ms),
            wall_ms: self.wall_ms.or(other.wall_ms),
            host_call_bytes: self.host_call_bytes.or(other.host_call_bytes),
            host_calls: self.host_calls.or(other.host_calls),
            journal_bytes: self.journal_bytes.or(other.journal_bytes),
        }
    }

    /// Each that is set, by its name.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Self {
            fuel,
            memory_bytes,
            table_elements,
            guest_time_ms,
            wall_ms,
            host_call_bytes,
            host_calls,
            journal_bytes,
        } = *self;
        let all = [
            ("fuel", fuel),
            ("memory_bytes", memory_bytes),
            ("table_elements", table_elements),
            ("guest_time_ms", guest_time_ms),
            ("wall_ms", wall_ms),
            ("host_call_bytes", host_call_bytes),
            ("host_calls", host_calls),
            ("journal_bytes", journal_bytes),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for LimitSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.set().map(|(name, value)| format!("{name} = {value}")).collect();
        f.write_str(&words.join(", "))
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("0 is not between 1 and 18446744073709551615")),
        number => Ok(Some(number)),
    }
}
