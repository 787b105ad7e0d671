//! Settings: JSON text that an operator gives a plugin in `necro.toml`.

use serde::de::DeserializeOwned;

use crate::Failure;

/// The settings of one call, not yet read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(String);

impl Settings {
    /// Settings with this JSON text. Empty text means that nothing was set.
    #[must_use]
    pub fn new(json: impl Into<String>) -> Self {
        Self(json.into())
    }

    /// Read them as `T`; what was not set is `T::default()`. Give `T` the attributes
    /// `#[serde(default, deny_unknown_fields)]`, so that a misspelt name is an error.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when the text does not fit `T`.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T, Failure> {
        if self.0.trim().is_empty() {
            return Ok(T::default());
        }
        serde_json::from_str(&self.0).map_err(|e| Failure::Invalid(format!("settings: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Example {
        limit: u32,
    }

    #[test]
    fn what_was_not_set_is_the_default_and_a_misspelt_name_is_an_error() {
        for (json, expected) in [("", 0), ("  ", 0), ("{}", 0), (r#"{"limit":7}"#, 7)] {
            assert_eq!(Settings::new(json).read::<Example>(), Ok(Example { limit: expected }), "{json:?}");
        }
        for json in [r#"{"limt":7}"#, r#"{"limit":"7"}"#, "[", "7"] {
            assert!(matches!(Settings::new(json).read::<Example>(), Err(Failure::Invalid(_))), "{json:?} passed");
        }
    }
}
